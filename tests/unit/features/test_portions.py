"""Histories computed in portions: the same bits as at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from features.compute.enrich import enrich
from features.compute.matrix import Enriched
from features.history.labels import LabelBatch, label_appends
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.store.memory import MemoryStore
from features.windows import engine
from features.windows.plan import Each
from schemas.batch import Kind
from tests.support import making

FEATURES = f"""{making.EVENTS}partition_key: card
entities: {{card: card, shop: shop}}
history: {{allowed_lateness: 5s, duplicates: 1m, cap: 20}}
features:
  - {{name: N, window: count, by: card, over: 1m}}
  - {{name: STD, window: std, of: z, scale: 2, by: card, over: 1m}}
  - {{name: RISK, window: fraud_share, by: shop, over: 1m, delay: 1s}}
"""
EVENTS = 400


def run(folder: Path, seed: int, each: Each = map) -> list[Enriched]:
    """Two batches, the second over the histories of the first."""
    made = making.feature_set(folder, FEATURES.replace("partition_key", "  partition_key"))
    rng = np.random.default_rng(seed)
    store, log, found = MemoryStore(), LogState(), []
    for number in range(2):
        batch = making.events(
            made,
            EVENTS,
            id=making.strings([f"e{number}-{i}" for i in rng.integers(0, EVENTS, EVENTS)]),
            at=making.longs((making.T0 + rng.integers(0, 20_000_000, EVENTS)).tolist(), Kind.TIME),
            card=making.strings([f"c{i}" for i in rng.integers(0, 12, EVENTS)]),
            shop=making.longs(rng.integers(0, 5, EVENTS).tolist()),
            z=making.doubles(rng.normal(size=EVENTS).tolist()),
        )
        batch.records.offsets[:] += number * EVENTS
        labels = LabelBatch(
            batch.event_id,
            batch.event_time,
            batch.entity_keys,
            rng.random(EVENTS) < 0.3,
            batch.event_time,
            np.full(EVENTS, -1, np.int32),
            batch.records.offsets,
        )
        namespace = Namespace.local(made.name)
        store.append(label_appends(labels, made.labelled_entities, namespace))
        found.append(enrich(made, batch, store, log, each=each))
        store.append(found[-1].writes.appends, found[-1].writes.compactions)
        log = found[-1].after
    return found


@pytest.mark.parametrize("members", [1, 50, 300])
def test_portions_give_what_all_at_once_gives(
    members: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    whole = run(tmp_path, seed)
    monkeypatch.setattr(engine, "MEMBERS_AT_A_TIME", members)
    with ThreadPoolExecutor(3) as pool:
        for one, other in zip(whole, run(tmp_path, seed, pool.map), strict=True):
            np.testing.assert_array_equal(one.matrix, other.matrix)
            np.testing.assert_array_equal(one.flags, other.flags)
            assert sorted(one.writes.appends) == sorted(other.writes.appends)
            assert sorted(one.writes.compactions) == sorted(other.writes.compactions)
    assert all(one.flags.any() for one in whole)
