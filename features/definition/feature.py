"""A compiled feature, and fingerprints: equal definitions have equal fingerprints."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from features.definition.spec import CategorySpec, FeatureSpec
from features.expression.expression_program import ExpressionProgram, Node
from features.expression.functions import Term
from features.windows.window import Window

CODE_VERSION = 1
"""Raised by every change of code that changes what an unchanged definition computes."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the matrix.

    Attributes:
        spec: Entry of features.yaml that defines it.
        element: Index in the vector of the entry, whose elements are columns; None for a number.
        fingerprint: Fingerprint of its definition.
        node: Its computation.
        term: Term of the feature in later expressions.
        paths: Fields that it reads, directly or through other features.
        of_event: True if it reads the event alone, without lookups and windows.
        irreproducible: True if it needs a lookup or a best-effort window, whose values cannot be
            computed again from the log alone.
        lookups: Lookups whose values it needs, directly or through other features.
        window: Window whose value it is, None for other kinds of features.
    """

    spec: FeatureSpec
    element: int | None
    fingerprint: str
    node: Node
    term: Term
    paths: frozenset[str]
    of_event: bool
    irreproducible: bool
    lookups: frozenset[str]
    window: Window | None

    @property
    def name(self) -> str:
        return column_name(self.spec.name, self.element)

    @property
    def categories(self) -> CategorySpec | None:
        """Values whose places are the codes of a `category` feature; None for other kinds."""
        return self.spec.category


def column_name(entry: str, element: int | None) -> str:
    """Name of the column of an entry, or of an element of its vector."""
    return entry if element is None else element_name(entry, element)


def element_name(vector: str, element: int) -> str:
    """Name of the column of an element, such as ``emb_3``."""
    return f"{vector}_{element}"


def programs(features: Iterable[Feature]) -> tuple[ExpressionProgram, ...]:
    """Programs that compute features, in order, from a frame.

    A program reads its inputs first. So a python feature, whose arguments may be features before
    it, begins a new one.
    """
    parts: list[dict[str, Node]] = [{}]
    for feature in features:
        if feature.spec.python is not None:
            parts.append({})
        parts[-1][feature.name] = feature.node
    return tuple(ExpressionProgram(part) for part in parts if part)


def fingerprint(definition: Any) -> str:
    """SHA-256, in hex, of the canonical JSON of ``definition`` and of the code's version."""
    return _digest({"code": CODE_VERSION, "definition": definition})


def set_fingerprint(features: Iterable[Feature]) -> str:
    """Fingerprint of a feature set: of its features' names and fingerprints, in order."""
    return _digest({"features": [[feature.name, feature.fingerprint] for feature in features]})


def canonical_number(value: float) -> float | str:
    """``value`` for canonical JSON, which has no NaN."""
    return "nan" if math.isnan(value) else float(value)


def _digest(value: Any) -> str:
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return hashlib.sha256(text.encode("ascii")).hexdigest()
