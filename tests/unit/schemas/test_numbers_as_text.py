"""Whole numbers that a file stores as floats or decimals: their digits, or an error of their row."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.batch import Decoded, Kind
from schemas.files.read import decode_rows, read_events

CARD = 4_275_982_953_449_306
END = 2**53


def read(path: Path, kind: Kind) -> Decoded:
    (decoded,) = read_events(path, {"v": (kind, 0, True)}, {})
    return decoded


def texts(decoded: Decoded) -> list[str]:
    """The values of the one column, "" where there is none."""
    found: list[str] = pa.array(decoded.columns["v"].values, pa.string()).to_pylist()
    return found


def parquet(folder: Path, values: Any, kind: pa.DataType) -> Path:
    path = folder / "values.parquet"
    pq.write_table(pa.table({"v": pa.array(values, kind)}), path)
    return path


def jsonl(folder: Path, values: list[Any]) -> Path:
    path = folder / "values.jsonl"
    path.write_text("".join(json.dumps({"v": value}) + "\n" for value in values))
    return path


def avro(folder: Path, values: list[Any]) -> Path:
    path = folder / "values.avro"
    field = {"name": "v", "type": ["null", "double"]}
    schema = fastavro.parse_schema({"type": "record", "name": "E", "fields": [field]})
    with path.open("wb") as file:
        fastavro.writer(file, schema, [{"v": value} for value in values])
    return path


WHOLE = [float(CARD), None, 5411.0, -0.0, float(-END), 1e15]
DIGITS = [str(CARD), None, "5411", "0", str(-END), str(10**15)]
NONE = [0.5, 1e16, 1e300, float("inf"), float("-inf")]

WRITERS: dict[str, Callable[[Path, list[Any]], Path]] = {
    "parquet": lambda folder, values: parquet(folder, values, pa.float64()),
    "dictionary": lambda folder, values: parquet(
        folder, pa.array(values, pa.float64()).dictionary_encode(), None
    ),
    "avro": avro,
    "jsonl": jsonl,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_whole_floats_are_their_digits(writer: str, tmp_path: Path) -> None:
    path = WRITERS[writer](tmp_path, WHOLE)
    text = read(path, Kind.STRING)
    assert not text.errors
    assert texts(text) == [digits or "" for digits in DIGITS]
    assert text.columns["v"].valid.tolist() == [digits is not None for digits in DIGITS]
    number = read(path, Kind.LONG)
    assert not number.errors
    assert number.columns["v"].values.tolist() == [int(digits or 0) for digits in DIGITS]


@pytest.mark.parametrize("kind", [Kind.STRING, Kind.LONG])
@pytest.mark.parametrize("writer", WRITERS)
def test_other_floats_are_errors_of_their_rows(writer: str, kind: Kind, tmp_path: Path) -> None:
    """Beyond 2**53 a float may stand for several numbers: another card's history, with no word."""
    decoded = read(WRITERS[writer](tmp_path, [float(CARD), *NONE]), kind)
    assert list(decoded.errors) == list(range(1, len(NONE) + 1))
    assert "only whole numbers up to 2**53 have digits" in decoded.errors[1].message
    assert not decoded.columns["v"].valid[1:].any()
    assert str(decoded.columns["v"].values[0]) == str(CARD)


@pytest.mark.parametrize("kind", [Kind.STRING, Kind.LONG])
@pytest.mark.parametrize(("width", "end"), [(pa.float32(), 2**24), (pa.float16(), 2**11)])
def test_narrow_floats_have_a_nearer_end(
    width: pa.DataType, end: int, kind: Kind, tmp_path: Path
) -> None:
    values = np.array([end, 2 * end, -end], np.float32).astype(width.to_pandas_dtype())
    decoded = read(parquet(tmp_path, values, width), kind)
    assert list(decoded.errors) == [1]
    assert [str(value) for value in decoded.columns["v"].values] == [
        str(end),
        "" if kind is Kind.STRING else "0",
        str(-end),
    ]


@pytest.mark.parametrize("scale", [0, 2, 18])
def test_whole_decimals_are_their_digits_however_long(scale: int, tmp_path: Path) -> None:
    values = [Decimal(CARD), None, Decimal(10**19 + 1), Decimal(-7)]
    text = read(parquet(tmp_path, values, pa.decimal128(38, scale)), Kind.STRING)
    assert not text.errors
    assert texts(text) == [str(CARD), "", str(10**19 + 1), "-7"]


def test_other_decimals_are_errors_of_their_rows(tmp_path: Path) -> None:
    values = [Decimal("4.50"), Decimal("4.00"), None]
    text = read(parquet(tmp_path, values, pa.decimal128(10, 2)), Kind.STRING)
    assert list(text.errors) == [0]
    assert texts(text) == ["", "4", ""]


def test_a_float_among_texts_reads_as_it_does_among_floats(tmp_path: Path) -> None:
    """JSON lines hold both in one column; which stand together is a matter of the chunk."""
    values = ["a", float(CARD), 0.5, 1e16, 7, "1e16", None]
    text = read(jsonl(tmp_path, values), Kind.STRING)
    assert list(text.errors) == [2, 3]
    assert texts(text) == ["a", str(CARD), "", "", "7", "1e16", ""]
    number = read(jsonl(tmp_path, ["3", float(CARD), 1e16, 0.5]), Kind.LONG)
    assert list(number.errors) == [2, 3]
    assert number.columns["v"].values.tolist() == [3, CARD, 0, 0]
    double = read(jsonl(tmp_path, ["3", float(CARD), 1e16, 0.5]), Kind.DOUBLE)
    assert not double.errors
    assert double.columns["v"].values.tolist() == [3.0, float(CARD), 1e16, 0.5]


def test_values_at_hand_are_read_alike() -> None:
    """Those of the labels topic, say."""
    found = decode_rows([{"v": float(CARD)}, {"v": 1e16}], {"v": (Kind.STRING, 0, True)}, {}, "x")
    assert texts(found) == [str(CARD), ""]
    assert list(found.errors) == [1]
