"""Manifest of a bundle: the model's features in order, objective, calibration and origin."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol, Self

import numpy as np
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from base.errors import BundleRefusedError

MANIFEST_FILE = "manifest.json"
MAX_GOLDEN = 1000
LARGEST = float(np.finfo(np.float32).max)
"""The largest float32."""
_SHOWN = 10
_SHOWN_CHARACTERS = 80

Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$")]
Fingerprint = Annotated[str, Field(pattern=r"^([0-9a-f]{8,64})?$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Float32 = Annotated[Finite, Field(ge=-LARGEST, le=LARGEST)]
Probability = Annotated[float, Field(gt=0.0, lt=1.0)]


class CategoryList(Protocol):
    """Categories of a feature; the place of a value in the list is its code."""

    @property
    def values(self) -> Sequence[str | int]: ...

    @property
    def other(self) -> bool:
        """True if all other values have the next code; else they are missing."""


class NamedFeature(Protocol):
    """A feature, reduced to what a bundle needs: its name, fingerprint and categories."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def categories(self) -> CategoryList | None: ...


class NamedFeatures(Protocol):
    """A feature set, reduced to what a bundle needs: its features in matrix order."""

    @property
    def features(self) -> Sequence[NamedFeature]: ...


class _ManifestPart(BaseModel):
    """Base of the manifest's parts, which refuses unknown keys and values of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_by_name=True)


class Categories(_ManifestPart):
    """Categories of a feature, as `CategoryList`."""

    values: Annotated[tuple[str | int, ...], Field(min_length=1)]
    other: bool

    @property
    def count(self) -> int:
        """Number of codes."""
        return len(self.values) + self.other


class FeatureRef(_ManifestPart):
    """A feature that the model was trained on."""

    name: Annotated[str, Field(min_length=1, max_length=255)]
    fingerprint: Fingerprint
    """Fingerprint of its definition; "" if the model was packed without definitions.

    Without it, no feature set matches the model.
    """
    categories: Categories | None = None
    """Categories that the model splits by; None if it splits by thresholds.

    In manifest.json, only features with categories have the key.
    """

    @model_serializer(mode="wrap")
    def _without_none(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        part: dict[str, Any] = serialize(self)
        if part["categories"] is None:
            del part["categories"]
        return part


class Knots(_ManifestPart):
    """Knots of a calibration curve: margins and their scores, both strictly rising."""

    margins: Annotated[tuple[Finite, ...], Field(min_length=2, max_length=1000)]
    scores: Annotated[tuple[Probability, ...], Field(min_length=2, max_length=1000)]

    @model_validator(mode="after")
    def _rise_together(self) -> Self:
        if len(self.margins) != len(self.scores):
            raise ValueError(f"{len(self.margins)} margins and {len(self.scores)} scores")
        for what, values in (("margins", self.margins), ("scores", self.scores)):
            for low, high in itertools.pairwise(values):
                if low >= high:
                    raise ValueError(f"{what} must rise strictly; {high!r} follows {low!r}")
        return self


class TrainingRecord(_ManifestPart):
    """Origin of a model: the training rows, the XGBoost version, the parameters and the seed."""

    rows: Annotated[int, Field(gt=0)]
    frauds: Annotated[int, Field(ge=0)]
    since: AwareDatetime = Field(validation_alias="from", serialization_alias="from")
    """Event time of the first row; its key in manifest.json is `from`."""
    until: AwareDatetime
    """Event time of the last row."""
    data: Fingerprint
    """Fingerprint of the training table; "" if there is none."""
    xgboost: Annotated[str, Field(min_length=1, max_length=100)]
    params: dict[str, JsonValue]
    seed: int

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.frauds > self.rows:
            raise ValueError(f"{self.frauds} frauds in {self.rows} rows")
        if self.until < self.since:
            raise ValueError(f"until is {self.until}, before from: {self.since}")
        return self


class GraphOutput(_ManifestPart):
    """Output of an ONNX model that is the score."""

    name: Annotated[str, Field(min_length=1, max_length=1000)]
    kind: Literal["probability", "margin"]
    """`probability` of fraud, or its log-odds (`margin`)."""


class Manifest(_ManifestPart):
    """Content of manifest.json, which must have exactly these keys.

    A key with a default may be absent: earlier versions did not write it. `format`, `output` and
    `fraud_class` are written only where they have another value than that.
    """

    name: Label
    version: Label
    format: Literal["xgboost", "onnx"] = "xgboost"
    """Format of the model file."""
    features: Annotated[tuple[FeatureRef, ...], Field(min_length=1)]
    """Features in the order of the model's columns."""
    dtype: Literal["float32"] = "float32"
    missing: Literal["NaN"] | Float32 = "NaN"
    """Feature value that means missing, besides NaN; "NaN" if there is none."""
    objective: str | None
    """Objective of XGBoost; None for another format."""
    trees: Annotated[int, Field(gt=0)] | None
    """Number of trees of XGBoost; None for another format."""
    fraud_class: Annotated[int, Field(ge=0)] | None = None
    """Class of a multi-class model whose log-odds are the margin; None for one output."""
    output: GraphOutput | None = None
    """Output of an ONNX model; None for another format."""
    calibration: Knots | None
    """Calibration curve; None if the score is the logistic of the margin."""
    golden: Annotated[int, Field(gt=0, le=MAX_GOLDEN)]
    """Number of golden vectors."""
    trained: TrainingRecord | None
    created_at: AwareDatetime

    @field_validator("features")
    @classmethod
    def _names_are_unique(cls, features: tuple[FeatureRef, ...]) -> tuple[FeatureRef, ...]:
        counts = Counter(feature.name for feature in features)
        twice = sorted(name for name, count in counts.items() if count > 1)
        if twice:
            raise ValueError(f"these features are listed more than once: {', '.join(twice)}")
        return features

    @model_validator(mode="after")
    def _keys_fit_the_format(self) -> Self:
        of_xgboost = self.format == "xgboost"
        belongs = {"objective": of_xgboost, "trees": of_xgboost, "output": not of_xgboost}
        for key, expected in belongs.items():
            if (getattr(self, key) is not None) != expected:
                raise ValueError(
                    f"{key} is {getattr(self, key)!r}; format: {self.format} "
                    f"{'needs it' if expected else 'has none'}"
                )
        if not of_xgboost and (self.missing != "NaN" or self.fraud_class is not None):
            raise ValueError(
                f"missing is {self.missing} and fraud_class {self.fraud_class}; format: "
                f"{self.format} has neither"
            )
        return self

    @property
    def kind(self) -> str:
        """Words that describe the model."""
        if self.output is None:
            return f"{self.objective}, {self.trees:,} trees"
        return f"ONNX, {self.output.kind} of {self.output.name}"

    @property
    def missing_value(self) -> float:
        """Feature value that means missing; NaN if no other value does."""
        return math.nan if self.missing == "NaN" else self.missing

    def as_bytes(self) -> bytes:
        """Format the content of manifest.json."""
        # Earlier versions do not know these keys, and read all other bundles of this one.
        optional = {"format": "xgboost", "fraud_class": None, "output": None}
        absent = {key for key, default in optional.items() if getattr(self, key) == default}
        return (self.model_dump_json(indent=2, by_alias=True, exclude=absent) + "\n").encode()


