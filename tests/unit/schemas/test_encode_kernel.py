"""The compiled encoder and the same code as Python runs it."""

from __future__ import annotations

import pytest

from base.errors import ConfigurationError
from schemas.avro.encode import golden_records
from schemas.avro.encode.kernel import instructions
from tests.support.interpreted import interpreted


def test_the_golden_records_are_the_same_without_compilation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled = golden_records.golden_records()
    kernel = interpreted("schemas.avro.encode")["instructions"]
    monkeypatch.setattr(instructions, "encode", kernel.encode)
    assert golden_records.golden_records() == compiled


def test_other_records_than_the_golden_ones_refuse_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    golden_records.prove_encoder()
    kernel = interpreted("schemas.avro.encode")["instructions"]
    monkeypatch.setattr(kernel, "store32", lambda out, at, value: out.__setitem__(at, value & 0x7F))
    monkeypatch.setattr(instructions, "encode", kernel.encode)
    with pytest.raises(ConfigurationError, match="the compiled kernel encode computes wrong"):
        golden_records.prove_encoder()
