"""Seeded bugs of the worker, each of which the search has to find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock
from weakref import WeakKeyDictionary

import numpy as np

from base.arrays import Mask
from base.errors import OutcomeUnknownError, StoreAwayError
from features.history.watermarks import LogState
from features.store.protocol import MarkWrite
from features.windows import plan
from features.windows.position import late_across
from schemas.batch import EventBatch
from tests.properties.bugs import BUGS as BUGS_OF_WINDOWS
from tests.search.process import Process
from tests.search.store import SimulatedStore
from tests.search.waiting import SimulatedExecutor
from tests.support.buggy_worker import Planted
from worker.consume.group_member import GroupMember
from worker.consume.poll import Poller
from worker.delivery.checkpoint import Channel, Destination
from worker.delivery.exactly_once import ExactlyOnce
from worker.delivery.producers_in_turn import ProducersInTurn
from worker.delivery.publish import Outbox, SizeLimits
from worker.histories import HistoryWrites, StoredHistories, marks
from worker.histories.alignment import ALL, Alignment
from worker.histories.marked_reads import MarkedReads
from worker.histories.neighbours import Neighbours

Patch = Callable[[], AbstractContextManager[Any]]

_LIMITS = SizeLimits(2**20, 2**20)
_TIMEOUT_S = 5.0

_make_checkpoint = Process._make_checkpoint
_join = GroupMember._join
_offsets = Destination.offsets
_transact = ExactlyOnce._transact
_write = StoredHistories._write
_append, _marking = SimulatedStore.append, SimulatedStore._marking
_add_ended = Alignment._add_ended
_read_all = MarkedReads.read_all


class _Processes:
    """The process of each checkpoint, and what a bug keeps for it."""

    def __init__(self) -> None:
        self.of: WeakKeyDictionary[ExactlyOnce, Process] = WeakKeyDictionary()
        self._executors: WeakKeyDictionary[ExactlyOnce, list[SimulatedExecutor]] = (
            WeakKeyDictionary()
        )
        self.committing: WeakKeyDictionary[ExactlyOnce, list[Future[Any]]] = WeakKeyDictionary()

    def make_checkpoint(self, process: Process, producers: int) -> ExactlyOnce:
        # With one producer none writes while another commits.
        checkpoint = _make_checkpoint(process, max(2, producers))
        self.of[checkpoint] = process
        self.committing[checkpoint] = []
        self._executors[checkpoint] = []
        return checkpoint

    def beside(self, checkpoint: ExactlyOnce, call: Callable[[], object]) -> None:
        """Run a call beside the delivery of the next micro-batch."""
        executors = self._executors[checkpoint]
        if len(executors) < 2:
            executors.append(self.of[checkpoint].executor(f"commits late {len(executors)}"))
        executors.append(executors.pop(0))
        self.committing[checkpoint].append(executors[-1].submit(call))

    def raise_failure(self, checkpoint: ExactlyOnce) -> None:
        """Raise if an earlier call of `beside` has failed; this comes one micro-batch too late."""
        committing = self.committing[checkpoint]
        failed = any(call.done() and call.exception() for call in committing)
        committing[:] = [call for call in committing if not call.done()]
        if failed:
            raise OutcomeUnknownError("an earlier commit has failed")


def _patched(target: Any, name: str, bug: Any) -> Patch:
    return lambda: mock.patch.object(target, name, bug)


def _transacting(transact: Callable[[_Processes, ExactlyOnce, Channel, Outbox], None]) -> Patch:
    """Another order of the steps of a transaction."""

    @contextmanager
    def patch() -> Iterator[None]:
        processes = _Processes()

        def make_checkpoint(process: Process, producers: int) -> ExactlyOnce:
            return processes.make_checkpoint(process, producers)

        def buggy(checkpoint: ExactlyOnce, channel: Channel, outbox: Outbox) -> None:
            transact(processes, checkpoint, channel, outbox)

        with (
            mock.patch.object(Process, "_make_checkpoint", make_checkpoint),
            mock.patch.object(ExactlyOnce, "_transact", buggy),
        ):
            yield

    return patch


def _send_offsets(checkpoint: ExactlyOnce, channel: Channel, outbox: Outbox) -> None:
    channel.producer.send_offsets_to_transaction(
        checkpoint.destination.offsets(outbox), outbox.group_metadata, _TIMEOUT_S
    )


def _commit_before_produce(
    _: _Processes, checkpoint: ExactlyOnce, channel: Channel, outbox: Outbox
) -> None:
    channel.producer.begin_transaction()
    _send_offsets(checkpoint, channel, outbox)
    channel.producer.commit_transaction(_TIMEOUT_S)
    channel.producer.begin_transaction()
    channel.publisher.publish(outbox, _LIMITS)
    channel.producer.commit_transaction(_TIMEOUT_S)


def _fresh_metadata(
    processes: _Processes, checkpoint: ExactlyOnce, channel: Channel, outbox: Outbox
) -> None:
    fresh = processes.of[checkpoint].consumer.consumer_group_metadata()
    _transact(checkpoint, channel, replace(outbox, group_metadata=fresh))


def _produce_while_committing(
    processes: _Processes, checkpoint: ExactlyOnce, channel: Channel, outbox: Outbox
) -> None:
    processes.raise_failure(checkpoint)
    channel.producer.begin_transaction()
    channel.publisher.publish(outbox, _LIMITS)
    _send_offsets(checkpoint, channel, outbox)
    processes.beside(checkpoint, lambda: channel.producer.commit_transaction(_TIMEOUT_S))


def _offsets_out_of_turn(
    processes: _Processes, checkpoint: ExactlyOnce, channel: Channel, outbox: Outbox
) -> None:
    processes.raise_failure(checkpoint)
    channel.producer.begin_transaction()
    channel.publisher.publish(outbox, _LIMITS)

    def finish() -> None:
        _send_offsets(checkpoint, channel, outbox)
        channel.producer.commit_transaction(_TIMEOUT_S)

    processes.beside(checkpoint, finish)


def _one_short(destination: Destination, outbox: Outbox) -> Any:
    short = {p: offset - 1 for p, offset in outbox.next_offsets.items()}
    return _offsets(destination, replace(outbox, next_offsets=short))


def _marks_first(histories: StoredHistories, writes: HistoryWrites) -> None:
    _write(histories, HistoryWrites(marks=writes.marks))
    _write(histories, replace(writes, marks=()))


def _marks_anyway(histories: StoredHistories, writes: HistoryWrites) -> None:
    """Write the marks when some members may be missing."""
    try:
        _write(histories, writes)
    except StoreAwayError:
        _write(histories, HistoryWrites(marks=writes.marks))
        raise


def _marks_on_their_own(store: SimulatedStore, *given: Any) -> None:
    """Write marks to whatever run of the server there is then."""
    *others, marks = given
    _append(store, *others)
    if marks:
        store.write_marks(marks)


def _holes(store: SimulatedStore, marks: Sequence[MarkWrite]) -> Callable[[], object]:
    return _marking(store, [mark._replace(at_least=mark.at_least and 0) for mark in marks])


def _first_ends(
    alignment: Alignment, marks: Any, complete: Any, until: int, ends: dict[int, int]
) -> None:
    """Take the first known ends of partitions for their ends."""
    before = {**alignment._ends}
    _add_ended(alignment, marks, complete, until, ends)
    alignment._ends |= before
    applied = marks["reached"] - 1
    for partition, end in before.items():
        if applied[partition] >= end:
            complete[partition] = ALL


def _marks_of_another_run(marks: Any, _: object) -> Any:
    return marks


def _at_checkpoint(state: LogState, partition: int, _: int) -> tuple[int, LogState]:
    return state.offsets[partition], replace(state, pairs={})


def _marks_behind(reads: MarkedReads, keys: Any, hashes: Any = ()) -> Any:
    """Take what the marks behind the histories say for what the histories hold."""
    reads._marks.read = [np.full_like(of_entity, ALL) for of_entity in reads._marks.read]
    return _read_all(reads, keys, hashes)


def _open_one(producers: ProducersInTurn) -> None:
    Planted(Path(), "one_id_initialised", "").open(producers)


def _join_unnoted(member: GroupMember, topic: str) -> None:
    _join(member, topic)
    member._outside_the_group = None


def _late_across_backlogs(batch: EventBatch, log: LogState, late: Mask, delay: int) -> Mask:
    everywhere = {p: passed._replace(offset=0) for p, passed in log.passed.items()}
    return late_across(batch, replace(log, passed=everywhere), late, delay)


def _nothing(*_: object) -> None:
    pass


def _never(*_: object) -> bool:
    return False


def _no_waits(*_: object) -> Mapping[int, object]:
    return {}


def _state_at_mark(_: object, partition: int, offset: int) -> LogState:
    """Take a partition on without the events before its mark."""
    return LogState(offsets={partition: offset})


def _no_lag(*_: object) -> Sequence[int]:
    return []


MOST = 4_000
"""A bug that needs more schedules has not been found."""
RARE = {
    "a producer that lost its connection is kept",
    "a start initialises one id only",
    "alignment by the marks behind the histories",
    "marks are written on another connection",
    "marks may leave holes",
    "the group metadata of the commit",
    "the metadata of a member outside of the group",
    "what other versions have read is taken for known",
}
"""Bugs that show in one of some hundred or thousand schedules: `make search BUGS=1` looks for them."""

BUGS: Mapping[str, Patch] = {
    "committed offsets are one too low": _patched(Destination, "offsets", _one_short),
    "offsets are committed before the scores": _transacting(_commit_before_produce),
    "the group metadata of the commit": _transacting(_fresh_metadata),
    "the metadata of a member outside of the group": _patched(GroupMember, "_join", _join_unnoted),
    "a producer writes while another commits": _transacting(_produce_while_committing),
    "offsets are sent before those of the producer before": _transacting(_offsets_out_of_turn),
    "a start initialises one id only": _patched(ProducersInTurn, "open", _open_one),
    "a counter instead of a set": BUGS_OF_WINDOWS["a counter instead of a set"].patch,
    "reads do not wait for writes": _patched(StoredHistories, "await_written", _nothing),
    "a producer that lost its connection is kept": _patched(Channel, "connection_lost", _never),
    "no rewind of a partition that stays": _patched(Poller, "_seek", _nothing),
    "marks are written before members": _patched(StoredHistories, "_write", _marks_first),
    "marks are written without members": _patched(StoredHistories, "_write", _marks_anyway),
    "marks may leave holes": _patched(SimulatedStore, "_marking", _holes),
    "marks are written on another connection": _patched(
        SimulatedStore, "append", _marks_on_their_own
    ),
    "evictions are ignored": _patched(marks, "valid_marks", _marks_of_another_run),
    "a fill begins at the checkpoint": _patched(LogState, "replay_from", _at_checkpoint),
    "shared histories are compacted by a partition's own watermark": BUGS_OF_WINDOWS[
        "shared histories are compacted by a partition's own watermark"
    ].patch,
    "no alignment": _patched(Alignment, "waits", _no_waits),
    "alignment by the marks behind the histories": _patched(MarkedReads, "read_all", _marks_behind),
    "alignment to an end of before": _patched(Alignment, "_add_ended", _first_ends),
    "nothing is applied ahead of scoring": _patched(Alignment, "lagging", _no_lag),
    "events of a backlog are across_late": _patched(plan, "late_across", _late_across_backlogs),
    "partitions of other versions are not applied": _patched(Neighbours, "unattended", _no_lag),
    "partitions of other versions are taken on without their log": _patched(
        Neighbours, "_state_before", _state_at_mark
    ),
    "what other versions have read is taken for known": _patched(
        marks.Marks, "of_unknown_reach", _no_lag
    ),
}
