"""One event at a time, as most streaming programs are written; transactions of up to 100 ms."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import redis
from confluent_kafka import Message

from benchmarks.rivals.parts import (
    CHANNELS,
    COUNTRIES,
    CURRENCIES,
    OTHER_COUNTRY,
    OTHER_CURRENCY,
    Event,
    EventReader,
    Model,
    Profiles,
    Scored,
    ScoreWriter,
)
from benchmarks.rivals.task import (
    Stop,
    Task,
    commit,
    given_task,
    make_consumer,
    make_producer,
    records,
)

TRANSACTION_EVENTS = 1000
TRANSACTION_S = 0.1


class Scorer:
    """From the bytes of one event to the bytes of its score."""

    def __init__(self, task: Task) -> None:
        self._reader, self._writer = EventReader(task.event_schema_file), ScoreWriter(task)
        self._client = redis.Redis.from_url(task.redis_url)
        self._prefixes = task.card.prefix, task.merchant.prefix
        self._card, self._merchant = Profiles(task.card), Profiles(task.merchant)
        self._model = Model(task)
        self._vector = list(task.score.vector.values())

    def score(self, message: Message) -> bytes:
        """Raises KafkaException for a message that is an error."""
        records([message])
        event = self._reader.read(message.value())
        for_card, for_merchant = self._prefixes
        # Both keys in one round trip: two would cost twice as much.
        found: Any = self._client.mget(
            for_card + event["customer_id"], for_merchant + event["merchant_id"]
        )
        card, no_card = self._card.table(found[:1])
        merchant, no_merchant = self._merchant.table(found[1:])
        row = features(event, card[0].tolist(), merchant[0].tolist())
        matrix = np.array([row], np.float32)
        margin = float(self._model.margins(matrix)[0])
        scored = Scored(
            margin,
            1.0 / (1.0 + math.exp(-margin)),
            matrix[0, self._vector].tolist(),
            int(no_card[0] + 2 * no_merchant[0]),
        )
        now_us = time.time_ns() // 1000
        return self._writer.write(event, message.partition(), message.offset(), scored, now_us)


def features(event: Event, card: list[float], merchant: list[float]) -> list[float]:
    """The 32 features of one event, in the order of the pipeline's features.yaml."""
    amount, channel = event["amount"], event["channel"]
    at = datetime.fromtimestamp(event["tx_time"] / 1000, UTC)
    country = event["country"]
    night, ecom, cash = at.hour <= 6, channel == "ecom", channel == "atm"
    average, std, week, month, _, _ = card
    return [
        amount,
        math.log1p(max(amount, 0)),
        amount % 1,
        amount < 0,
        amount % 10 == 0,
        at.hour,
        at.weekday(),
        at.day,
        at.weekday() >= 5,
        night,
        CHANNELS.get(channel, math.nan),
        CURRENCIES.get(event["currency"], OTHER_CURRENCY),
        COUNTRIES.get(country, OTHER_COUNTRY) if country else math.nan,
        ecom,
        cash,
        country != "DE" if country else math.nan,
        ecom and night,
        amount if cash else 0.0,
        *card,
        *merchant,
        amount / average,
        (amount - average) / max(std, 0.01),
        amount / merchant[1],
        week / max(month / 4, 1),
    ]


def run(task: Task) -> None:
    """Work until asked to stop."""
    scorer = Scorer(task)
    consumer, producer, stop = make_consumer(task), make_producer(task), Stop()
    while not stop:
        message = consumer.poll(0.1)
        if message is None:
            continue
        producer.begin_transaction()
        until, events = time.monotonic() + TRANSACTION_S, 0
        while message is not None:
            producer.produce(task.output_topic, scorer.score(message), message.key())
            events += 1
            if events == TRANSACTION_EVENTS or time.monotonic() > until:
                break
            message = consumer.poll(0.01)
        commit(producer, consumer)
    consumer.close()


if __name__ == "__main__":
    run(given_task())
