"""Vectors that Feast keeps.

The messages named `FEAST_…` were written by Feast's own protobuf classes
(``feast.protos.feast.types.Value_pb2`` of feast 0.67.0 on protobuf 7.36.2, ``SerializeToString``).
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from features.compute.enrich import enrich
from features.definition import FeatureSet
from features.store.feast import lists
from features.store.memory import MemoryStore
from schemas.batch import Kind
from tests.support.making import EVENTS, T0, events, feature_set, longs, strings
from tests.unit.features.test_feast import varint

NAN = math.nan
FEAST_FLOATS = bytes.fromhex("8201120a100000c03f000000c0cdcccc3dc2160100")
FEAST_DOUBLES = bytes.fromhex(
    "7a220a20000000000000f83f00000000000000c09a9999999999b93f000000000000f87f"
)
FEAST_LARGE = bytes.fromhex(
    "7a220a20000000000000f83f00000000000000c09a9999999999b93f9c7500883ce4377e"
)
FEAST_INFINITE = bytes.fromhex("8201120a100000c07f0000807f0000000000000080")
FEAST_EMPTY = bytes.fromhex("820100")
FEAST_NULL = bytes.fromhex("980100")
FEAST_INT64S = bytes.fromhex("72060a0401020304")
FEAST_INT32S = bytes.fromhex("6a060a0401020304")
FEAST_FORTY = bytes.fromhex(
    "8201a3010aa001000000000000003e0000803e0000c03e0000003f0000203f0000403f0000603f0000803f0000903f"
    "0000a03f0000b03f0000c03f0000d03f0000e03f0000f03f0000004000000840000010400000184000002040000028"
    "400000304000003840000040400000484000005040000058400000604000006840000070400000784000008040"
    "000084400000884000008c4000009040000094400000984000009c40"
)


def f32(values: Any) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32)


def packed(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def sized(tag: bytes, content: bytes) -> bytes:
    return tag + bytes([len(content)]) + content


FLOATS, ELEMENTS = b"\x82\x01", b"\x0a"


@pytest.mark.parametrize(
    ("message", "values"),
    [
        pytest.param(FEAST_FLOATS, [1.5, -2, 0.1, 1e-40], id="floats"),
        pytest.param(FEAST_DOUBLES, [1.5, -2, 0.1, NAN], id="doubles"),
        pytest.param(FEAST_NULL, [NAN] * 4, id="null"),
        pytest.param(b"", [NAN] * 4, id="nothing set"),
        pytest.param(
            sized(FLOATS, b"".join(b"\x0d" + packed(x) for x in (1, 2, 3, 4))),
            [1, 2, 3, 4],
            id="elements one by one",
        ),
        pytest.param(
            sized(
                FLOATS,
                sized(ELEMENTS, packed(1, 2)) + b"\x0d" + packed(3) + sized(ELEMENTS, packed(4)),
            ),
            [1, 2, 3, 4],
            id="in parts",
        ),
        pytest.param(
            sized(FLOATS, sized(ELEMENTS, packed(1, 2)))
            + sized(FLOATS, sized(ELEMENTS, packed(3, 4))),
            [1, 2, 3, 4],
            id="messages are merged",
        ),
        pytest.param(FEAST_DOUBLES + FEAST_FLOATS, [1.5, -2, 0.1, 1e-40], id="the last field"),
        pytest.param(FEAST_FLOATS + FEAST_NULL, [NAN] * 4, id="a null at last"),
        pytest.param(
            FLOATS + b"\x92\x00\x0a\x10" + packed(1, 2, 3, 4), [1, 2, 3, 4], id="long size"
        ),
    ],
)
def test_a_list_is_read_as_protobuf_reads_it(message: bytes, values: list[float]) -> None:
    alone, together = lists([message], 4), lists([FEAST_FLOATS, message, FEAST_DOUBLES, None], 4)
    for read, row in ((alone, 0), (together, 1)):
        assert not read.invalid[row]
        assert not read.absent[row]
        np.testing.assert_array_equal(read.values[row], f32(values))
    assert together.absent.tolist() == [False, False, False, True]
    assert together.invalid.tolist() == [False] * 4
    np.testing.assert_array_equal(together.values[2], f32([1.5, -2, 0.1, NAN]))


def test_a_list_of_forty_floats() -> None:
    read = lists([FEAST_FORTY], 40)
    assert not read.invalid[0]
    np.testing.assert_array_equal(read.values[0], np.arange(40) / 8)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(FEAST_EMPTY, id="empty"),
        pytest.param(FEAST_FORTY, id="too long"),
        pytest.param(sized(FLOATS, sized(ELEMENTS, packed(1, 2, 3))), id="too short"),
        pytest.param(FEAST_LARGE, id="beyond a float32"),
        pytest.param(FEAST_INFINITE, id="infinite"),
        pytest.param(FEAST_INT64S, id="whole numbers"),
        pytest.param(FEAST_INT32S, id="whole numbers of 32 bits"),
        pytest.param(b"\x29" + struct.pack("<d", 1), id="a number"),
        pytest.param(FEAST_FLOATS[:-1], id="cut off"),
        pytest.param(FLOATS + b"\x12\x0a\x0f" + packed(1, 2, 3, 4)[1:] + b"\0", id="odd bytes"),
        pytest.param(sized(FLOATS, sized(b"\x12", packed(1, 2, 3, 4))), id="another field"),
        pytest.param(sized(b"\x7a", b"\x0d" + packed(1)), id="float in doubles"),
        pytest.param(b"\xff", id="no field"),
        pytest.param(FLOATS + b"\xff" * 10 + b"\x01", id="endless size"),
    ],
)
def test_what_is_no_vector_of_this_width_is_invalid(message: bytes) -> None:
    read = lists([message, FEAST_FLOATS], 4)
    assert read.invalid.tolist() == [True, False]
    np.testing.assert_array_equal(read.values[0], [NAN] * 4)
    np.testing.assert_array_equal(read.values[1], f32([1.5, -2, 0.1, 1e-40]))


TEXT = f"""{EVENTS}entities: {{card: card}}
lookups:
  profile:
    by: card
    max_age: 1d
    feast: {{project: fraud, feature_view: card_profile, join_key: card_id}}
    values: {{emb: {{vector: 4, default: 9}}, count: {{default: 7}}}}
