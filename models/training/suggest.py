"""Suggested policy.yaml: bands that save money on the earlier folds, and a catalogue of reasons."""

from __future__ import annotations

import glob
import json
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from models.training.alerts import Alerts, alerts_at, alerts_by_budget
from models.training.scored import OutOfFold

SURE: Final = 0.9
"""Least share of frauds among events that are declined."""
WORTH_A_LOOK: Final = 0.1
"""Least share of frauds among events that are reviewed, where amounts are not known."""
_LEAST_FRAUDS: Final = 10
_BUDGETS: Final = 48
_CODES: Final = 8

_HEAD = """\
# Suggested by fraud-worker train: bands that saved most on days that the model's earlier folds were
# assessed on. It belongs to fraud operations: look at the report, then make it yours.
version: "{version}"   # named on every score: change it with every change here
default: approve
"""
_NO_BAND = """\
# No band: on those days none saved more than its reviews cost, so approving everything is better.
segments:
  - {name: default, bands: {}}
"""
_REASONS = """\

# Codes whose features raised the score most, with every decision that is not the default. Give them
# words for those who read them.
reasons:
  max: 4
  catalogue:
"""


def suggest_bands(
    scored: OutOfFold, review_cost: int, most: float | None = None
) -> dict[str, float]:
    """Suggest thresholds by decision, highest first; none where approving all is best.

    `review` begins at the threshold that saves most: amounts of the frauds that are alerted, less
    the cost of reviews. `decline` begins above it, at the threshold that saves most where nine of
    ten events are frauds. Where amounts are not known, `review` begins at the lowest score where a
    tenth of the events are frauds.

    Args:
        scored: Events of the earlier folds.
        review_cost: Minor units for each card and day.
        most: Cards a day that can be alerted, on average; None for as many as pay.
    """
    options = alerts_by_budget(scored, _budgets(scored, most), review_cost)
    options = [option for option in options if _is_better_than_none(scored, option)]
    if not options:
        return {}
    review = _best(options)
    sure = [
        option
        for option in options
        if option.threshold > review.threshold and option.precision >= SURE
    ]
    bands = {"decline": _best(sure).threshold} if sure else {}
    return {**bands, "review": review.threshold}


def policy_text(
    scored: OutOfFold,
    version: str,
    bands: Mapping[str, float],
    features: Sequence[str],
    money: tuple[int, int] = (0, 2),
) -> str:
    """Text of a policy.yaml with these bands and a catalogue of reasons.

    Comments say what each band would bring.

    Args:
        scored: Events of the earlier folds.
        version: The policy's version.
        bands: Thresholds by decision.
        features: Names of the model's features, the most important first.
        money: Minor units for a review, and the decimal digits of amounts.
    """
    cost, scale = money
    lines = [_line(name, alerts_at(scored, at, cost), scale) for name, at in bands.items()]
    body = "".join(["bands:                # from this score up\n", *lines]) if bands else _NO_BAND
    return _HEAD.format(version=version) + body + _REASONS + "".join(_codes(features))


def _budgets(scored: OutOfFold, most: float | None) -> list[float]:
    """Budgets of cards a day, from one card in all days up, by equal factors."""
    days = len(np.unique(scored.days))
    pairs = len(np.unique(np.stack([scored.days, scored.cards]), axis=1)[0])
    every = pairs / days
    top = every if most is None else min(most, every)
    return [float(cards) for cards in np.geomspace(min(1 / days, top), top, _BUDGETS)]


def _is_better_than_none(scored: OutOfFold, option: Alerts) -> bool:
    """True where the gain is not by chance alone.

    There are enough frauds, and money is saved without the largest of them too.
    """
    found = (scored.scores >= option.threshold) & (scored.labels == 1)
    if found.sum() < _LEAST_FRAUDS:
        return False
    if scored.amounts is None or option.saved is None:
        return option.precision >= WORTH_A_LOOK
    days = len(np.unique(scored.days))
    return option.saved * days > int(scored.amounts[found].max())


def _best(options: Sequence[Alerts]) -> Alerts:
    """The alerts that save most; of several the highest threshold.

    Where amounts are not known, those with the lowest threshold.
    """
    if options[0].saved is None:
        return min(options, key=lambda option: option.threshold)
    return max(options, key=lambda option: (option.saved, option.threshold))


def _line(decision: str, alerts: Alerts, scale: int) -> str:
    cards = alerts.cards
    saved = "" if alerts.saved is None else f"; saves {alerts.saved / 10**scale:,.{scale}f} a day"
    return (
        f"  {decision}: {alerts.threshold}   # {cards.mean:.3g} cards a day ({cards.least} to "
        f"{cards.most}); {alerts.precision:.0%} of the events are frauds, {alerts.recall:.0%} of "
        f"the frauds{saved}\n"
    )


def _codes(features: Sequence[str]) -> list[str]:
    """Lines of a code for each of the first features, and of one for the rest.

    The rest is never empty.
    """
    named = features[: min(_CODES, len(features) - 1)]
    own = [
        f"    R{place:02}: {{features: [{json.dumps(glob.escape(name))}], "
        f"text: {json.dumps(f'{name} is unusual')}}}\n"
        for place, name in enumerate(named, 1)
    ]
    return [*own, '    R99: {features: ["*"], text: Anything else}\n']
