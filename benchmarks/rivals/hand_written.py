"""A good hand-written batch loop, as a careful engineer writes it without this project.

It decodes record by record with fastavro, and for each batch needs one MGET, features on numpy
columns, one prediction and one transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import redis
from confluent_kafka import Message

from base.arrays import Floats
from benchmarks.rivals.parts import (
    CHANNELS,
    COUNTRIES,
    CURRENCIES,
    FEATURES,
    OTHER_COUNTRY,
    OTHER_CURRENCY,
    BatchScorer,
    Event,
    EventReader,
    Profiles,
)
from benchmarks.rivals.task import Task, given_task, in_batches


class Lookups:
    """Read the profiles of a batch's cards and merchants with one MGET of the distinct keys."""

    def __init__(self, task: Task) -> None:
        self._client = redis.Redis.from_url(task.redis_url)
        card, merchant = task.lookups
        self._prefixes = card.prefix, merchant.prefix
        self._card, self._merchant = Profiles(card), Profiles(merchant)

    def read(self, events: list[Event]) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
        """Read the profiles of N events.

        Returns:
            float64[values, N] of the cards, float64[values, N] of the merchants, and int64[N], bits
            of the missing profiles (1: card, 2: merchant).
        """
        cards = {event["customer_id"]: 0 for event in events}
        merchants = {event["merchant_id"]: 0 for event in events}
        for_card, for_merchant = self._prefixes
        keys = [for_card + key for key in cards] + [for_merchant + key for key in merchants]
        values: Any = self._client.mget(keys)
        card, no_card = self._card.table(values[: len(cards)])
        merchant, no_merchant = self._merchant.table(values[len(cards) :])
        for known in (cards, merchants):
            known.update(zip(known, range(len(known)), strict=True))
        card_rows = [cards[event["customer_id"]] for event in events]
        merchant_rows = [merchants[event["merchant_id"]] for event in events]
        missing = no_card[card_rows] + 2 * no_merchant[merchant_rows]
        return card[card_rows].T, merchant[merchant_rows].T, missing


def features(events: list[Event], card: Floats, merchant: Floats) -> npt.NDArray[np.float32]:
    """Features of N events, float32[N, 32], in the order of the pipeline's features.yaml."""
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


class Scorer:
    """Score a batch of events, from bytes to bytes."""

    def __init__(self, task: Task) -> None:
        self._reader, self._lookups = EventReader(task.event_schema_file), Lookups(task)
        self._batch = BatchScorer(task)

    def score(self, messages: list[Message]) -> Iterator[bytes]:
        """Score each message."""
        events = [self._reader.read(message.value()) for message in messages]
        card, merchant, missing = self._lookups.read(events)
        matrix = features(events, card, merchant)
        return self._batch.score(messages, events, matrix, missing.tolist())


def run(task: Task) -> None:
    """Run until a signal asks to stop."""
    in_batches(task, Scorer(task).score)


if __name__ == "__main__":
    run(given_task())