features:
  - {{name: emb, lookup: profile.emb}}
  - {{name: COUNT, lookup: profile.count}}
"""


@pytest.fixture
def made(tmp_path: Path) -> FeatureSet:
    return feature_set(tmp_path, TEXT)


def test_lookups_read_vectors_that_feast_wrote(made: FeatureSet) -> None:
    """A wrong length, or a missing vector, leaves the number beside it as it is."""
    view = made.lookups["profile"].feast
    assert view is not None
    cards = ["floats", "doubles", "short", "none", "null", "text", "old", "gone"]
    messages = [FEAST_FLOATS, FEAST_DOUBLES, FEAST_EMPTY, None, FEAST_NULL, b"\x12\x01a"]
    count, emb, time = view.fields(("count", "emb"))
    store = MemoryStore()
    now, past = (b"\x08" + varint(at // 1_000_000) for at in (T0, T0 - 90_000_000_000))
    for card, message in zip(cards, [*messages, FEAST_FLOATS], strict=False):
        (key,) = view.keys([card.encode()])
        row = {count: b"\x20\x05", time: past if card == "old" else now, emb: message}
        store.write_hash(key or b"", {k: v for k, v in row.items() if v is not None})
    batch = events(made, 8, card=strings(cards), at=longs([T0] * 8, Kind.TIME))
    found = enrich(made, batch, store)
    assert made.names == ("emb_0", "emb_1", "emb_2", "emb_3", "COUNT")
    nine = [9.0] * 4
    np.testing.assert_array_equal(
        found.matrix,
        f32(
            [
                [1.5, -2, 0.1, 1e-40, 5],
                [1.5, -2, 0.1, NAN, 5],
                [*nine, 5],
                [*nine, 5],
                [*[NAN] * 4, 5],
                [*nine, 5],
                [*nine, 7],
                [*nine, 7],
            ]
        ),
    )
    flags = [made.flags.decode(bits) for bits in found.flags.tolist()]
    invalid, missing, stale = (f"lookup_{s}:profile" for s in ("invalid", "missing", "stale"))
    assert flags == [[], [], [invalid], [missing], [], [invalid], [stale], [missing]]


def test_feast_has_the_type_of_its_own(tmp_path: Path) -> None:
    text = TEXT.replace("{vector: 4,", "{vector: 4, dtype: float16,")
    with pytest.raises(Exception, match="emb has a dtype, and Feast stores its own types: remove"):
        feature_set(tmp_path, text)
