"""Read a policy file and check it for contradictions.

It belongs to fraud operations, so every refusal names the file, the place and the remedy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from base.yaml_document import Location, YamlDocument
from models.policy.catalogue import Catalogue
from models.policy.policy_file import PolicySpec, SegmentSpec
from models.policy.severity import Bands, decisions_of

DEGRADED = ("lookup_missing", "lookup_stale", "lookup_invalid", "python_failed", "ahead")
"""Kinds of flags that make an event degraded, unless the file names others.

With them, a default or nothing stands for a value that the event should have, or the event's own
time is not to be trusted.
"""

REST = "default"
"""Name of the segment of all remaining events, where the file does not name one."""


@dataclass(frozen=True, slots=True)
class Band:
    """A range of scores, from its threshold up to that of the next band, with one decision."""

    decision: str
    threshold: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the traffic with bands of its own.

    Attributes:
        name: Name of the segment.
        where: Expression that is true of its events; None for all events that no segment before it
            takes.
        bands: The bands, highest threshold first.
    """

    name: str
    where: str | None
    bands: tuple[Band, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """A version of the policy.

    Attributes:
        version: Name of the version.
        default: Decision about scores below every band.
        decisions: Decisions over all segments, from the least severe, which is the default, to the
            most severe.
        segments: The segments; the last one has no condition.
        when_degraded: Least severe decision that a degraded event can get; None for any.
        degraded: Flags, or kinds of flags, that make an event degraded.
        catalogue: Catalogue of reasons; None where the policy gives none.
        document: The file, for the places in messages.
    """

    version: str
    default: str
    decisions: tuple[str, ...]
    segments: tuple[Segment, ...]
    when_degraded: str | None
    degraded: tuple[str, ...]
    catalogue: Catalogue | None
    document: YamlDocument


def load_policy(path: Path) -> Policy:
    """Load the policy in the file `path`.

    Raises ConfigurationError, naming file, line, what was found and what to do.
    """
    document = YamlDocument.read(path)
    file = document.validate(PolicySpec)
    _check_degraded(file, document)
    specs, bands = _segments(file, document)
    decisions = decisions_of(file, bands, document)
    segments = tuple(
        Segment(
            spec.name,
            spec.where,
            tuple(Band(name, own.thresholds[name]) for name in reversed(own.rising())),
        )
        for spec, own in zip(specs, bands, strict=True)
    )
    if segments[-1].where is not None:
        segments = (*segments, Segment(REST, None, ()))
    return Policy(
        version=file.version,
        default=file.default,
        decisions=decisions,
        segments=segments,
        when_degraded=file.when_degraded,
        degraded=DEGRADED if file.degraded is None else tuple(file.degraded),
        catalogue=None if file.reasons is None else Catalogue(file.reasons, document),
        document=document,
    )


def _check_degraded(file: PolicySpec, document: YamlDocument) -> None:
    if file.when_degraded is None and file.degraded is not None:
        raise document.refuse_key(
            ("degraded",), "degraded says nothing without when_degraded; add that, or remove it"
        )
    if file.when_degraded == file.default:
        raise document.refuse(
            ("when_degraded",),
            f"{file.default} is the default decision, and when_degraded lowers none: it would "
            "change nothing; name another, or remove it",
        )


def _segments(file: PolicySpec, document: YamlDocument) -> tuple[list[SegmentSpec], list[Bands]]:
    """The segments and their bands; the short form `bands` becomes one segment."""
    if (file.bands is None) == (file.segments is None):
        found = "neither" if file.bands is None else "both"
        raise document.refuse((), f"give either bands or segments, found {found}")
    if file.bands is not None:
        only = SegmentSpec(name=REST, bands=file.bands)
        return [only], [_bands(file.bands, file.default, ("bands",), document)]
    specs = file.segments or []
    if not specs:
        raise document.refuse(("segments",), "there is no segment; give one, or bands instead")
    _check_names(specs, document)
    for i, spec in enumerate(specs[:-1]):
        if spec.where is None:
            raise document.refuse(
                ("segments", i),
                f"the segment {spec.name} has no where, so it takes all events, and none is left "
                "for those after it; add where, or move it to the end",
            )
    places = [("segments", i, "bands") for i in range(len(specs))]
    return specs, [
        _bands(spec.bands, file.default, at, document)
        for spec, at in zip(specs, places, strict=True)
    ]


def _check_names(specs: list[SegmentSpec], document: YamlDocument) -> None:
    seen: set[str] = set()
    for i, spec in enumerate(specs):
        at = ("segments", i, "name")
        if spec.name in seen:
            raise document.refuse(at, f"segment {spec.name} appears twice; rename one")
        if spec.name == REST and specs[-1].where is not None:
            raise document.refuse(
                at,
                f"{REST} is the segment of events that no other takes; rename this one, or add a "
                "last segment without where",
            )
        seen.add(spec.name)


def _bands(bands: dict[str, float], default: str, at: Location, document: YamlDocument) -> Bands:
    """The bands. Refuses equal thresholds and a band called `default`."""
    seen: dict[float, str] = {}
    for decision, threshold in bands.items():
        if decision == default:
            raise document.refuse_key(
                (*at, decision),
                f"the band {decision} is named like the default decision, which takes all scores "
                "below the bands; rename it or remove it",
            )
        if threshold in seen:
            raise document.refuse_key(
                (*at, decision),
                f"the bands {seen[threshold]} and {decision} have the same threshold {threshold}; "
                "give each its own",
            )
        seen[threshold] = decision
    return Bands(at, bands)