def parse_manifest(text: bytes, where: str) -> Manifest:
    """Parse the bytes of a manifest.json.

    Args:
        text: Content of the file.
        where: Name of the file in messages.

    Raises:
        BundleRefusedError: for anything but valid JSON with exactly the known keys.
    """
    try:
        json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
        return Manifest.model_validate_json(text, by_alias=True, by_name=False)
    except ValidationError as error:
        raise BundleRefusedError(f"{where}: {describe_errors(error)}") from error
    except (ValueError, RecursionError) as error:
        raise BundleRefusedError(
            f"{where}: is not readable JSON ({error}); write the bundle again"
        ) from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = sorted(key[:_SHOWN_CHARACTERS] for key, count in counts.items() if count > 1)
        raise ValueError(f"keys given more than once: {', '.join(twice[:_SHOWN])}")
    return values


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def describe_errors(error: ValidationError) -> str:
    """Describe the errors of pydantic in one line, each with its key."""
    known = ", ".join(Manifest.model_fields)
    messages = []
    details = error.errors(include_url=False, include_input=False)
    for detail in details[:_SHOWN]:
        key = ".".join(str(part)[:_SHOWN_CHARACTERS] for part in detail["loc"])
        if detail["type"] == "extra_forbidden":
            messages.append(
                f"{key} is not a key of this version's manifest (known: {known}); "
                "the bundle comes from a newer version, or the key is misspelt"
            )
        elif detail["type"] == "missing":
            messages.append(
                f"{key}: Field required; an older version wrote the bundle: write it again"
            )
        else:
            messages.append(f"{key}: {detail['msg']}")
    if len(details) > _SHOWN:
        messages.append(f"and {len(details) - _SHOWN} more")
    return "; ".join(messages)
