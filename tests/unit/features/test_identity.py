"""Hashes of event ids and texts: SipHash-2-4 by columns, and what a key is for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.compute.enrich import enrich
from features.history.namespace import Namespace
from features.store.memory import MemoryStore
from features.values.hash64 import KEY_BYTES, PROCESS_KEY, fingerprint, hash_ids
from schemas.batch import Kind
from tests.oracles.siphash import siphash
from tests.support import making

PUBLISHED = bytes(range(KEY_BYTES))
VECTORS = {
    0: "310e0edd47db6f72",
    1: "fd67dc93c539f874",
    2: "5a4fa9d909806c0d",
    3: "2d7efbd796666785",
    4: "b7877127e09427cf",
    5: "8da699cd64557618",
    6: "cee3fe586e46c9cb",
    7: "37d1018bf50002ab",
    8: "6224939a79f5f593",
    15: "e545be4961ca29a1",
}
"""Of the reference implementation: the hash of the bytes 0, 1, 2, … by their number."""
LONGEST = 128
MURMUR_TWINS = ("payment-00000001", "ooregaikmpuvI/HT")
"""Two ids of one MurmurHash64A, found in a second."""


def hashed(values: Sequence[str], key: bytes = PUBLISHED) -> list[int]:
    found: list[int] = hash_ids(pa.array(values, pa.string()), key).tolist()
    return found


@pytest.mark.parametrize(("size", "expected"), VECTORS.items())
def test_published_vectors(size: int, expected: str) -> None:
    text = bytes(range(size))
    wanted = int.from_bytes(bytes.fromhex(expected), "little")
    assert siphash(PUBLISHED, text) == wanted
    assert hashed([text.decode()]) == [wanted]


TEXTS = st.text(max_size=LONGEST // 4) | st.text("ab0-", max_size=LONGEST)


@given(st.lists(TEXTS, max_size=40), st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES))
def test_columns_have_the_hashes_of_each_string_alone(values: list[str], key: bytes) -> None:
    assert hashed(values, key) == [siphash(key, value.encode()) for value in values]


def test_long_strings_among_short_ones_and_slices_of_columns() -> None:
    values = ["", "x" * LONGEST, "x" * (LONGEST + 1), "é" * LONGEST, "short", "y" * 100_000]

    def expected(value: str) -> int:
        text = value.encode()
        if len(text) <= LONGEST:
            return siphash(PUBLISHED, text)
        digest = hashlib.blake2b(text, digest_size=8, key=PUBLISHED).digest()
        return int.from_bytes(digest, "little")

    wanted = [expected(value) for value in values]
    assert hashed(values) == wanted
    column = pa.array(["before", *values, "behind"])
    assert hash_ids(column.slice(1, len(values)), PUBLISHED).tolist() == wanted
    assert hashed([]) == []
    assert hashed(["", ""]) == [siphash(PUBLISHED, b"")] * 2


def test_long_columns_have_the_hashes_of_their_parts() -> None:
    values = [f"e{number}" * (number % 5) for number in range(20_000)]
    parts = [hashed(values[first : first + 999]) for first in range(0, len(values), 999)]
    assert hashed(values) == [value for part in parts for value in part]


def test_a_key_is_told_by_its_fingerprint_which_does_not_give_it_away() -> None:
    assert fingerprint(PUBLISHED) != fingerprint(PROCESS_KEY)
    assert fingerprint(PUBLISHED) == fingerprint(bytes(range(KEY_BYTES)))
    assert PUBLISHED.hex()[:8] not in fingerprint(PUBLISHED)


FEATURES = f"""{making.EVENTS}entities: {{card: card}}
features:
  - {{name: N, window: count, by: card, over: 1h, across: best_effort}}
  - {{name: CODES, window: distinct, of: channel, by: card, over: 1h, across: best_effort}}
"""


def test_forged_ids_and_texts_are_no_twins(tmp_path: Path) -> None:
    made = making.feature_set(tmp_path, FEATURES)
    batch = making.events(
        made,
        2,
        id=making.strings(list(MURMUR_TWINS)),
        at=making.longs([making.T0, making.T0 + 1], Kind.TIME),
        card=making.strings(["c", "c"]),
        channel=making.strings(list(MURMUR_TWINS)),
    )
    enriched = enrich(made, batch, MemoryStore())
    assert not made.flags.carries("duplicate", enriched.flags).any()
    assert enriched.matrix[1].tolist() == [2.0, 2.0]


def test_histories_keep_ids_and_texts_hashed_with_the_key_of_the_state(
    tmp_path: Path,
) -> None:
    made = making.feature_set(tmp_path, FEATURES)
    batch = making.events(
        made,
        1,
        id=making.strings(["e"]),
        at=making.longs([making.T0], Kind.TIME),
        channel=making.strings(["pos"]),
    )
    members = []
    for key in (PUBLISHED, PROCESS_KEY):
        namespace = Namespace("test", "state", "topic", 1, key)
        enriched = enrich(made, batch, MemoryStore(), namespace=namespace)
        ((_, member),) = enriched.writes.appends
        assert siphash(key, b"e").to_bytes(8, "little") in member
        assert siphash(key, b"pos").to_bytes(8, "little") in member
        members.append(member)
    assert members[0] != members[1]
