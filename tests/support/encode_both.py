"""The compiled loop that writes records, compared with the same loop as Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from base.arrays import Bytes, Longs
from schemas.avro.encode.kernel import instructions
from schemas.avro.encode.kernel.instructions import DONE
from tests.support.interpreted import interpreted

GUARD = 16


@pytest.fixture(scope="module", autouse=True)
def both_loops() -> Iterator[None]:
    """Compares each call; neither loop writes behind the end of its buffer."""
    compiled = instructions.encode
    python = interpreted("schemas.avro.encode")["instructions"].encode

    def encode(*inputs: Any) -> int:
        *columns, out, bounds = inputs
        results = [_run(loop, columns, out, bounds) for loop in (compiled, python)]
        assert results[0] == results[1]
        out[:] = np.frombuffer(results[0][1], np.uint8) if results[0][1] else 0
        bounds[:] = results[0][2]
        return int(results[0][0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instructions, "encode", encode)
        yield


def _run(loop: Any, columns: list[Any], out: Bytes, bounds: Longs) -> tuple[int, bytes, list[int]]:
    """Result, bytes and bounds of a run."""
    guarded, own = np.full(len(out) + GUARD, 0xA5, np.uint8), bounds.copy()
    result = int(loop(*columns, guarded[:-GUARD], own))
    assert (guarded[-GUARD:] == 0xA5).all()
    return result, guarded[:-GUARD].tobytes() if result == DONE else b"", own.tolist()
