"""Score one event at a time, as most streaming programs do, in transactions of up to 100 ms."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

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
    OneScorer,
    Place,
    Profiles,
)
from benchmarks.rivals.task import Task, given_task, one_by_one


class Scorer:
    """Score one decoded event."""

    def __init__(self, task: Task) -> None:
        self._client = redis.Redis.from_url(task.redis_url)
        card, merchant = task.lookups
        self._prefixes = card.prefix, merchant.prefix
        self._card, self._merchant = Profiles(card), Profiles(merchant)
        self._one = OneScorer(task)

    def score(self, event: Event, place: Place) -> bytes:
        """Score the event at this place."""
        for_card, for_merchant = self._prefixes
        # Both keys in one round trip, because two would take twice as long.
        values: Any = self._client.mget(
            for_card + event["customer_id"], for_merchant + event["merchant_id"]
        )
        card, no_card = self._card.table(values[:1])
        merchant, no_merchant = self._merchant.table(values[1:])
        row = features(event, card[0].tolist(), merchant[0].tolist())
        return self._one.score(place, event, row, int(no_card[0] + 2 * no_merchant[0]))


def features(event: Event, card: list[float], merchant: list[float]) -> list[float]:
    """Features of one event, 32 values in the order of the pipeline's features.yaml."""
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
    """Run until a signal asks to stop."""
    reader, scorer = EventReader(task.event_schema_file), Scorer(task)

    def score(message: Message) -> bytes:
        return scorer.score(reader.read(message.value()), (message.partition(), message.offset()))

    one_by_one(task, score)


if __name__ == "__main__":
    run(given_task())
