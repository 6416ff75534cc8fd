"""Objectives whose margin is log-odds, so that its logistic is a probability."""

from __future__ import annotations

from typing import Final

ACCEPTED: Final = ("binary:logistic", "binary:logitraw", "reg:logistic")
"""All three minimise the logistic loss: the margin is the log-odds, whatever they predict."""

# Meaning of the margin by prefix of the objective's name; the longest prefix counts.
_MARGINS: Final = {
    "binary:hinge": "it tells on which side of a hyperplane a row is, not how probably",
    "count:": "it is the logarithm of a count",
    "multi:": "each class has one of its own",
    "rank:": "it orders the rows of a group, and means nothing beside it",
    "reg:": "it is the predicted value itself, or its logarithm",
    "reg:squarederror": "it is the predicted value itself: an estimate of 0 or 1 gives .5 or .73",
    "survival:": "it is the logarithm of a hazard or a time",
}


def why_refused(objective: str) -> str:
    """Reason why the logistic of the margin is no probability; "" for an accepted objective."""
    if objective in ACCEPTED:
        return ""
    prefixes = sorted(filter(objective.startswith, _MARGINS), key=len)
    return _MARGINS[prefixes[-1]] if prefixes else "nothing is known of it"
