"""Order of a policy's decisions over all its segments, from the least severe to the most.

A higher band is more severe than a lower one, and every band is more severe than the default.
Segments may leave it open which of two decisions is more severe, but may not contradict each
other. `decisions` in the file settles what they leave open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from base.suggest import unknown
from base.yaml_document import Location, YamlDocument
from models.policy.policy_file import MOST, PolicySpec


@dataclass(frozen=True, slots=True)
class Bands:
    """Thresholds by decision, and the place of their mapping in the file."""

    at: Location
    thresholds: dict[str, float]

    def rising(self) -> list[str]:
        """The decisions, lowest threshold first."""
        return sorted(self.thresholds, key=self.thresholds.__getitem__)


def decisions_of(
    file: PolicySpec, segments: Sequence[Bands], document: YamlDocument
) -> tuple[str, ...]:
    """The decisions, least severe first: the default is the first of them.

    Raises ConfigurationError where segments contradict each other or `decisions`, and where
    `when_degraded` is no decision, or its place among the others is open.
    """
    lesser = _Lesser(file.default)
    for segment in segments:
        lesser.add(segment, document)
    if file.decisions is not None:
        found = _as_listed(file, file.decisions, segments, document)
    else:
        found = lesser.ordered(segments)
        _check_degraded(file, lesser, document)
    if len(found) > MOST:
        raise document.refuse((), f"{len(found)} decisions, {MOST} at most; merge some")
    return found


class _Lesser:
    """The less severe decisions of each decision, by the segments added so far."""

    def __init__(self, default: str) -> None:
        self._default = default
        self.than: dict[str, set[str]] = {default: set()}

    def add(self, segment: Bands, document: YamlDocument) -> None:
        for low, high in pairwise([self._default, *segment.rising()]):
            if high in self.than.get(low, ()):
                raise document.refuse_key(
                    (*segment.at, high),
                    f"the band {high} is above {low} here, and below it in an earlier segment; "
                    "let thresholds rise in the same order in all segments",
                )
            below = {low, *self.than.setdefault(low, {self._default})}
            self.than.setdefault(high, set()).update(below)
            for lesser in self.than.values():
                if high in lesser:
                    lesser.update(below)

    def ordered(self, segments: Sequence[Bands]) -> tuple[str, ...]:
        """All decisions; where the segments leave it open, the lowest threshold goes first."""
        lowest = {self._default: 0.0}
        for segment in segments:
            for name, threshold in segment.thresholds.items():
                lowest[name] = min(threshold, lowest.get(name, threshold))
        return tuple(sorted(self.than, key=lambda name: (len(self.than[name]), lowest[name])))


def _as_listed(
    file: PolicySpec, listed: list[str], segments: Sequence[Bands], document: YamlDocument
) -> tuple[str, ...]:
    if listed[0] != file.default:
        raise document.refuse(
            ("decisions", 0),
            f"decisions goes from the least severe to the most, so the default, {file.default}, "
            f"comes first; found {listed[0]}",
        )
    for segment in segments:
        _check_rising(segment, listed, document)
    if file.when_degraded is not None and file.when_degraded not in listed:
        raise document.refuse(("when_degraded",), unknown("decision", file.when_degraded, listed))
    made = {file.default, file.when_degraded}.union(*(s.thresholds for s in segments))
    for i, name in enumerate(listed):
        if name in listed[:i]:
            raise document.refuse(("decisions", i), f"{name} is listed twice; list it once")
        if name not in made:
            raise document.refuse(("decisions", i), f"no band decides {name}; remove it")
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
                "thresholds rise in that order, or change it",
            )


def _check_degraded(file: PolicySpec, lesser: _Lesser, document: YamlDocument) -> None:
    name = file.when_degraded
    if name is None or name == file.default:
        return
    if name not in lesser.than:
        raise document.refuse(
            ("when_degraded",),
            f"{unknown('decision', name, lesser.than)} (a decision that no band makes has to be "
            "placed among the others: list all in decisions, least severe first)",
        )
    for other, below in lesser.than.items():
        if other != name and name not in below and other not in lesser.than[name]:
            raise document.refuse(
                ("when_degraded",),
                f"no segment says whether {name} is more severe than {other}; list all decisions "
                "in decisions, least severe first",
            )
