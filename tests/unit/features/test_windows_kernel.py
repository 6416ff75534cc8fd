"""The compiled windows and the same code as Python runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base.errors import ConfigurationError
from features.compute.enrich import enrich
from features.store.memory import MemoryStore
from features.store.stored_values import StoredValues
from features.windows import engine, golden
from features.windows.kernel import rows
from features.windows.kernel.loop import compute
from tests.oracles.windows import entropy, percentile
from tests.support import making
from tests.support.interpreted import interpreted

FEATURES = f"""{making.EVENTS}  partition_key: card
entities: {{card: card}}
features:
  - {{name: F, window: fraud_share, by: card, over: 1d}}
"""


def test_the_golden_results_are_the_same_without_compilation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled = golden.golden_results()
    monkeypatch.setattr(golden, "compute", interpreted("features.windows")["loop"].compute)
    assert golden.golden_results() == compiled


def test_another_result_than_the_golden_one_refuses_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    golden.prove_windows()
    kernel = interpreted("features.windows")
    monkeypatch.setattr(kernel["aggregates"], "SECOND", 1e6 + 1)
    monkeypatch.setattr(golden, "compute", kernel["loop"].compute)
    with pytest.raises(ConfigurationError, match="the compiled kernel windows computes wrong"):
        golden.prove_windows()


def test_weighted_values_are_added_in_the_order_of_the_members() -> None:
    decayed = interpreted("features.windows")["numbers"].decayed
    members = np.zeros((rows.KEPT + 1, 3), np.int64)
    members[rows.KEPT] = 2**60, -(2**60), 1
    for chosen, total in (([0, 1, 2], 1), ([2, 1, 0], 0)):
        assert decayed(members, np.array(chosen), 3, rows.KEPT, 1.0, 0) == total


def test_terms_of_the_entropy_are_added_in_the_order_of_first_members() -> None:
    kernel = interpreted("features.windows")["frequencies"]
    for frequencies in ([1, 6, 3], [3, 6, 1]):
        members = np.zeros((rows.KEPT + 1, 10), np.int64)
        members[rows.KEPT] = np.arange(3).repeat(frequencies)
        table, counted = np.zeros((3, 32), np.int64), np.empty(10, np.int64)
        distinct = kernel.count_values(members, np.arange(10), 10, rows.KEPT, table, 1, counted)
        assert counted[:distinct].tolist() == frequencies
        assert kernel.entropy(counted, distinct, 10) == entropy([n / 10 for n in frequencies])
    assert entropy([0.1, 0.6, 0.3]) != entropy([0.3, 0.6, 0.1])


def test_a_percentile_at_a_whole_rank_is_the_value_at_it() -> None:
    kernel, values = interpreted("features.windows")["numbers"], [-(2**50)] * 29 + [0] * 72
    members = np.zeros((rows.KEPT + 1, 101), np.int64)
    members[rows.KEPT] = values
    found = kernel.percentile(
        members, np.arange(101), 101, rows.KEPT, 29.0, np.empty(101, np.int64)
    )
    assert found == percentile(values, 29) == 0


def test_what_the_installation_compiles_serves_every_store(tmp_path: Path) -> None:
    """For values in another form a worker would compile in its first micro-batch."""
    golden.prove_windows()
    made, store = making.feature_set(tmp_path, FEATURES), MemoryStore()
    batch = making.events(made, 20)
    store.append(enrich(made, batch, store).writes.appends)
    enrich(made, batch, store)
    loop: Any = compute
    (signature,) = loop.signatures
    answers = StoredValues(np.zeros(9, np.uint8), np.arange(6)[::2], np.ones(3, np.int64))
    stored = engine._stored(answers, 1, "a history", np.zeros(3, np.int64))
    assert loop.typeof_pyval(stored) == signature[1]
