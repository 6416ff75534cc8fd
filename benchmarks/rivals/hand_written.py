"""A good batch loop written by hand: what a careful engineer writes without this project.

Avro with fastavro, record by record; one MGET for a batch; features on numpy columns; one predict;
one transaction for a batch.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt
import redis

from benchmarks.rivals.parts import (
    CHANNELS,
    COUNTRIES,
    CURRENCIES,
    FEATURES,
    OTHER_COUNTRY,
    OTHER_CURRENCY,
    Event,
    EventReader,
    Floats,
    Model,
    Profiles,
    Scored,
    ScoreWriter,
)
from benchmarks.rivals.task import (
    BATCH_EVENTS,
    Stop,
    Task,
    commit,
    given_task,
    make_consumer,
    make_producer,
    records,
)


class Lookups:
    """Profiles of the cards and merchants of a batch: one MGET over the distinct keys."""

    def __init__(self, task: Task) -> None:
        self._client = redis.Redis.from_url(task.redis_url)
        self._prefixes = task.card.prefix, task.merchant.prefix
        self._card, self._merchant = Profiles(task.card), Profiles(task.merchant)

    def read(self, events: list[Event]) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
        """float64[values, N] of cards and of merchants; int64[N], which of them are missing."""
        cards = {event["customer_id"]: 0 for event in events}
        merchants = {event["merchant_id"]: 0 for event in events}
        for_card, for_merchant = self._prefixes
        keys = [for_card + key for key in cards] + [for_merchant + key for key in merchants]
        found: Any = self._client.mget(keys)
        card, no_card = self._card.table(found[: len(cards)])
        merchant, no_merchant = self._merchant.table(found[len(cards) :])
        for known in (cards, merchants):
            known.update(zip(known, range(len(known)), strict=True))
        card_rows = [cards[event["customer_id"]] for event in events]
        merchant_rows = [merchants[event["merchant_id"]] for event in events]
        missing = no_card[card_rows] + 2 * no_merchant[merchant_rows]
        return card[card_rows].T, merchant[merchant_rows].T, missing


def features(events: list[Event], card: Floats, merchant: Floats) -> npt.NDArray[np.float32]:
    """float32[N, 32], in the order of the pipeline's features.yaml."""
    amount = np.array([event["amount"] for event in events])
    minutes = np.array([event["tx_time"] for event in events]) // 60_000
    channel = np.array([CHANNELS.get(event["channel"], np.nan) for event in events])
    currency = np.array([CURRENCIES.get(event["currency"], OTHER_CURRENCY) for event in events])
    countries = [event["country"] for event in events]
    country = np.array([COUNTRIES.get(c, OTHER_COUNTRY) if c else np.nan for c in countries])
    hour, weekday = minutes // 60 % 24, (minutes // 1440 + 3) % 7
    dates = (minutes // 1440).astype("datetime64[D]")
    day = (dates - dates.astype("datetime64[M]")).astype(int) + 1
    night, ecom, cash = hour <= 6, channel == 1.0, channel == 2.0
    card_average, card_std, card_week, card_month, _, _ = card
    columns = (
        amount,
        np.log1p(np.maximum(amount, 0)),
        amount % 1,
        amount < 0,
        amount % 10 == 0,
        hour,
        weekday,
        day,
        weekday >= 5,
        night,
        channel,
        currency,
        country,
        ecom,
        cash,
        np.where(np.isnan(country), np.nan, country != 0.0),
        ecom & night,
        np.where(cash, amount, 0.0),
        *card,
        *merchant,
        amount / card_average,
        (amount - card_average) / np.maximum(card_std, 0.01),
        amount / merchant[1],
        card_week / np.maximum(card_month / 4, 1),
    )
    matrix = np.empty((len(events), FEATURES), np.float32)
    for place, column in enumerate(columns):
        matrix[:, place] = column
    return matrix


def run(task: Task) -> None:
    """Work until asked to stop."""
    reader, lookups = EventReader(task.event_schema_file), Lookups(task)
    model, writer = Model(task), ScoreWriter(task)
    columns = list(task.score.vector.values())
    consumer, producer, stop = make_consumer(task), make_producer(task), Stop()
    while not stop:
        messages = records(consumer.consume(BATCH_EVENTS, 0.1))
        if not messages:
            continue
        events = [reader.read(message.value()) for message in messages]
        card, merchant, missing = lookups.read(events)
        matrix = features(events, card, merchant)
        margins = model.margins(matrix)
        scores = 1.0 / (1.0 + np.exp(-margins.astype(np.float64)))
        scored = map(
            Scored,
            margins.tolist(),
            scores.tolist(),
            matrix[:, columns].tolist(),
            missing.tolist(),
        )
        now_us = time.time_ns() // 1000
        producer.begin_transaction()
        for message, event, one in zip(messages, events, scored, strict=True):
            value = writer.write(event, message.partition(), message.offset(), one, now_us)
            producer.produce(task.output_topic, value, message.key())
        commit(producer, consumer)
    consumer.close()


if __name__ == "__main__":
    run(given_task())
