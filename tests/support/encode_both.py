"""The compiled loop that writes records, compared with the same loop as Python."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from schemas.avro.encode import record_program
from schemas.avro.encode.kernel import instructions
from schemas.avro.encode.kernel.instructions import DONE, Bytes, Ints, WriteInputs, WriteProgram
from tests.support.interpreted import interpreted

GUARD = 16


@pytest.fixture(scope="module", autouse=True)
def both_loops() -> Iterator[None]:
    """Compares each call; neither loop writes behind the end of its buffer."""
    plain = interpreted(instructions)

    def encode(program: WriteProgram, inputs: WriteInputs, out: Bytes, ends: Ints) -> int:
        guarded = [np.full(len(out) + GUARD, 0xA5, np.uint8) for _ in range(2)]
        own = np.zeros_like(ends)
        result = instructions.encode(program, inputs, guarded[0][:-GUARD], ends)
        with np.errstate(over="ignore"):
            assert plain.encode(program, inputs, guarded[1][:-GUARD], own) == result
        for buffer in guarded:
            assert (buffer[-GUARD:] == 0xA5).all()
        if result == DONE:
            assert own.tolist() == ends.tolist()
            assert guarded[0].tobytes() == guarded[1].tobytes()
        out[:] = guarded[0][:-GUARD]
        return int(result)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_program, "encode", encode)
        yield
