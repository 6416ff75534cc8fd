"""Values and faults of single steps, on bodies written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from base.errors import ErrorCode
from schemas.avro import steps as plan
from schemas.avro.body_reader import BodyReader
from schemas.avro.kernel import codes
from schemas.avro.kernel.structs import Bodies
from schemas.avro.paths import PathType, Target
from schemas.avro.steps import Fault, Step
from schemas.avro.types import Type
from schemas.batch import Decoded, Kind
from tests.unit.schemas import avro_cases as avro


def read(steps: list[Step], body: bytes, *kinds: Kind) -> tuple[Fault | None, list[Any]]:
    """Fault of a body, and the value of each slot, by its kind."""
    targets = [
        Target(slot, str(slot), PathType(kind, 0, nullable=True), Type("null"))
        for slot, kind in enumerate(kinds)
    ]
    reader = BodyReader(targets, 10)
    # The body lies amid other bytes, which count for nothing.
    data = np.frombuffer(b"\xff" * 3 + body + b"\2" * 20, np.uint8)
    start, end, entry = np.array([[3], [3 + len(body)], [reader.add(steps)]])
    columns, faults = reader.read(Bodies(data, start, end, entry))
    return faults.get(0), list(avro.row(Decoded(columns, {}), 0).values())


KINDS = {bool: Kind.BOOL, int: Kind.LONG, float: Kind.DOUBLE}
ANY = (plan.LONG_MIN, plan.LONG_MAX)
LONG = plan.Value("f", codes.READ_LONG, 0, (*ANY, 1, 1))
LONG_SKIPPED = plan.Value("l", codes.SKIP_LONG)
TEXT = plan.Value("f", codes.READ_TEXT)


@pytest.mark.parametrize(
    ("step", "body", "value"),
    [
        # Integers of the Avro specification's own table of zigzag codes.
        (LONG, b"\x00", 0),
        (LONG, b"\x01", -1),
        (LONG, b"\x02", 1),
        (LONG, b"\x7f", -64),
        (LONG, b"\x80\x01", 64),
        (LONG, b"\xff" * 9 + b"\x01", plan.LONG_MIN),
        (LONG, b"\xfe" + b"\xff" * 8 + b"\x01", plan.LONG_MAX),
        (LONG, b"\x82\x80\x00", 1),
        (plan.Value("f", codes.READ_LONG, 0, (*ANY, 1_000, 1)), b"\x01", -1_000),
        (plan.Value("f", codes.READ_LONG, 0, (*ANY, 1, 1_000)), b"\x01", -1),
        (plan.Value("f", codes.READ_LONG_AS_DOUBLE, 0, ANY), b"\x02", 1.0),
        (plan.Value("f", codes.READ_BOOLEAN), b"\x01", True),
        (plan.Value("f", codes.READ_BOOLEAN), b"\x00", False),
        (TEXT, b"\x06foo", "foo"),
        (plan.Value("f", codes.READ_DOUBLE), b"\0\0\0\0\0\0\xf8\x3f", 1.5),
        (plan.Value("f", codes.READ_FLOAT), b"\0\0\xc0\x3f", 1.5),
        (plan.ReadEnum("f", 0, ("X", "Y")), b"\x02", "Y"),
        (plan.Value("f", codes.READ_DECIMAL, 0, (codes.PREFIXED,)), b"\x04\xff\x85", -123),
        (plan.Value("f", codes.READ_DECIMAL, 0, (2,)), b"\xff\x85", -123),
        (plan.Branch("f", ((), (TEXT,))), b"\x02\x06foo", "foo"),
        (plan.Branch("f", ((), (TEXT,))), b"\x00", None),
    ],
)
def test_values_of_the_specification(step: Step, body: bytes, value: object) -> None:
    fault, out = read([step], body, KINDS.get(type(value), Kind.STRING))
    assert fault is None
    assert repr(out) == repr([value])


def test_steps_follow_each_other_to_the_last_byte() -> None:
    steps: list[Step] = [
        plan.Value("a", codes.SKIP_FIXED, 0, (2,)),
        plan.Value("b", codes.SKIP_BYTES),
        LONG_SKIPPED,
        plan.SkipCollection("d", (plan.Value("k", codes.SKIP_BYTES), LONG_SKIPPED)),
        plan.Value("e", codes.FILL, 1, ("default",)),
        TEXT,
    ]
    texts = (Kind.STRING, Kind.STRING)
    body = b"zz" + b"\x02x" + b"\x80\x01" + b"\x02\x02k\x08\x00" + b"\x02y"
    assert read(steps, body, *texts) == (None, ["y", "default"])
    for length in range(len(body)):
        fault, _ = read(steps, body[:length], *texts)
        assert fault is not None
        assert fault.code is ErrorCode.BODY_TRUNCATED
    over = Fault(ErrorCode.TRAILING_BYTES, "", len(body))
    assert read(steps, body + b"\0", *texts)[0] == over


def test_items_of_all_blocks_count_together() -> None:
    steps: list[Step] = [plan.SkipCollection("d", (LONG_SKIPPED,))]
    block = b"\x0c" + b"\0" * 6
    assert read(steps, block + b"\0")[0] is None
    fault, _ = read(steps, block + block + b"\0")
    assert fault == Fault(ErrorCode.COLLECTION_TOO_LONG, "d", len(block))
