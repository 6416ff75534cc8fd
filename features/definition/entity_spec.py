"""Structure of the section ``entities`` of features.yaml: the fields of their keys."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic import model_validator as validator

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


def _distinct(parts: list[KeyPartSpec]) -> list[KeyPartSpec]:
    fields = [part.field for part in parts]
    if len(set(fields)) < len(fields):
        twice = next(field for field in fields if fields.count(field) > 1)
        raise ValueError(f"{twice} appears twice: keep one")
    return parts


_Parts = Annotated[
    list[
        Annotated[
            KeyPartSpec,
            BeforeValidator(_key_part, json_schema_input_type=FieldPath | KeyPartSpec),
        ]
    ],
    Field(min_length=2, max_length=MAX_KEY_PARTS),
    AfterValidator(_distinct),
]


class TokenSpec(Strict):
    """Tokens in place of a field's values."""

    key_file: str = Field(
        min_length=1,
        description="File with the secret key, at least 32 bytes, relative to this file.",
        examples=["/var/run/secrets/fraud-worker/token.key"],
    )


class TokenFieldSpec(Strict):
    """Field whose values are replaced by tokens wherever they would be written."""

    field: FieldPath = Field(description="Field of text, or of whole numbers.")
    token: TokenSpec


class EntitySpec(Strict):
    """Key of an entity: one field, which may have tokens in place of its values, or several."""

    field: FieldPath | None = None
    fields: _Parts | None = None
    token: TokenSpec | None = None

    @validator(mode="before")
    @classmethod
    def _one_form(cls, value: Any) -> Any:
        match value:
            case str():
                return {"field": value}
            case [] | [_]:
                raise ValueError("a list needs two fields or more; write one field without a list")
            case list():
                return {"fields": value}
            case {"fields": _}:
                raise ValueError(
                    "a key of several fields is a list: [card, merchant]; a token belongs to one "
                    "field: give an entity of this field alone {field: …, token: …}"
                )
            case dict() if "token" not in value:
                raise ValueError("a field without a token is written by its name alone")
            case dict() if "field" not in value:
                raise ValueError("token needs a field: write {field: …, token: {key_file: …}}")
            case dict():
                return value
        raise ValueError(f"{value!r} is not a field or a list of fields")

    @property
    def parts(self) -> list[KeyPartSpec]:
        if self.fields is not None:
            return self.fields
        return [KeyPartSpec(field=str(self.field))]


Entity = Annotated[
    EntitySpec,
    # The validator gives a field or a list this form.
    BeforeValidator(
        lambda value: value, json_schema_input_type=FieldPath | _Parts | TokenFieldSpec
    ),
]
