"""Schema of policy.yaml: its keys, types and limits."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

MAX_ENTRIES = 100
"""Largest number of segments, of decisions in all segments, of reasons, and of reason codes."""

Name = Annotated[str, Field(pattern=r"^[^\s\x00-\x1f](.{0,62}[^\s\x00-\x1f])?$")]
Threshold = Annotated[float, Field(gt=0.0, lt=1.0)]
Bands = Annotated[dict[Name, Threshold], Field(max_length=MAX_ENTRIES)]
Text = Annotated[str, Field(min_length=1, max_length=500)]
Glob = Annotated[str, Field(min_length=1, max_length=255)]


class _PolicyPart(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SegmentSpec(_PolicyPart):
    """A part of the traffic with bands of its own."""

    name: Name = Field(description="Name of the segment, on every score.")
    where: str | None = Field(
        default=None,
        description="Condition over fields and features; only the last segment may be without.",
        examples=["channel == 'ecom'"],
    )
    bands: Bands = Field(
        description="Lowest score of each decision; {} for the default decision alone.",
        examples=[{"decline": 0.97, "review": 0.55}],
    )


class CodeSpec(_PolicyPart):
    """A code that can be given as a reason."""

    features: Annotated[list[Glob], Field(min_length=1)] = Field(
        description="Names of its features; * and ? are wildcards.", examples=[["*"]]
    )
    text: Text = Field(description="Text for the audience; scores carry the code alone.")
    audience: Name = Field(default="analyst", description="Readers of the text.")


class ReasonsSpec(_PolicyPart):
    """Reasons of decisions that are not the default."""

    max: int = Field(
        default=4, ge=1, le=MAX_ENTRIES, description="Maximum number of reasons of an event."
    )
    catalogue: dict[Name, CodeSpec] = Field(
        min_length=1,
        max_length=MAX_ENTRIES,
        description="Codes by name; a feature belongs to the first code that matches it.",
    )


class PolicySpec(_PolicyPart):
    """Decisions by score, and the reasons that are given for them."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["segments"]}, {"required": ["bands"]}]}
    )

    version: Name = Field(
        description="Name of this version, on every score; change it with every change here."
    )
    default: Name = Field(default="approve", description="Decision about scores below every band.")
    decisions: list[Name] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_ENTRIES,
        description="All decisions, least severe first; needed where the bands leave that open.",
        examples=[["approve", "challenge", "review", "decline"]],
    )
    when_degraded: Name | None = Field(
        default=None, description="Least severe decision that a degraded event can get."
    )
    degraded: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Flags, or kinds of flags, that make an event degraded.",
        examples=[["lookup_missing", "lookup_stale:card_holder"]],
    )
    segments: list[SegmentSpec] | None = Field(
        default=None,
        max_length=MAX_ENTRIES,
        description="Parts of the traffic, in order: the first that takes an event decides.",
    )
    bands: Bands | None = Field(
        default=None,
        min_length=1,
        description="In place of segments: lowest score of each decision, for all events.",
        examples=[{"decline": 0.97, "review": 0.55}],
    )
    reasons: ReasonsSpec | None = None

    @field_validator("version", mode="before")
    @classmethod
    def _version_is_text(cls, given: object) -> object:
        if isinstance(given, int | float):
            # pydantic reports a ValueError with the key, but not a TypeError.
            raise ValueError(f"YAML reads {given} as a number; write it in quotes")  # noqa: TRY004
        return given
