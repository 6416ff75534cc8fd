"""Framing against the byte facts of other clients' public tests."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from base.errors import RecordError
from schemas.registry.framing import VALUE_SCHEMA_HEADER, RecordFrame, unframe

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("FRAUD_WORKER_DATA", ROOT.parent / "shared" / "data"))
FILE = DATA / "conformance" / "kafka_wire" / "confluent_wire_vectors.json"

pytestmark = pytest.mark.skipif(not FILE.exists(), reason=f"{FILE.name} is not in the data folder")


def vectors() -> Any:
    return json.loads(FILE.read_text())


def test_accepted_frames() -> None:
    frames = vectors()["avro_frames"]
    assert frames
    for vector in frames:
        value = bytes.fromhex(vector["hex"])
        frame = unframe(value, None, framed=True, max_bytes=100)
        assert isinstance(frame, RecordFrame), vector
        wanted = vector["schema_id"] if vector["magic"] == 0 else UUID(vector["schema_guid"])
        assert frame.schema_id == wanted
        assert value[frame.start :].hex() == vector["payload_hex"]


def test_rejected_frames() -> None:
    rejected = vectors()["must_reject"]
    assert rejected
    for vector in rejected:
        value = bytes.fromhex(vector["hex"])
        found = unframe(value, None, framed=True, max_bytes=100)
        assert isinstance(found, RecordError), vector


def test_the_header_form() -> None:
    header = vectors()["headers"]
    assert header["value_schema_guid_header"] == VALUE_SCHEMA_HEADER
    guid = UUID("89791762-2336-4186-9674-299b90a802e2")
    headers = [(VALUE_SCHEMA_HEADER, b"\x01" + guid.bytes)]
    assert unframe(b"\x02", headers, framed=True, max_bytes=100) == RecordFrame(guid, 0)
