"""Garbage collection of the worker."""

from __future__ import annotations

import gc

from tests.support.loop_harness import sample
from worker.process.garbage import frozen_start, report_pauses, without_collection


def test_what_was_there_at_the_start_is_not_searched() -> None:
    before = gc.get_freeze_count()
    callbacks = [*gc.callbacks]
    with frozen_start():
        assert gc.get_freeze_count() > before
        assert len(gc.get_objects()) < gc.get_freeze_count()
    assert gc.get_freeze_count() == 0
    assert gc.callbacks == callbacks


def test_from_the_loop_on_garbage_is_collected() -> None:
    gc.disable()
    with frozen_start():
        assert gc.isenabled()


def test_a_block_without_collection_leaves_the_collector_as_it_was() -> None:
    with without_collection():
        assert not gc.isenabled()
        with without_collection():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_pauses_are_measured_by_generation() -> None:
    report_pauses()
    pauses = sample("gc_pause_seconds_count", generation="2")
    with frozen_start():
        gc.collect()
        gc.collect(0)
    report_pauses()
    assert sample("gc_pause_seconds_count", generation="2") == pauses + 1
    assert sample("gc_pause_seconds_sum", generation="0") > 0.0
