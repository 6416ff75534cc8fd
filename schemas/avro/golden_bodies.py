"""Fixed inputs of the compiled decoder, with known results."""

from __future__ import annotations

import numpy as np

from base.compiled import prove
from schemas.avro.kernel import codes
from schemas.avro.kernel.frames import OTHER, read_ids
from schemas.avro.kernel.structs import Bodies
from schemas.avro.program import DecoderProgram
from schemas.avro.steps import (
    INT_MAX,
    INT_MIN,
    LONG_MAX,
    LONG_MIN,
    Branch,
    Keep,
    ReadEnum,
    SkipCollection,
    SkipRecursive,
    Step,
    Value,
)

_EXPECTED = "ebf108549cea4eb8632070588624997f4ed5a3a814f2ea3246cd14041d1702cb"
_LONG = Value("long", codes.SKIP_LONG)
_BYTES = Value("bytes", codes.SKIP_BYTES)
_NODE: dict[str, tuple[Step, ...]] = {}
_NODE["Node"] = (_LONG, Branch("Node.next", ((), (SkipRecursive("Node.next", "Node", _NODE),))))
# Each step, with bytes that it accepts.
_STEPS: tuple[tuple[Step, bytes], ...] = (
    (Value("fixed", codes.SKIP_FIXED, 0, (3,)), b"\xff\0\xff"),
    (_LONG, b"\x81\x82\x03"),
    (_BYTES, b"\4\xff\xff"),
    (Value("boolean", codes.READ_BOOLEAN, 0), b"\1"),
    (Value("int", codes.READ_LONG, 1, (INT_MIN, INT_MAX, 1, 1)), b"\xff\xff\xff\xff\x0f"),
    (Value("time", codes.READ_LONG, 2, (LONG_MIN, LONG_MAX, 1, 1_000)), b"\xff" * 9 + b"\1"),
    (Value("promoted", codes.READ_LONG_AS_DOUBLE, 3, (LONG_MIN, LONG_MAX)), b"\xfe" * 8 + b"\3"),
    (Value("float", codes.READ_FLOAT, 4), b"\xcd\xcc\xcc\x3d"),
    (Value("double", codes.READ_DOUBLE, 5), b"\x9a\x99\x99\x99\x99\x99\xb9\x3f"),
    (ReadEnum("enum", 7, ("one", None, "two")), b"\4"),
    (Value("decimal", codes.READ_DECIMAL, 8, (codes.PREFIXED,)), b"\x14\xff\xff\x80" + b"\5" * 7),
    (Value("fixed decimal", codes.READ_DECIMAL, 9, (2,)), b"\x85\xff"),
    (Value("filled", codes.FILL, 10, ("default",)), b""),
    (Value("number", codes.FILL, 11, (0.1,)), b""),
    (Keep("kept", 12, (_BYTES, _LONG)), b"\2k\x10"),
    (Branch("union", ((), (Value("no", codes.REJECT),), (_LONG,))), b"\4\2"),
    (SkipCollection("map", (_BYTES, _LONG)), b"\3\x08\2k\2\2k\4\2\2k\6\0"),
    (SkipCollection("fixed", (Value("item", codes.SKIP_FIXED, 0, (2,)),)), b"\4abcd\0"),
    (SkipCollection("nothing", ()), b"\4\2\0"),
    (SkipRecursive("node", "Node", _NODE), b"\2\2\2\2\2\0"),
    # The last one: its bytes are copied one by one where the data end.
    (Value("text", codes.READ_TEXT, 6), b"\x2a" + "letters ä, €, 𝄞".encode()),
)
_SLOTS, _TEXT_SLOTS, _MAX_ITEMS, _MAX_NESTED, _MAX_BYTES = 13, (6, 7, 10), 3, 3, 250


def prove_decoder() -> None:
    """Compare the results of the compiled decoder with known ones.

    Raises:
        ConfigurationError: They differ.
    """
    prove("decoder", golden_results(), _EXPECTED)


def golden_results() -> bytes:
    """Results for framed values: whole, cut off at each byte, and with each byte changed."""
    program = DecoderProgram(_SLOTS, _TEXT_SLOTS)
    entry = program.add([step for step, _ in _STEPS])
    good = b"\0\0\0\0\1" + b"".join(body for _, body in _STEPS)
    values = [good, *(good[:end] for end in range(len(good))), good + b"\0", good + bytes(200)]
    for change in (0x01, 0x02, 0x80, 0xFF):
        values += [
            good[:at] + bytes([byte ^ change]) + good[at + 1 :] for at, byte in enumerate(good)
        ]
    values.append(good)
    data = np.frombuffer(b"".join(values), np.uint8)
    starts, ends, ids = np.empty((3, len(values)), np.int64)
    lengths = np.array([len(value) for value in values])
    alike = read_ids(data, lengths, 5, _MAX_BYTES, starts, ends, ids)
    entries = np.where(ids == OTHER, codes.NOT_DECODED, entry)
    bodies = Bodies(data, starts, ends, entries)
    decoded, texts, failed = program.run(bodies, _MAX_ITEMS, _MAX_NESTED)
    counts = np.array([alike, failed])
    used = texts[: decoded.offsets[-1, -1]]
    return b"".join(array.tobytes() for array in (starts, ends, ids, *decoded, used, counts))
