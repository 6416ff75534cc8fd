"""The compiled decoder and the same code as Python runs it, on fixed inputs."""

from __future__ import annotations

from typing import Any

import numba
import pytest

from base.errors import ConfigurationError
from schemas.avro import golden_bodies as golden
from schemas.avro import program
from schemas.avro.decoder import Decoder
from schemas.avro.kernel.decode import decode
from schemas.avro.kernel.frames import read_ids
from schemas.avro.types import parse_record_schema
from schemas.files.container_rows import BlockReader
from schemas.registry.source import FixedSchemaSource
from tests.support.interpreted import interpreted

KERNELS = interpreted("schemas.avro")


@pytest.fixture
def python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the kernels as Python."""
    monkeypatch.setattr(program, "decode", KERNELS["decode"].decode)
    monkeypatch.setattr(golden, "read_ids", KERNELS["frames"].read_ids)


@pytest.mark.usefixtures("python")
def test_the_golden_results_are_the_same_without_compilation() -> None:
    golden.prove_decoder()


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        ("values", "_NOT_ASCII", 0),
        ("values", "load32", lambda data, at: 0),
        ("codes", "TOO_DEEP", 1),
        ("codes", "UNBOUNDED", 3),
    ],
)
def test_another_result_than_the_golden_one_refuses_the_start(
    module: str, name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KERNELS[module], name, value)
    with pytest.raises(ConfigurationError, match="the compiled kernel decoder computes wrong"):
        golden.prove_decoder()


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
@pytest.mark.parametrize("framed", [True, False])
def test_the_proof_compiles_all_that_is_used(framed: bool) -> None:
    golden.prove_decoder()
    fields = [{"name": "a", "type": "string"}, {"name": "b", "type": "double"}]
    schema = {"type": "record", "name": "Top", "fields": fields}
    for paths in (["a"], ["b"], []):
        decoder = Decoder(
            FixedSchemaSource(parse_record_schema(schema), framed=framed), schema, paths, 100, 1
        )
        for values in ([], [None], [b""], [b"\2x" + bytes(8)] * 3):
            decoder.decode(values)
    list(BlockReader(parse_record_schema(schema), ["a"]).read(b"\2x" + bytes(8), 1))
    kernels: list[Any] = [decode, read_ids]
    assert [len(kernel.signatures) for kernel in kernels] == [1, 1]
