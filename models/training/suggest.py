"""A policy.yaml to begin with: bands where they bring as many alerts as can be dealt with."""

from __future__ import annotations

from collections.abc import Mapping

from models.training.alerts import Alerts, alerts_at, threshold_for
from models.training.scored import OutOfFold

_HEAD = """\
# Suggested by fraud-worker train: bands at so many cards a day, on days that the model's earlier
# folds were assessed on. It belongs to fraud operations: look at the report, then make it yours.
version: "{version}"   # named on every score: change it with every change here
default: approve
bands:                # from this score up
"""


def suggest_bands(scored: OutOfFold, budgets: Mapping[str, float]) -> dict[str, float]:
    """A threshold for each decision of `budgets`, which are cards a day from the band up.

    A band that would begin where another does is left out, and so is one of more cards than there
    are; where that leaves none, the first begins at a score of a half. Highest threshold first.
    """
    bands: dict[float, str] = {}
    for decision, cards in sorted(budgets.items(), key=lambda item: item[1]):
        threshold = threshold_for(scored, cards)
        if threshold is not None:
            bands.setdefault(threshold, decision)
    found = {bands[threshold]: threshold for threshold in sorted(bands, reverse=True)}
    return found or {next(iter(budgets)): 0.5}


def policy_text(scored: OutOfFold, version: str, bands: Mapping[str, float]) -> str:
    """A policy.yaml of these bands, each with what it would bring."""
    lines = [_line(name, alerts_at(scored, threshold, 0)) for name, threshold in bands.items()]
    return _HEAD.format(version=version) + "".join(lines)


def _line(decision: str, alerts: Alerts) -> str:
    cards = alerts.cards
    return (
        f"  {decision}: {alerts.threshold:.12g}   # {cards.mean:.0f} cards a day ({cards.least} to "
        f"{cards.most}); {alerts.precision:.0%} of the events are frauds, {alerts.recall:.0%} of "
        "the frauds\n"
    )
