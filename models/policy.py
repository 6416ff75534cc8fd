"""policy.yaml: from score to decision.

It belongs to fraud operations, so every refusal names the file, the place and the remedy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator

from features.definition.document import Document, Location

_LATER = {
    "where": "segments chosen by an expression",
    "when_degraded": "a decision for degraded scores",
    "reasons": "reason codes",
}

Name = Annotated[str, Field(pattern=r"^[^\s\x00-\x1f](.{0,62}[^\s\x00-\x1f])?$")]
Threshold = Annotated[float, Field(gt=0.0, lt=1.0)]
Bands = Annotated[dict[Name, Threshold], Field(min_length=1, max_length=100)]


class _Segment(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Name
    bands: Bands


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    version: Name
    default: Name = "approve"
    segments: list[_Segment] | None = None
    bands: Bands | None = None

    @field_validator("version", mode="before")
    @classmethod
    def _version_is_text(cls, given: object) -> object:
        if isinstance(given, int | float):
            raise ValueError(f"YAML reads {given} as a number; write it in quotes")  # noqa: TRY004  pydantic wants it
        return given


@dataclass(frozen=True, slots=True)
class Band:
    """The scores from a threshold up to the next band's, and what is decided about them."""

    decision: str
    threshold: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the traffic with bands of its own."""

    name: str
    bands: tuple[Band, ...]
    """Highest threshold first."""


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """A version of the policy."""

    version: str
    default: str
    """The decision about scores below every band."""
    segments: tuple[Segment, ...]
    decisions: tuple[str, ...]
    """By code: the default, then the bands from the lowest threshold to the highest."""
    _thresholds: npt.NDArray[np.float64]

    def decide(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int8]:
        """Codes int8[N] into `decisions` for scores float64[N].

        A score at a threshold belongs to that threshold's band.
        """
        return np.searchsorted(self._thresholds, scores, side="right").astype(np.int8)


def load_policy(path: Path) -> Policy:
    """The policy in the file `path`.

    Raises ConfigurationError, naming file, line, what was found and what to do.
    """
    document = Document.read(path)
    _refuse_later(document)
    file = document.validate(_File)
    if (file.bands is None) == (file.segments is None):
        found = "neither" if file.bands is None else "both"
        raise document.refuse((), f"give either bands or segments, found {found}")
    if file.bands is not None:
        return _policy(file, "default", _ordered(file.bands, file.default, ("bands",), document))
    segments = file.segments or []
    if len(segments) != 1:
        raise document.refuse(
            ("segments",),
            f"this version takes one segment, for all events; found {len(segments)}",
        )
    (segment,) = segments
    bands = _ordered(segment.bands, file.default, ("segments", 0, "bands"), document)
    return _policy(file, segment.name, bands)


def _policy(file: _File, segment: str, bands: tuple[Band, ...]) -> Policy:
    rising = bands[::-1]
    return Policy(
        version=file.version,
        default=file.default,
        segments=(Segment(segment, bands),),
        decisions=(file.default, *(band.decision for band in rising)),
        _thresholds=np.array([band.threshold for band in rising], dtype=np.float64),
    )


def _ordered(
    bands: dict[str, float], default: str, at: Location, document: Document
) -> tuple[Band, ...]:
    """The bands, highest threshold first. Refuses equal thresholds and a band called `default`."""
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
    return tuple(Band(seen[threshold], threshold) for threshold in sorted(seen, reverse=True))


def _refuse_later(document: Document) -> None:
    """Name what later versions will know; ignoring it would decide otherwise than was asked."""
    places: list[tuple[Location, Any]] = [((), document.values)]
    segments = document.values.get("segments")
    if isinstance(segments, list):
        places += [(("segments", i), segment) for i, segment in enumerate(segments)]
    for at, values in places:
        for key in _LATER.keys() & (values if isinstance(values, dict) else {}):
            raise document.refuse_key(
                (*at, key), f"{key}: this version does not have {_LATER[key]} yet; remove the key"
            )
