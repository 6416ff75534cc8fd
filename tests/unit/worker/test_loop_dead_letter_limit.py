"""The loop and a partition with too many dead letters: where it is held, what goes on, what ends it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from base.errors import OutcomeUnknownError
from features.history.recent_records import SPAN, RecentRecords
from features.history.watermarks import LogState
from tests.support.fakes import FakeMessage
from tests.support.loop_harness import LoopHarness, Process, raising, sample
from worker.consume.micro_batch import records_of
from worker.consume.offset_metadata import OffsetMetadata
from worker.settings import DeadLetterSettings
from worker.stages.dead_letter_limit import DeadLetterLimit, TooManyDeadLettersError

BAD_FROM = 1_500
# The 101st bad record.
CROSSING = BAD_FROM + 100


def flooded(
    batch: int = 400,
    partitions: int = 1,
    accept: dict[int, int] | None = None,
    max_share: float = 0.1,
) -> LoopHarness:
    """A loop whose partition 0 holds nothing but bad records from a place on."""
    limit = DeadLetterSettings(max_share=max_share, accept_through=accept or {})
    bench = LoopHarness(dict.fromkeys(range(partitions), 3_000), batch, limit=limit)
    bench.process.bad = {(0, offset) for offset in range(BAD_FROM, 3_000)}
    bench.consumer.next.clear()
    bench.consumer.will_assign(*range(partitions))
    bench.consumer.when_idle = bench.loop.stop
    return bench


def held_at(bench: LoopHarness) -> list[int]:
    """Offsets in what the probes say of held partitions."""
    words = [reason.split() for reason in bench.health.ready() if "is held at offset" in reason]
    return [int(of[of.index("offset") + 1].rstrip(":")) for of in words]


@pytest.mark.parametrize("batch", [1, 7, 400, 1_000, 3_000])
def test_a_partition_is_held_at_the_same_record_whatever_the_micro_batches(batch: int) -> None:
    bench = flooded(batch)
    bench.run()
    assert held_at(bench) == [CROSSING]
    assert bench.consumer.checkpoints == {0: CROSSING}
    assert len(bench.answered) == BAD_FROM
    letters = [x.position.offset for out in bench.checkpoint.committed for x in out.dead_letters]
    assert letters == [*range(BAD_FROM, CROSSING)]
    assert sample("dead_letter_held", partition="0") == 1


def test_the_probes_say_what_is_held_why_and_what_to_do() -> None:
    bench = flooded()
    bench.run()
    (reason,) = [reason for reason in bench.health.ready() if "held" in reason]
    assert reason == (
        f"partition 0 of in is held at offset {CROSSING}: more than 100 of its last 1,000 records "
        "are dead letters (dead_letters.max_share is 0.1), most of them body_truncated; look at "
        "them with `fraud-worker dead-letters show`; correct the producer or the setting, and "
        "restart; or accept the partition's dead letters up to an offset with "
        'dead_letters.accept_through: {"0": OFFSET}, and restart'
    )


def test_other_partitions_go_on_and_no_more_records_of_the_held_one_are_fetched() -> None:
    bench = flooded(partitions=2)
    bench.run()
    assert bench.consumer.checkpoints == {0: CROSSING, 1: 3_000}
    assert [value for value in bench.answered if value.startswith("1/")] == [
        f"1/{offset}" for offset in range(3_000)
    ]
    assert bench.consumer.paused == {0}


def test_after_a_restart_the_partition_is_held_at_the_same_record() -> None:
    first = flooded(250)
    first.run()
    second = flooded(999)
    second.consumer.checkpoints = dict(first.consumer.checkpoints)
    second.consumer.offset_metadata = dict(first.consumer.offset_metadata)
    second.run()
    assert held_at(second) == [CROSSING]
    assert second.checkpoint.committed == []


def test_a_rewind_judges_the_same_records_again() -> None:
    bench = flooded(400)
    bench.checkpoint.outcomes.extend([lambda: None] * 4 + [raising(OutcomeUnknownError("?"))])
    bench.run()
    assert held_at(bench) == [CROSSING]
    assert bench.consumer.checkpoints == {0: CROSSING}


def test_accepted_records_are_dead_letters_and_the_next_ones_are_counted_anew() -> None:
    bench = flooded(accept={0: 1_700})
    bench.run()
    # Not judged before there are 1,000 records behind the accepted ones.
    assert held_at(bench) == [1_700 + SPAN]
    assert bench.consumer.checkpoints == {0: 1_700 + SPAN}


def test_a_flood_that_is_accepted_as_a_whole_holds_nothing() -> None:
    bench = flooded(accept={0: 2_999})
    bench.run()
    assert held_at(bench) == []
    assert bench.consumer.checkpoints == {0: 3_000}
    assert OffsetMetadata.decode(bench.consumer.offset_metadata[0]).recent_records.count == 0


def test_an_accepted_offset_before_the_held_record_changes_nothing() -> None:
    first = flooded()
    first.run()
    second = flooded(accept={0: CROSSING - 1})
    second.consumer.checkpoints = dict(first.consumer.checkpoints)
    second.consumer.offset_metadata = dict(first.consumer.offset_metadata)
    second.run()
    assert held_at(second) == [CROSSING]


def test_a_share_of_one_holds_nothing() -> None:
    bench = flooded(max_share=1)
    bench.run()
    assert bench.consumer.checkpoints == {0: 3_000}


def test_a_partition_that_moves_away_is_no_longer_reported() -> None:
    bench = flooded()
    bench.run()
    assert held_at(bench) == [CROSSING]
    bench.loop._position.rewind()
    assert held_at(bench) == []
    assert sample("dead_letter_held", partition="0") == 0


@pytest.mark.parametrize("batch", [50, 400, 3_000])
def test_the_count_begins_anew_behind_what_is_accepted_without_a_dead_letter(batch: int) -> None:
    process = Process([])
    process.bad = {(0, offset) for offset in range(1_500, 1_800)}
    limit = DeadLetterLimit(process, DeadLetterSettings(accept_through={0: 1_199}))
    # A checkpoint of before the setting: a thousand records without a dead letter.
    log = LogState(recent={0: RecentRecords(SPAN, 0)})

    def count(log: LogState) -> None:
        for begin in range(1_000, 3_000, batch):
            messages = [FakeMessage((0, offset)) for offset in range(begin, begin + batch)]
            log = limit(records_of("in", cast("Any", messages)), log).after

    with pytest.raises(TooManyDeadLettersError) as caught:
        count(log)
    assert caught.value.crossings[0].offset == 2_199
