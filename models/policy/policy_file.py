"""Schema of policy.yaml: its keys, types and limits."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

MOST = 100
"""Largest number of segments, of decisions in all segments, of reasons, and of reason codes."""

Name = Annotated[str, Field(pattern=r"^[^\s\x00-\x1f](.{0,62}[^\s\x00-\x1f])?$")]
Threshold = Annotated[float, Field(gt=0.0, lt=1.0)]
Bands = Annotated[dict[Name, Threshold], Field(max_length=MOST)]
Text = Annotated[str, Field(min_length=1, max_length=500)]
Glob = Annotated[str, Field(min_length=1, max_length=255)]


class _PolicyPart(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SegmentSpec(_PolicyPart):
    """An entry of `segments`."""

    name: Name
    where: str | None = None
    bands: Bands


class CodeSpec(_PolicyPart):
    """An entry of `reasons.catalogue`."""

    features: Annotated[list[Glob], Field(min_length=1)]
    text: Text
    audience: Name = "analyst"


class ReasonsSpec(_PolicyPart):
    """The entry `reasons`."""

    max: Annotated[int, Field(ge=1, le=MOST)] = 4
    catalogue: Annotated[dict[Name, CodeSpec], Field(min_length=1, max_length=MOST)]


class PolicySpec(_PolicyPart):
    """The whole file."""

    version: Name
    default: Name = "approve"
    decisions: Annotated[list[Name] | None, Field(min_length=1, max_length=MOST)] = None
    when_degraded: Name | None = None
    degraded: Annotated[list[str] | None, Field(min_length=1)] = None
    segments: Annotated[list[SegmentSpec] | None, Field(max_length=MOST)] = None
    bands: Annotated[Bands | None, Field(min_length=1)] = None
    reasons: ReasonsSpec | None = None

    @field_validator("version", mode="before")
    @classmethod
    def _version_is_text(cls, given: object) -> object:
        if isinstance(given, int | float):
            # pydantic reports a ValueError with the key, but not a TypeError.
            raise ValueError(f"YAML reads {given} as a number; write it in quotes")  # noqa: TRY004
        return given
