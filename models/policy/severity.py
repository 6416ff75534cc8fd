"""Order of a policy's decisions over all its segments, from the least severe to the most severe.

A higher band is more severe than a lower one, and every band is more severe than the default.
Segments may leave the order of two decisions open, but must not contradict each other. The key
`decisions` in the file gives the full order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from base.suggest import unknown
from base.yaml_document import Location, YamlDocument
from models.policy.policy_file import MAX_ENTRIES, PolicySpec


@dataclass(frozen=True, slots=True)
class Bands:
    """Thresholds by decision, and the place of their mapping in the file."""

    at: Location
    thresholds: dict[str, float]

    def rising(self) -> list[str]:
        """Decisions, lowest threshold first."""
        return sorted(self.thresholds, key=self.thresholds.__getitem__)


def decisions_of(
    file: PolicySpec, segments: Sequence[Bands], document: YamlDocument
) -> tuple[str, ...]:
    """Order the decisions, least severe first; the first is the default.

    Raises:
        ConfigurationError: if segments contradict each other or the key `decisions`, or if
            `when_degraded` is not a decision, or its place in the order is open.
    """
    severity = _Severity(file.default)
    for segment in segments:
        severity.add(segment, document)
    if file.decisions is not None:
        decisions = _as_listed(file, file.decisions, segments, document)
    else:
        decisions = severity.ordered(segments)
        _check_degraded(file, severity, document)
    if len(decisions) > MAX_ENTRIES:
        raise document.refuse(
            (),
            f"there are {len(decisions)} decisions, at most {MAX_ENTRIES} are allowed; merge some",
        )
    return decisions


class _Severity:
    """Partial order of decisions, given by the segments added so far.

    Attributes:
        below: Less severe decisions of each decision.
    """

    def __init__(self, default: str) -> None:
        self._default = default
        self.below: dict[str, set[str]] = {default: set()}

    def add(self, segment: Bands, document: YamlDocument) -> None:
        """Add the order of a segment's bands. Raises ConfigurationError for a contradiction."""
        for low, high in pairwise([self._default, *segment.rising()]):
            if high in self.below.get(low, ()):
                raise document.refuse_key(
                    (*segment.at, high),
                    f"the band {high} is above {low} here, and below it in an earlier segment; "
                    "let thresholds rise in the same order in all segments",
                )
            lower = {low, *self.below.setdefault(low, {self._default})}
            self.below.setdefault(high, set()).update(lower)
            for others in self.below.values():
                if high in others:
                    others.update(lower)

    def ordered(self, segments: Sequence[Bands]) -> tuple[str, ...]:
        """Order all decisions; if an order is open, the lowest threshold goes first."""
        lowest = {self._default: 0.0}
        for segment in segments:
            for name, threshold in segment.thresholds.items():
                lowest[name] = min(threshold, lowest.get(name, threshold))
        return tuple(sorted(self.below, key=lambda name: (len(self.below[name]), lowest[name])))


def _as_listed(
    file: PolicySpec, listed: list[str], segments: Sequence[Bands], document: YamlDocument
) -> tuple[str, ...]:
    if listed[0] != file.default:
        raise document.refuse(
            ("decisions", 0),
            f"decisions are listed from the least severe to the most severe, so the default, "
            f"{file.default}, comes first; found {listed[0]}",
        )
    for segment in segments:
        _check_rising(segment, listed, document)
    if file.when_degraded is not None and file.when_degraded not in listed:
        raise document.refuse(("when_degraded",), unknown("decision", file.when_degraded, listed))
    used = {file.default, file.when_degraded}.union(*(s.thresholds for s in segments))
    for i, name in enumerate(listed):
        if name in listed[:i]:
            raise document.refuse(("decisions", i), f"{name} is listed twice; list it once")
        if name not in used:
            raise document.refuse(("decisions", i), f"no band has the decision {name}; remove it")
    return tuple(listed)


def _check_rising(segment: Bands, listed: list[str], document: YamlDocument) -> None:
    rising = segment.rising()
    for name in rising:
        if name not in listed:
            raise document.refuse_key((*segment.at, name), unknown("decision", name, listed))
    for low, high in pairwise(rising):
        if listed.index(low) > listed.index(high):
            raise document.refuse_key(
                (*segment.at, high),
                f"the band {high} is above {low} here, and before it in decisions; let "
                "thresholds rise in the order of decisions, or change that order",
            )


def _check_degraded(file: PolicySpec, severity: _Severity, document: YamlDocument) -> None:
    name = file.when_degraded
    if name is None or name == file.default:
        return
    if name not in severity.below:
        raise document.refuse(
            ("when_degraded",),
            f"{unknown('decision', name, severity.below)} (if no band has this decision, list all "
            "decisions in decisions, least severe first)",
        )
    for other, below in severity.below.items():
        if other != name and name not in below and other not in severity.below[name]:
            raise document.refuse(
                ("when_degraded",),
                f"no segment says whether {name} is more severe than {other}; list all decisions "
                "in decisions, least severe first",
            )
