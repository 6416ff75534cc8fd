"""What a bundle says of its model: features in order, dtype, missing value, objective."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from models.bundle.refusal import BundleRefusedError

MANIFEST_FILE = "manifest.json"

Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$")]
Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]


class NamedFeature(Protocol):
    """A feature as this package sees it: a name and the fingerprint of its definition."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...


class NamedFeatures(Protocol):
    """A feature set as this package sees it: its features in matrix order."""

    @property
    def features(self) -> Sequence[NamedFeature]: ...


class FeatureRef(BaseModel):
    """A feature the model was trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, Field(min_length=1, max_length=255)]
    fingerprint: Fingerprint


class Manifest(BaseModel):
    """manifest.json. Keys that are not listed here are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Label
    version: Label
    features: Annotated[tuple[FeatureRef, ...], Field(min_length=1)]
    """In the order of the model's columns."""
    dtype: Literal["float32"] = "float32"
    missing: Literal["NaN"] = "NaN"
    objective: str
    trees: Annotated[int, Field(gt=0)]
    created_at: AwareDatetime

    @field_validator("features")
    @classmethod
    def _names_are_unique(cls, features: tuple[FeatureRef, ...]) -> tuple[FeatureRef, ...]:
        counts = Counter(feature.name for feature in features)
        twice = sorted(name for name, count in counts.items() if count > 1)
        if twice:
            raise ValueError(f"these features are listed more than once: {', '.join(twice)}")
        return features


def parse_manifest(text: bytes, where: str) -> Manifest:
    """Manifest from the bytes of a manifest.json; `where` names the file in messages.

    Raises BundleRefusedError for anything but valid JSON with exactly the known keys.
    """
    try:
        json.loads(text, object_pairs_hook=_without_repeats)
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise BundleRefusedError(f"{where}: {told(error)}") from error
    except (ValueError, RecursionError) as error:
        raise BundleRefusedError(
            f"{where}: is not readable JSON ({error}); write the bundle again"
        ) from error


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = sorted({key for key, _ in pairs if [k for k, _ in pairs].count(key) > 1})
        raise ValueError(f"keys given more than once: {', '.join(twice)}")
    return found


def told(error: ValidationError) -> str:
    """The findings of pydantic in one line, each with the key that it is about."""
    known = ", ".join(Manifest.model_fields)
    told = []
    for finding in error.errors(include_url=False):
        key = ".".join(str(part) for part in finding["loc"])
        if finding["type"] == "extra_forbidden":
            told.append(
                f"{key} is not a key of this version's manifest (known: {known}); "
                "the bundle comes from a newer version, or the key is misspelt"
            )
        else:
            told.append(f"{key}: {finding['msg']}")
    return "; ".join(told)
