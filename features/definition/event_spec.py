"""Structure of the section ``events`` of features.yaml: the meaning of an event's fields."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic import model_validator as validator

from features.definition.scalars import Delay, Exact, FieldPath, TimeUnit


class Strict(BaseModel):
    """Base of all entries: unknown keys and implicit conversions are invalid."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TimeSpec(Strict):
    """Event time and the unit of a field that is a plain number."""

    field: FieldPath = Field(description="Field of the event time.")
    unit: TimeUnit | None = Field(
        default=None, description="Unit of a plain number; a timestamp has its own."
    )


class AmountSpec(Strict):
    """Amount, kept as a whole number of minor units."""

    field: FieldPath = Field(description="Field of the amount.")
    scale: int = Field(ge=0, le=9, description="Decimal digits of the minor unit; 2 for cents.")
    min: Exact | None = Field(
        default=None,
        description="Minimum in major units; a record with a smaller amount becomes a dead letter.",
    )


class LabelSpec(Strict):
    """Label of an event in a file; records have none."""

    field: FieldPath = Field(description="Field of files that tells if the event was fraud.")
    delay: Delay = Field(description="Time from the event to its label.", examples=["7d"])


def _time(value: object) -> object:
    return {"field": value} if isinstance(value, str) else value


class EventsSpec(Strict):
    """Meaning of the fields of an event."""

    schema_: str = Field(
        alias="schema",
        min_length=1,
        description="Avro schema of the events, relative to this file.",
        examples=["transaction.avsc"],
    )
    id: FieldPath = Field(description="Field that identifies the event: text or a whole number.")
    time: Annotated[
        TimeSpec, BeforeValidator(_time, json_schema_input_type=FieldPath | TimeSpec)
    ] = Field(
        description="Event time: a field, or {field, unit} where the field is a plain number.",
        examples=["tx_time", {"field": "created", "unit": "ms"}],
    )
    amount: AmountSpec | None = None
    partition_key: FieldPath | None = Field(
        default=None, description="Field that is the key of the records."
    )
    label: LabelSpec | None = None
    aliases: dict[FieldPath, Annotated[str, StringConstraints(min_length=1)]] = Field(
        default={},
        description="Other names of fields in files, by field.",
        examples=[{"amount": "TX_AMOUNT"}],
    )

    @validator(mode="before")
    @classmethod
    def _schema_is_a_file(cls, value: Any) -> Any:
        if isinstance(value, dict) and "subject" in value:
            raise ValueError("subject is not supported yet by this version: use schema: FILE.avsc")
        return value

    @validator(mode="after")
    def _aliases_are_distinct(self) -> Self:
        seen: dict[str, str] = {}
        for path, alias in self.aliases.items():
            if alias in seen:
                raise ValueError(
                    f"aliases: {alias} stands for both {seen[alias]} and {path}: keep one"
                )
            seen[alias] = path
        return self
