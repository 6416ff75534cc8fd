"""Suggest a policy.yaml: bands that save money on the earlier folds, and a reason catalogue."""

from __future__ import annotations

import glob
import json
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from models.training.alerts import Alerts, alerts_at, alerts_by_budget
from models.training.out_of_fold import OutOfFold

SURE: Final = 0.9
"""Smallest share of frauds among declined events."""
WORTH_A_LOOK: Final = 0.1
"""Smallest share of frauds among reviewed events, if amounts are not known."""
_MIN_FRAUDS: Final = 10
_BUDGETS: Final = 48
_CODES: Final = 8

_HEAD = """\
# Suggested by fraud-worker train: the bands that saved the most money on the days assessed by the
# model's earlier folds. This file belongs to fraud operations: read the report, then edit it.
version: "{version}"   # on every score: change it with every change of this file
default: approve
"""
_NO_BAND = """\
# No band: on those days no band saved more than its reviews cost, so approving everything is better.
segments:
  - {name: default, bands: {}}
"""
_REASONS = """\

# Reason codes. Each decision that is not the default lists the codes whose features raised the score
# most. Replace the texts with your own.
reasons:
  max: 4
  catalogue:
"""


def suggest_bands(
    scored: OutOfFold, review_cost: int, max_cards: float | None = None
) -> dict[str, float]:
    """Suggest thresholds by decision, highest first; none if approving everything is best.

    `review` begins at the threshold that saves most: amounts of alerted frauds minus the cost of
    reviews. `decline` begins above it, at the threshold that saves most among those at which at
    least nine of ten alerted events are frauds. If amounts are not known, `review` begins at the
    lowest threshold at which at least a tenth of the alerted events are frauds.

    Args:
        scored: Events of the earlier folds.
        review_cost: Minor units for each card and day.
        max_cards: Largest number of alerted cards per day, on average; None for no limit.
    """
    options = alerts_by_budget(scored, _budgets(scored, max_cards), review_cost)
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
    """Format a policy.yaml with bands and a reason catalogue.

    A comment on each band gives its alerts, precision and recall on the earlier folds.

    Args:
        scored: Events of the earlier folds.
        version: The policy's version.
        bands: Thresholds by decision.
        features: Names of the model's features, most important first.
        money: Cost of a review in minor units, and the decimal digits of amounts.
    """
    cost, scale = money
    lines = [_line(name, alerts_at(scored, at, cost), scale) for name, at in bands.items()]
    body = "".join(["bands:                # from this score up\n", *lines]) if bands else _NO_BAND
    return _HEAD.format(version=version) + body + _REASONS + "".join(_codes(features))


def _budgets(scored: OutOfFold, max_cards: float | None) -> list[float]:
    """Budgets in cards per day, evenly spaced on a logarithmic scale.

    The smallest is one card in the whole period, the largest all cards.
    """
    days = len(np.unique(scored.days))
    pairs = len(np.unique(np.stack([scored.days, scored.cards]), axis=1)[0])
    all_cards = pairs / days
    top = all_cards if max_cards is None else min(max_cards, all_cards)
    return [float(cards) for cards in np.geomspace(min(1 / days, top), top, _BUDGETS)]


def _is_better_than_none(scored: OutOfFold, option: Alerts) -> bool:
    """True if an option saves money, and not by chance alone.

    It detects at least ten frauds, and would save money even without the largest of them.
    """
    detected = (scored.scores >= option.threshold) & (scored.labels == 1)
    if detected.sum() < _MIN_FRAUDS:
        return False
    if scored.amounts is None or option.saved is None:
        return option.precision >= WORTH_A_LOOK
    days = len(np.unique(scored.days))
    return option.saved * days > int(scored.amounts[detected].max())


def _best(options: Sequence[Alerts]) -> Alerts:
    """The option that saves most; of equal ones, the one with the highest threshold.

    If amounts are not known, the option with the lowest threshold.
    """
    if options[0].saved is None:
        return min(options, key=lambda option: option.threshold)
    return max(options, key=lambda option: (option.saved, option.threshold))


def _line(decision: str, alerts: Alerts, scale: int) -> str:
    cards = alerts.cards
    saved = "" if alerts.saved is None else f"; saves {alerts.saved / 10**scale:,.{scale}f} a day"
    return (
        f"  {decision}: {alerts.threshold}   # {cards.mean:.3g} cards a day ({cards.min} to "
        f"{cards.max}); {alerts.precision:.0%} of the events are frauds, {alerts.recall:.0%} of "
        f"the frauds{saved}\n"
    )


def _codes(features: Sequence[str]) -> list[str]:
    """Catalogue lines: a code for each of the first features, and one for all others.

    At least one feature is left for the last code, as an empty code would be refused.
    """
    named = features[: min(_CODES, len(features) - 1)]
    own = [
        f"    R{place:02}: {{features: [{json.dumps(glob.escape(name))}], "
        f"text: {json.dumps(f'{name} is unusual')}}}\n"
        for place, name in enumerate(named, 1)
    ]
    return [*own, '    R99: {features: ["*"], text: Anything else}\n']
