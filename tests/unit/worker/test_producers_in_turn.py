"""Producers in turn: which one is used, and that none is used before the one before committed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given
from hypothesis import strategies as st

from base.errors import (
    BatchAbortedError,
    DeliveryError,
    DeliveryFatalError,
    OutcomeUnknownError,
)
from tests.support.checkpoints import OUTBOX, destination, refusal, use
from tests.support.fakes import Clock, FakeProducer, kafka_error
from worker.delivery.exactly_once import ExactlyOnce
from worker.delivery.producers_in_turn import IDLE_S, MARKERS_S
from worker.delivery.reports import RecordsRefusedError, Reports

TRANSACTION = ["begin_transaction", "produce_batch", "send_offsets_to_transaction"]
COMMIT = "commit_transaction"
TIMED_OUT = kafka_error(KafkaError._TIMED_OUT, retriable=True)
CONNECT = ["list_topics", "init_transactions"]


class Recorded(FakeProducer):
    """Producer that writes its calls to a journal, with its number."""

    def __init__(self, number: int, rig: Rig) -> None:
        super().__init__()
        self.number = number
        self.rig = rig

    def _called(self, name: str) -> None:
        self.rig.journal.append((self.number, name))
        self.rig.during(name)
        super()._called(name)


class Rig:
    """Three producers on fakes, with a clock and a journal of all calls.

    Attributes:
        during: Called in each call of a producer, with its name.
        reports: Reports of each producer.
    """

    def __init__(self, count: int = 3) -> None:
        self.clock = Clock()
        self.journal: list[tuple[int, str]] = []
        self.producers: list[Recorded] = []
        self.reports: list[Reports] = []
        self.refreshed = 0
        self.during: Callable[[str], None] = lambda _: None
        self.checkpoint = ExactlyOnce(
            destination=destination(refresh=self._refresh),
            make_producer=self._make,
            replica="host-0",
            count=count,
            clock=self.clock,
        )

    def _make(self, number: int, reports: Reports) -> Any:
        self.producers.append(Recorded(number, self))
        self.reports.append(reports)
        return use(self.producers[-1], reports)

    def _refresh(self) -> None:
        self.refreshed += 1

    def fail_in(self, call: str, error: KafkaException) -> None:
        """Let the next call of this name raise, whichever producer makes it."""

        def fail(name: str) -> None:
            if name == call:
                self.during = lambda _: None
                raise error

        self.during = fail

    def deliver(self, took_s: float = 0.0) -> int:
        """Deliver; return the number of the producer that committed."""
        self.checkpoint.deliver(OUTBOX)
        self.clock.sleep(took_s)
        return next(number for number, name in reversed(self.journal) if name == COMMIT)

    def calls(self, name: str) -> list[int]:
        """Numbers of the producers that made a call, in order."""
        return [number for number, called in self.journal if called == name]


def test_at_the_start_every_id_is_initialised_before_open_returns() -> None:
    rig = Rig()
    rig.checkpoint.open()
    assert rig.journal == [(number, call) for number in range(3) for call in CONNECT]
    assert rig.refreshed == 1


def test_a_start_that_fails_half_way_initialises_the_rest_and_delivers_nothing_before() -> None:
    rig = Rig()
    rig.during = lambda name: (
        rig.fail_in("init_transactions", TIMED_OUT)
        if rig.journal[-1] == (1, "list_topics")
        else None
    )
    with pytest.raises(KafkaException, match="_TIMED_OUT"):
        rig.checkpoint.open()
    assert rig.calls("init_transactions") == [0, 1]
    assert type(refusal(rig.checkpoint)) is OutcomeUnknownError
    rig.checkpoint.open()
    assert rig.calls("init_transactions") == [0, 1, 1, 2]
    # The first was discarded by the second `open`, and is replaced at its turn.
    assert rig.deliver() == 0
    assert rig.calls("init_transactions") == [0, 1, 1, 2, 0]


def test_in_a_sparse_stream_the_first_does_all() -> None:
    rig = Rig()
    rig.checkpoint.open()
    assert [rig.deliver(took_s=MARKERS_S) for _ in range(5)] == [0] * 5


def test_in_a_dense_stream_they_take_turns() -> None:
    rig = Rig()
    rig.checkpoint.open()
    assert [rig.deliver(took_s=MARKERS_S / 10) for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_only_as_many_are_used_as_have_outstanding_markers() -> None:
    rig = Rig()
    rig.checkpoint.open()
    assert [rig.deliver(took_s=MARKERS_S * 0.6) for _ in range(5)] == [0, 1, 0, 1, 0]
    rig.clock.sleep(MARKERS_S)
    assert rig.deliver() == 0


@given(st.lists(st.sampled_from([0.0, 0.3, 0.7, 1.0, 5.0]), max_size=30), st.integers(1, 4))
def test_no_producer_is_called_before_the_one_before_has_committed(
    gaps: list[float], count: int
) -> None:
    rig = Rig(count)
    rig.checkpoint.open()
    rig.journal.clear()
    last = dict.fromkeys(range(count), float("-inf"))
    for gap in gaps:
        start = rig.clock.now
        number = rig.deliver(took_s=gap * MARKERS_S)
        quiet = [n for n in last if last[n] <= start - MARKERS_S]
        assert number == min(quiet, default=min(last, key=lambda n: (last[n], n)))
        last[number] = start
    assert [name for _, name in rig.journal] == ["poll", *TRANSACTION, COMMIT] * len(gaps)
    for first in range(0, len(rig.journal), 5):
        assert len({number for number, _ in rig.journal[first : first + 5]}) == 1


@pytest.mark.parametrize("call", [*TRANSACTION, COMMIT])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TIMED_OUT, OutcomeUnknownError),
        (kafka_error(KafkaError.ILLEGAL_GENERATION), BatchAbortedError),
        (kafka_error(KafkaError._FENCED, fatal=True), DeliveryFatalError),
    ],
    ids=["unknown", "not a member", "fenced"],
)
def test_after_any_other_answer_nothing_more_is_sent_before_that_id_is_initialised(
    call: str, error: KafkaException, kind: type[DeliveryError]
) -> None:
    rig = Rig()
    rig.checkpoint.open()
    assert rig.deliver() == 0
    rig.fail_in(call, error)
    assert type(refusal(rig.checkpoint)) is kind
    rig.journal.clear()
    assert type(refusal(rig.checkpoint)) is OutcomeUnknownError
    assert rig.journal == []
    rig.checkpoint.open()
    assert [entry for entry in rig.journal if entry[1] != "purge"] == [(1, c) for c in CONNECT]
    assert rig.refreshed == 2
    assert sorted(rig.calls("purge")) == [0, 1, 2]
    rig.clock.sleep(MARKERS_S)
    # The others were replaced too, since the limits may have changed.
    assert rig.deliver() == 0
    assert rig.calls("init_transactions") == [1, 0]


def test_after_a_refused_record_nothing_more_is_sent_before_that_id_is_initialised() -> None:
    rig = Rig()
    rig.checkpoint.open()
    rig.producers[0].batch_fault = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    assert isinstance(refusal(rig.checkpoint), RecordsRefusedError)
    assert type(refusal(rig.checkpoint)) is OutcomeUnknownError
    rig.checkpoint.open()
    assert rig.calls("init_transactions") == [0, 1, 2, 0]
    assert rig.deliver() == 0


def test_suspect_producers_are_replaced_before_their_next_use_and_not_earlier() -> None:
    rig = Rig()
    rig.checkpoint.open()
    rig.deliver()
    rig.checkpoint.suspect()
    assert sorted(rig.calls("purge")) == [0, 1, 2]
    rig.journal.clear()
    assert [rig.deliver(took_s=MARKERS_S / 10) for _ in range(4)] == [1, 2, 0, 1]
    assert rig.calls("init_transactions") == [1, 2, 0]
    assert rig.refreshed == 1
    assert len(rig.producers) == 6


def test_a_producer_whose_connections_may_have_been_closed_is_replaced_before_its_next_use() -> (
    None
):
    rig = Rig()
    rig.checkpoint.open()
    for _ in range(3):
        assert rig.deliver(took_s=IDLE_S) == 0
    assert rig.calls("init_transactions") == [0, 1, 2]
    rig.deliver()
    rig.clock.sleep(MARKERS_S / 2)
    # The second has not been used since the start.
    assert rig.deliver() == 1
    assert rig.calls("init_transactions") == [0, 1, 2, 1]
    rig.clock.sleep(IDLE_S + 1)
    assert rig.deliver() == 0
    assert rig.calls("init_transactions") == [0, 1, 2, 1, 0]


def test_a_producer_that_lost_a_connection_is_replaced_before_its_next_use_and_no_other() -> None:
    rig = Rig()
    rig.checkpoint.open()
    assert [rig.deliver(took_s=MARKERS_S / 10) for _ in range(3)] == [0, 1, 2]
    rig.reports[1].on_connection_lost()
    rig.journal.clear()
    assert [rig.deliver(took_s=MARKERS_S / 10) for _ in range(6)] == [0, 1, 2] * 2
    assert rig.calls("init_transactions") == [1]


def test_a_suspect_producer_that_cannot_be_replaced_sends_nothing() -> None:
    rig = Rig()
    rig.checkpoint.open()
    rig.checkpoint.suspect()
    rig.fail_in("init_transactions", TIMED_OUT)
    assert type(refusal(rig.checkpoint)) is BatchAbortedError
    assert type(refusal(rig.checkpoint)) is OutcomeUnknownError
    rig.checkpoint.open()
    assert rig.calls("init_transactions") == [0, 1, 2, 0, 0]
    assert rig.deliver() == 0


def test_a_suspect_producer_that_is_fenced_ends_the_worker() -> None:
    rig = Rig()
    rig.checkpoint.open()
    rig.checkpoint.suspect()
    rig.fail_in("init_transactions", kafka_error(KafkaError.PRODUCER_FENCED))
    error = refusal(rig.checkpoint)
    assert type(error) is DeliveryFatalError
    assert "same replica (host-0)" in str(error)


def test_after_close_every_id_is_initialised_again() -> None:
    rig = Rig()
    rig.checkpoint.open()
    rig.checkpoint.close()
    assert type(refusal(rig.checkpoint)) is OutcomeUnknownError
    rig.checkpoint.open()
    assert rig.calls("init_transactions") == [0, 1, 2] * 2
