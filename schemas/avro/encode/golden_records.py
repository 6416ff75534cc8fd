"""Fixed inputs of the compiled encoder, with known results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from base.compiled import prove
from schemas.avro.encode.encoder import RecordEncoder
from schemas.avro.encode.fields import Chosen, Field, Filled, ListOf, VectorOf
from schemas.batch import Column, Kind

_EXPECTED = "aa2bdead5615418668d30ce74db92a7368ffcea5809556d23baeec998fec1be0"
_DECIMAL = {"logicalType": "decimal", "precision": 18, "scale": 3}
_TYPES: dict[str, Any] = {
    "text": ["null", "string"],
    "flag": "boolean",
    "whole": "long",
    "nanos": {"type": "long", "logicalType": "timestamp-nanos"},
    "date": {"type": "int", "logicalType": "date"},
    "single": "float",
    "double": ["double", "null"],
    "money": {"type": "bytes", **_DECIMAL},
    "fixed": {"type": "fixed", "name": "Fixed", "size": 10, **_DECIMAL},
    "vector": {"type": "map", "values": "float"},
    "items": {"type": "array", "items": "string"},
}


def prove_encoder() -> None:
    """Compare the records of the compiled encoder with known ones.

    Raises:
        ConfigurationError: They differ.
    """
    prove("encode", golden_records(), _EXPECTED)


def golden_records() -> bytes:
    """Twelve records with the edges of each type, nulls, and lists."""
    fields = [{"name": name, "type": type_} for name, type_ in _TYPES.items()]
    encoder = RecordEncoder({"type": "record", "name": "Golden", "fields": fields}, b"\x00")
    powers = np.array([0, 1, -1, 63, -64, 64, -128, 8191, -8193, 2**31, -(2**47), 2**62])
    some = np.arange(12) % 3 > 0
    texts = pa.array(["", "é", "seven b", "eight by", "more than 16 bytes", "x" * 200] * 2)
    floats = np.array([0.0, -0.0, 1.5, -1e30, 1e-45, np.inf, -np.inf, np.nan, 3, 4, 5, 6])
    money = powers.clip(-(10**14), 10**14)
    values: dict[str, Field] = {
        "text": Column(Kind.STRING, texts, some),
        "flag": Filled(Kind.BOOL, some),
        "whole": Filled(Kind.LONG, powers),
        "nanos": Filled(Kind.TIME, powers // 1_000),
        "date": Filled(Kind.TIME, powers),
        "single": Filled(Kind.DOUBLE, floats.astype(np.float32)),
        "double": Column(Kind.DOUBLE, floats, some),
        "money": Filled(Kind.DECIMAL, money, 1),
        "fixed": Filled(Kind.DECIMAL, money, 3),
        "vector": VectorOf(("a", "longer name"), np.arange(24, dtype=np.float32).reshape(12, 2)),
        "items": ListOf(
            np.arange(12) % 4,
            {"items.*": Chosen(encoder.options("items.*", ["a", "bc"]), np.arange(18) % 2)},
        ),
    }
    return b"".join(encoder.encode(12, values))
