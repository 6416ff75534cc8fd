"""Fingerprints: equal definitions have equal fingerprints, however they are written."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from typing import Any

CODE_VERSION = 1
"""Raised by every change of code that changes what an unchanged definition computes."""


def fingerprint(definition: Any) -> str:
    """SHA-256, in hex, of the canonical JSON of ``definition`` and of the code's version."""
    return _digest({"code": CODE_VERSION, "definition": definition})


def set_fingerprint(features: Iterable[tuple[str, str]]) -> str:
    """The fingerprint of a feature set: of its features' names and fingerprints, in order."""
    return _digest({"features": [[name, digest] for name, digest in features]})


def canonical_number(value: float) -> float | str:
    """``value`` for canonical JSON, which has no NaN."""
    return "nan" if math.isnan(value) else float(value)


def _digest(value: Any) -> str:
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return hashlib.sha256(text.encode("ascii")).hexdigest()
