"""Structure of the section ``entities`` of features.yaml: the fields of their keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from features.definition.event_spec import Strict
from features.definition.scalars import FieldPath

MAX_KEY_PARTS = 8


class KeyPartSpec(Strict):
    """Field of an entity key."""

    field: FieldPath = Field(description="Field of text, or of whole numbers.")
    nullable: bool = Field(
        default=False,
        description="True: null and empty text are a part of their own; else such an event is a "
        "dead letter.",
    )


def _key_part(value: object) -> object:
    if not isinstance(value, str | dict):
        raise ValueError(  # noqa: TRY004  (pydantic wants ValueError)
            f"{value!r} is not a field: write field or {{field: …, nullable: true}}"
        )
    return {"field": value} if isinstance(value, str) else value


def _key_parts(value: object) -> object:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise ValueError(  # noqa: TRY004  (pydantic wants ValueError)
            f"{value!r} is not a field or a list of fields"
        )
    if len(value) < 2:
        raise ValueError("a list needs two fields or more; write a single field without a list")
    return value


def _distinct(parts: list[KeyPartSpec]) -> list[KeyPartSpec]:
    fields = [part.field for part in parts]
    if len(set(fields)) < len(fields):
        twice = next(field for field in fields if fields.count(field) > 1)
        raise ValueError(f"{twice} appears twice: keep one")
    return parts


_KeyPart = Annotated[
    KeyPartSpec,
    BeforeValidator(_key_part, json_schema_input_type=FieldPath | KeyPartSpec),
]
EntityKey = Annotated[
    list[_KeyPart],
    BeforeValidator(
        _key_parts,
        json_schema_input_type=FieldPath
        | Annotated[list[_KeyPart], Field(min_length=2, max_length=MAX_KEY_PARTS)],
    ),
    Field(max_length=MAX_KEY_PARTS),
    AfterValidator(_distinct),
]
"""The fields of an entity key, in order."""
