"""Read a policy file and check it for contradictions.

The file belongs to fraud operations, so every error names the file, the place and the remedy.
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

Each of them means that a value is missing or replaced by a default, or that the event's time cannot
be trusted.
"""

REST = "default"
"""Name of the segment for all remaining events, if the file does not have such a segment."""


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
        where: Condition of its events, an expression; None for all events that no earlier segment
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
        default: Decision for scores below every band.
        decisions: Decisions of all segments, from the least severe, which is the default, to the
            most severe.
        segments: The segments; the last one has no condition.
        when_degraded: Least severe decision that a degraded event can get; None for any.
        degraded: Flags, or kinds of flags, that make an event degraded.
        catalogue: Reason catalogue; None if the policy gives no reasons.
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
    """Load a policy file.

    Raises:
        ConfigurationError: naming the file, the line, the fault and the remedy.
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
            ("degraded",),
            "degraded has no effect without when_degraded; add when_degraded, or remove degraded",
        )
    if file.when_degraded == file.default:
        raise document.refuse(
            ("when_degraded",),
            f"{file.default} is the default decision, so when_degraded has no effect; name another "
            "decision, or remove it",
        )


def _segments(file: PolicySpec, document: YamlDocument) -> tuple[list[SegmentSpec], list[Bands]]:
    """Segments and their bands; the short form `bands` becomes one segment."""
    if (file.bands is None) == (file.segments is None):
        given = "neither" if file.bands is None else "both"
        raise document.refuse((), f"give either bands or segments, found {given}")
    if file.bands is not None:
        only = SegmentSpec(name=REST, bands=file.bands)
        return [only], [_bands(file.bands, file.default, ("bands",), document)]
    specs = file.segments or []
    if not specs:
        raise document.refuse(
            ("segments",), "there is no segment; give one, or give bands instead of segments"
        )
    _check_names(specs, document)
    for i, spec in enumerate(specs[:-1]):
        if spec.where is None:
            raise document.refuse(
                ("segments", i),
                f"the segment {spec.name} has no where, so it takes all events, and the segments "
                "after it get none; add where, or move it to the end",
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
                f"{REST} is the name of the segment for events that no other segment takes; rename "
                "this one, or add a last segment without where",
            )
        seen.add(spec.name)


def _bands(bands: dict[str, float], default: str, at: Location, document: YamlDocument) -> Bands:
    """Check the bands of a segment; equal thresholds and a band of the default are refused."""
    seen: dict[float, str] = {}
    for decision, threshold in bands.items():
        if decision == default:
            raise document.refuse_key(
                (*at, decision),
                f"the band {decision} has the name of the default decision, which takes all scores "
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
