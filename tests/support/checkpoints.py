"""Checkpoints on fake producers, and an outbox for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from base.errors import DeliveryError
from tests.support.fakes import FakeProducer
from worker.delivery.checkpoint import Checkpoint, Destination
from worker.delivery.publish import Outbox, SizeLimits
from worker.delivery.reports import Reports
from worker.process.watchdog import Watchdog

METADATA = {0: "metadata of 0", 2: "metadata of 2"}
OUTBOX = Outbox([b"k"], [b"v"], None, [], {0: 5, 2: 9}, "metadata", 3, METADATA)
LIMITS = SizeLimits(1_000_000, 1_000_000)


class Guards(Watchdog):
    """Names the calls that were guarded."""

    def __init__(self) -> None:
        super().__init__(100.0)
        self.guarded: list[str] = []

    @contextmanager
    def guard(self, call: str) -> Iterator[None]:
        self.guarded.append(call)
        with super().guard(call):
            yield


def destination(
    watchdog: Watchdog | None = None, refresh: Callable[[], object] = lambda: None
) -> Destination:
    return Destination(
        topics=("in", "scores", "dead"),
        limits=lambda: LIMITS,
        refresh_limits=refresh,
        timeout_s=5.0,
        watchdog=watchdog or Guards(),
    )


def use(producer: FakeProducer, reports: Reports) -> Any:
    producer.on_delivery = reports.on_score
    return producer


def refusal(checkpoint: Checkpoint, outbox: Outbox = OUTBOX) -> DeliveryError:
    """The error of a delivery."""
    with pytest.raises(DeliveryError) as raised:
        checkpoint.deliver(outbox)
    return raised.value
