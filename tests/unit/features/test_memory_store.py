"""The in-memory store beside a dictionary of bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import ConfigurationError
from features.store import memory, prove_memory
from features.store.memory import MemoryStore
from features.store.protocol import Compaction
from features.store.stored_values import StoredValues
from features.store.writes import AppendColumns, Appends, CompactionColumns, Compactions
from features.values.keys import Keys
from tests.support.interpreted import interpreted

KEYS = [b"", b"a", b"ab", b"b", b"history:customer:1"]
key, value = st.sampled_from(KEYS), st.binary(max_size=40)
pairs = st.lists(st.tuples(key, value), max_size=8)
changes = st.one_of(
    st.tuples(st.just("append"), pairs),
    st.tuples(st.just("write"), pairs),
    st.tuples(st.just("compact"), st.lists(st.tuples(key, st.integers(0, 60), value), max_size=8)),
    st.tuples(st.just("stale"), st.lists(st.tuples(key, value, value), max_size=4)),
    st.tuples(st.just("replace"), st.tuples(key, st.none() | value, value)),
    st.tuples(st.just("drop"), st.lists(key, max_size=3)),
)


class Dictionary:
    """A dictionary with the writes of a store, one by one."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}

    def append(self, appends: list[tuple[bytes, bytes]], compactions: list[Compaction]) -> None:
        for name, prefix, kept in compactions:
            before = self.values.get(name, b"")
            if prefix and before.startswith(prefix):
                self.values[name] = kept + before[len(prefix) :]
                if not self.values[name]:
                    del self.values[name]
        for name, more in appends:
            self.values[name] = self.values.get(name, b"") + more

    def replace(self, name: bytes, expected: bytes | None, now: bytes) -> bool:
        same = self.values.get(name, b"") == (expected or b"")
        if same:
            self.values[name] = now
        return same


def change(store: MemoryStore, model: Dictionary, kind: str, given_: Any) -> None:
    """Make the same change to both."""
    if kind == "append":
        store.append(given_)
        model.append(given_, [])
    elif kind == "write":
        store.write(given_)
        model.values |= dict(given_)
    elif kind == "replace":
        assert store.replace(*given_) == model.replace(*given_)
    elif kind == "drop":
        store.drop(given_)
        for name in given_:
            model.values.pop(name, None)
    else:
        compactions = [
            Compaction(name, model.values.get(name, b"")[:cut] if kind == "compact" else cut, kept)
            for name, cut, kept in given_
        ]
        store.append([], compactions)
        model.append([], compactions)


def held(values: Mapping[bytes, bytes]) -> list[bytes | None]:
    return [values.get(name) for name in KEYS]


@given(steps=st.lists(changes, max_size=30), first=st.integers(1, 64))
def test_the_store_has_the_values_of_a_dictionary(steps: list[tuple[str, Any]], first: int) -> None:
    """Also where its buffer is often full; what was read before does not change."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "_BYTES", first)
        patch.setattr(memory, "_SLOTS", 2)
        store, model = MemoryStore(), Dictionary()
        reads: list[tuple[StoredValues, list[bytes | None]]] = []
        for kind, what in steps:
            change(store, model, kind, what)
            reads.append((store.read_all([Keys.of(KEYS)]).values, held(model.values)))
        for values, expected in reads:
            assert values.to_list() == expected


def test_a_dropped_key_leaves_its_place_to_another() -> None:
    store = MemoryStore()
    for number in range(5000):
        store.append([(b"%d" % number, b"x" * 100)])
        store.drop([b"%d" % number])
    assert (store._used, len(store._data) < 20_000_000) == (2, True)
    assert store.read([b"1", b"4999"]) == [None, None]


def test_python_computes_what_the_compiled_store_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = prove_memory.golden_results()
    monkeypatch.setattr(memory, "arena", interpreted("features.store")["arena"])
    assert prove_memory.golden_results() == compiled
    prove_memory.prove_memory()


def test_another_result_than_the_golden_one_refuses_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arena = interpreted("features.store")["arena"]
    monkeypatch.setattr(arena, "_room_for", lambda length: length - 1)
    monkeypatch.setattr(memory, "arena", arena)
    with pytest.raises(ConfigurationError, match="the compiled kernel memory computes wrong"):
        prove_memory.prove_memory()


def columns(values: list[bytes | None]) -> StoredValues:
    return StoredValues.of(values)


def test_columns_of_writes_are_read_as_pairs_and_compactions() -> None:
    keys = Keys.of([b"1", b"2", b"3"]).behind(b"h:")
    appends = Appends([AppendColumns(keys, columns([b"a", None, b""]))])
    assert (len(appends), list(appends)) == (2, [(b"h:1", b"a"), (b"h:3", b"")])
    assert Appends.of(appends) is appends
    assert list(Appends.of(list(appends))) == list(appends)
    compactions = Compactions(
        [CompactionColumns(keys, columns([b"ab", b"c", b"d"]), columns([b"b", None, b""]))]
    )
    expected = [Compaction(b"h:1", b"ab", b"b"), Compaction(b"h:3", b"d", b"")]
    assert (len(compactions), list(compactions)) == (2, expected)
    assert list(Compactions.of(expected)) == expected
    assert not Appends([])
    assert not Compactions.of([])
    np.testing.assert_array_equal(keys[1:3].to_list(), [b"h:2", b"h:3"])
