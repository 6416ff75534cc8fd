"""Records that a topic refuses: each position has one answer, whatever is refused and for how long."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from base.errors import DeliveryFatalError
from tests.support.fakes import FakeConsumer, FakeProducer, Sent
from tests.support.loop_harness import LoopHarness, sample
from worker.delivery.answers import Answers
from worker.delivery.at_least_once import AtLeastOnce
from worker.delivery.checkpoint import Checkpoint, Destination
from worker.delivery.exactly_once import ExactlyOnce
from worker.delivery.publish import SizeLimits
from worker.process.watchdog import Watchdog
from worker.stages.dead_letter import HEADER_PREFIX

GUARANTEES = ["exactly_once", "at_least_once"]
ROOMY = SizeLimits(2**20, 2**20)
Rule = Callable[[Sent], int | None]


class Refusing(LoopHarness):
    """A loop whose producer writes to topics that refuse records by a rule."""

    def __init__(
        self,
        guarantee: str,
        rule: Rule,
        records: dict[int, int],
        batch: int,
        limits: SizeLimits = ROOMY,
    ) -> None:
        self.producers: list[FakeProducer] = []
        self.written: list[Sent] = []
        self.rule = rule
        self.transactions = 0

        def producer(*arguments: Any) -> Any:
            self.producers.append(
                FakeProducer(
                    refuses=self.rule,
                    on_delivery=arguments[-1].on_score,
                    checkpoints=self.consumer.checkpoints,
                    written=self.written,
                )
            )
            return self.producers[-1]

        def checkpoint(consumer: FakeConsumer) -> Checkpoint:
            destination = Destination(
                topics=("in", "scores", "dead"),
                limits=lambda: limits,
                refresh_limits=lambda: None,
                timeout_s=5.0,
                watchdog=Watchdog(100.0),
            )
            if guarantee == "exactly_once":
                return ExactlyOnce(
                    destination=destination, make_producer=producer, replica="host-0"
                )
            return AtLeastOnce(
                destination=destination, make_producer=producer, consumer=cast("Any", consumer)
            )

        super().__init__(records, batch, real=checkpoint)

    @property
    def rounds(self) -> int:
        """Number of refused transactions."""
        return sum(producer.refused for producer in self.producers)

    @property
    def answers(self) -> Counter[str]:
        """Answers by position, as ``partition/offset``."""
        return Counter(map(position, self.written))

    @property
    def codes(self) -> dict[str, str]:
        letters = [sent for sent in self.written if sent.topic == "dead"]
        return {position(sent): header(sent, "code") for sent in letters}


def header(sent: Sent, name: str) -> str:
    return (dict(sent.headers or [])[HEADER_PREFIX + name] or b"").decode()


def position(sent: Sent) -> str:
    if sent.topic == "scores":
        return (sent.value or b"").decode()
    return f"{header(sent, 'partition')}/{header(sent, 'offset')}"


def once(partitions: dict[int, int]) -> Counter[str]:
    return Counter(f"{p}/{offset}" for p, count in partitions.items() for offset in range(count))


def scores_of(refused: set[str], code: int = KafkaError.INVALID_TIMESTAMP) -> Rule:
    return lambda sent: code if sent.topic == "scores" and position(sent) in refused else None


@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.parametrize(
    "code", [KafkaError.INVALID_TIMESTAMP, KafkaError.INVALID_RECORD, KafkaError.POLICY_VIOLATION]
)
@pytest.mark.parametrize("number", [1, 2, 7, 40], ids="{} refused".format)
def test_refused_scores_become_dead_letters_and_no_other_does(
    guarantee: str, code: int, number: int, seed: int
) -> None:
    chosen = random.Random(seed).sample(range(40), number)
    refused = {f"0/{offset}" for offset in chosen}
    bench = Refusing(guarantee, scores_of(refused, code), {0: 80}, 40)
    before = (
        sample("dead_letters_total", code="output_refused"),
        sample("decisions_total", segment="default", decision="approve"),
    )
    bench.run()
    assert bench.answers == once({0: 80})
    assert bench.codes == dict.fromkeys(refused, "output_refused")
    if guarantee == "exactly_once":
        for topic in ("scores", "dead"):
            places = [int(position(sent)[2:]) for sent in bench.written if sent.topic == topic]
            assert places == sorted(places)
    assert bench.consumer.checkpoints == {0: 80}
    assert bench.consumer.starts == [(0, 0)]
    # A transaction of a producer that skipped sequence numbers would fail.
    assert (
        all(producer.refused <= 1 for producer in bench.producers) or guarantee == "at_least_once"
    )
    assert sample("dead_letters_total", code="output_refused") == before[0] + number
    assert (
        sample("decisions_total", segment="default", decision="approve") == before[1] + 80 - number
    )


@pytest.mark.parametrize(
    ("refused", "code", "rounds"),
    [
        (1, KafkaError.INVALID_TIMESTAMP, 4),
        (1, KafkaError.INVALID_RECORD, 4),
        (4000, KafkaError.INVALID_TIMESTAMP, 1),
    ],
    ids=["one timestamp", "one record", "all timestamps"],
)
def test_refused_scores_of_a_large_micro_batch_are_found_in_few_rounds(
    refused: int, code: int, rounds: int, seed: int
) -> None:
    chosen = {f"0/{offset}" for offset in random.Random(seed).sample(range(4000), refused)}
    bench = Refusing("exactly_once", scores_of(chosen, code), {0: 4000}, 4000)
    bench.run()
    assert bench.codes.keys() == chosen
    assert bench.answers == once({0: 4000})
    assert bench.rounds <= rounds


def test_refused_times_of_sending_are_not_searched_for_without_end() -> None:
    """A topic whose message.timestamp.before.max.ms is about as long as a record takes to arrive.

    Each time another record is too late by a little, and the client reports its whole batch.
    """
    rounds = 0

    def rule(record: Sent) -> int | None:
        nonlocal rounds
        if record.topic != "scores" or rounds == len(bench.producers):
            return None
        rounds = len(bench.producers)
        return KafkaError.INVALID_TIMESTAMP

    bench = Refusing("exactly_once", rule, {0: 40}, 40)
    bench.run()
    assert bench.answers == once({0: 40})
    assert set(bench.codes.values()) == {"output_refused"}
    assert bench.rounds < 20


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_the_dead_letter_of_a_refused_score_says_what_the_topic_said_and_what_to_do(
    guarantee: str,
) -> None:
    bench = Refusing(guarantee, scores_of({"0/1"}), {0: 3}, 3)
    bench.run()
    (letter,) = [sent for sent in bench.written if sent.topic == "dead"]
    assert header(letter, "stage") == "publish"
    message = header(letter, "message")
    assert message.startswith("scores refuses it (INVALID_TIMESTAMP: Broker: Invalid timestamp);")
    assert "message.timestamp.before.max.ms" in message
    assert letter.value == b"body"


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_a_score_that_is_too_large_for_the_topic_is_found_and_limits_are_asked_for_anew(
    guarantee: str,
) -> None:
    rule = scores_of({"0/3", "0/17"}, KafkaError.MSG_SIZE_TOO_LARGE)
    bench = Refusing(guarantee, rule, {0: 40}, 20)
    bench.run()
    assert bench.answers == once({0: 40})
    assert bench.codes == dict.fromkeys(("0/3", "0/17"), "output_too_large")
    assert len(bench.producers) > 1


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_a_dead_letter_too_large_takes_its_oversize_form_and_no_other_does(guarantee: str) -> None:
    def rule(sent: Sent) -> int | None:
        large = sent.topic == "dead" and position(sent) == "0/4" and sent.value is not None
        return KafkaError.MSG_SIZE_TOO_LARGE if large else None

    bench = Refusing(guarantee, rule, {0: 10}, 10)
    bench.process.bad = {(0, 2), (0, 4), (0, 5)}
    bench.run()
    assert bench.answers == once({0: 10})
    letters = {position(sent): sent.value for sent in bench.written if sent.topic == "dead"}
    assert letters == {"0/2": b"body", "0/4": None, "0/5": b"body"}


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_a_topic_that_refuses_dead_letters_is_waited_for_as_a_member_of_the_group(
    guarantee: str,
) -> None:
    at: list[tuple[float, bool]] = []

    def rule(sent: Sent) -> int | None:
        if sent.topic != "dead" or len(at) == 8:
            return None
        if not at or at[-1][0] != bench.clock.now:
            at.append((bench.clock.now, bench.health.ready() == []))
        return KafkaError.INVALID_RECORD

    bench = Refusing(guarantee, rule, {0: 4}, 2)
    bench.loop._outages.letter_refusals._limit_s = 1000.0
    bench.process.bad = {(0, 1)}
    bench.run()
    waits = np.diff([now for now, _ in at])
    assert waits == pytest.approx([1, 2, 4, 8, 16, 30, 30], abs=0.2)
    assert [ready for _, ready in at] == [True] * 3 + [False] * 5
    assert bench.health.ready() == ["draining"]
    assert bench.answers == once({0: 4})
    assert bench.consumer.starts == [(0, 0)]
    assert bench.consumer.paused == set()


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_a_dead_letter_that_stays_refused_ends_the_worker_with_the_remedy(guarantee: str) -> None:
    bench = Refusing(
        guarantee,
        lambda sent: KafkaError.INVALID_RECORD if sent.topic == "dead" else None,
        {0: 4},
        2,
    )
    bench.process.bad = {(0, 1)}
    begun = bench.clock.now
    with pytest.raises(
        DeliveryFatalError, match=r"for 60 s \(delivery.refused_s is 60\): dead .*cleanup.policy"
    ):
        bench.run()
    assert 60 <= bench.clock.now - begun < 62
    assert bench.consumer.checkpoints == {}
    assert bench.consumer.closed


@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.parametrize("event", ["stop", "moved"])
def test_a_wait_for_the_dead_letter_topic_ends_when_there_is_something_else_to_do(
    guarantee: str, event: str
) -> None:
    refusals = 0

    def rule(sent: Sent) -> int | None:
        nonlocal refusals
        if sent.topic != "dead":
            return None
        refusals += 1
        if refusals == 5 and event == "stop":
            bench.loop.stop()
        if refusals == 5 and event == "moved":
            bench.consumer.will_revoke(0)
            bench.consumer.will_assign(1)
        return KafkaError.INVALID_RECORD

    bench = Refusing(guarantee, rule, {0: 2, 1: 2}, 2)
    bench.process.bad = {(0, 1)}
    bench.run()
    assert bench.clock.now - 1000.0 < 20.0
    assert bench.consumer.checkpoints == ({} if event == "stop" else {1: 2})
    assert bench.consumer.closed


@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.parametrize("number", [2, 3, 20])
def test_a_record_without_key_in_a_compacted_topic_condemns_no_neighbour(
    guarantee: str, number: int
) -> None:
    """A score without a key, in a topic that was compacted since; the client blames the batch."""

    def rule(sent: Sent) -> int | None:
        keyless = sent.topic == "scores" and position(sent) == "0/1"
        return KafkaError.INVALID_RECORD if keyless else None

    bench = Refusing(guarantee, rule, {0: number}, number, SizeLimits(2**20, 2**20, True))
    bench.process.keyless = {(0, 1)}
    bench.run()
    assert bench.answers == once({0: number})
    assert bench.codes == {"0/1": "output_refused"}


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_a_worker_that_lost_its_partitions_is_ready_again(guarantee: str) -> None:
    refusals = 0
    ready: list[bool] = []

    def rule(sent: Sent) -> int | None:
        nonlocal refusals
        refusals += sent.topic == "dead"
        if refusals == 4:
            ready.append(bench.health.ready() == [])
            bench.consumer.next.clear()
            bench.consumer.will_revoke(0)
        return KafkaError.INVALID_RECORD if sent.topic == "dead" else None

    def idle() -> None:
        ready.append(bench.health.ready() == [])
        if len(ready) > 3:
            bench.loop.stop()

    bench = Refusing(guarantee, rule, {0: 1}, 1)
    bench.process.bad = {(0, 0)}
    bench.consumer.when_idle = lambda: None if bench.consumer.positions else idle()
    bench.run()
    assert (ready[0], ready[-1]) == (False, True)


def test_scores_and_dead_letters_refused_in_one_batch_are_told_apart() -> None:
    refusals = Counter[str]()

    def rule(sent: Sent) -> int | None:
        refusals[sent.topic] += 1
        if sent.topic == "dead" and refusals["dead"] < 5:
            return KafkaError.INVALID_TIMESTAMP
        return scores_of({"0/1", "0/2", "0/7"})(sent)

    bench = Refusing("exactly_once", rule, {0: 20}, 10)
    bench.process.bad = {(0, 3), (0, 4)}
    bench.run()
    assert bench.answers == once({0: 20})
    assert Counter(bench.codes.values()) == {"output_refused": 3, "body_truncated": 2}


def test_a_refused_batch_is_tried_again_in_the_next_delivery() -> None:
    """The settings may have been mended meanwhile: a refusal is remembered for one delivery."""
    bench = Refusing("exactly_once", scores_of({"0/0"}), {0: 2}, 1)
    bench.run()
    assert bench.codes == {"0/0": "output_refused"}
    bench = Refusing("exactly_once", scores_of(set()), {0: 2}, 1)
    bench.run()
    assert bench.codes == {}


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.integers(1, 9), st.data())
def test_records_sent_apart_keep_the_order_of_each_output_partition(
    partitions: list[int], batch: int, data: st.DataObject
) -> None:
    """Rows go to output partitions; some batches of these are suspected, again and again."""
    processed = SimpleNamespace(values=partitions, dead_letters=())
    processed.with_letters = lambda _refused: processed
    answers = Answers(cast("Any", None), cast("Any", processed), "id-1")
    for _ in range(3):
        sent = list(answers._in_order())
        suspects = []
        for group in sent:
            for partition in range(3):
                rows = [row for row in group if partitions[cast("int", row)] == partition]
                batches = [rows[i : i + batch] for i in range(0, len(rows), batch)]
                suspects += [one for one in batches if len(one) > 1 and data.draw(st.booleans())]
        for one in suspects:
            answers._divide(one)
    order = cast("list[int]", [row for group in answers._in_order() for row in group])
    assert sorted(order) == list(range(len(partitions)))
    for partition in range(3):
        own = [row for row in order if partitions[row] == partition]
        assert own == sorted(own)
