"""Produce transactions at a constant rate from a thread; some are invalid."""

from __future__ import annotations

import io
import json
import random
import threading
import time
from collections import deque
from typing import Any

import fastavro
from confluent_kafka import KafkaException, Producer

from tests.support.rig import ROOT, Rig

_SCHEMA_ID = 1
_TICK_S = 0.01
_FLUSH_S = 120.0
_CUSTOMERS, TERMINALS = 200, 400
FIRST_TIME_MS = 1_522_540_800_000  # 2018-04-01 UTC
STEP_MS = 1_000
_BAD_SHARE = 0.01
_HEADERS_SHARE = 0.02
_DELAYED_SHARE, _LONGEST_DELAY_MS = 0.05, 600_000
_AGAIN_SHARE, _REMEMBERED = 0.02, 50
_COUNTRIES = ("BE", "FR", "LU", "NL", None)


class Load:
    """Producer of transactions to the rig's input topic, reproducible by seed.

    Successive events are one second of event time apart. A few customers have most of the events.
    Some events are up to ten minutes late, and some are sent twice.

    Args:
        rig: Pipeline on real servers.
        seed: Seed of all choices.
        rate: Records per second.

    Attributes:
        sent: Number of records.
        schema_id: Schema id of the next records.
    """

    def __init__(self, rig: Rig, seed: int, rate: float) -> None:
        self._topic = rig.topics["input"]
        self._random = random.Random(seed)
        self._rate = rate
        schema = json.loads((ROOT / "schemas" / "transaction.avsc").read_text())
        self._schema = fastavro.parse_schema(schema)
        self._producer = Producer(
            {
                "bootstrap.servers": rig.bootstrap,
                "partitioner": "murmur2_random",
                "acks": "all",
                "linger.ms": 5,
                "message.timeout.ms": 120_000,
                "queue.buffering.max.messages": 1_000_000,
                "log_level": 0,
            }
        )
        self.sent = 0
        self.schema_id = _SCHEMA_ID
        self._recent: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait until all records are acknowledged.

        Raises:
            TimeoutError: Some records were not acknowledged.
            Exception: The error that ended the load before.
        """
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._failure is not None:
            raise self._failure
        if left := self._producer.flush(_FLUSH_S):
            raise TimeoutError(f"{left} records of the load were not acknowledged")

    def send(self, count: int) -> None:
        """Send ``count`` records at once, and wait until they are acknowledged; without ``start``."""
        for _ in range(count):
            self._send_one()
        if left := self._producer.flush(_FLUSH_S):
            raise TimeoutError(f"{left} records of the load were not acknowledged")

    def _run(self) -> None:
        try:
            self._send_until_stopped()
        except Exception as error:  # noqa: BLE001 - `stop` raises it
            self._failure = error

    def _send_until_stopped(self) -> None:
        started, before = time.monotonic(), self.sent
        while not self._stopping.wait(_TICK_S):
            due = before + int((time.monotonic() - started) * self._rate)
            while self.sent < due:
                self._send_one()
            self._producer.poll(0)

    def _send_one(self) -> None:
        event = self._event()
        value: bytes | None = self._framed(event)
        if self._random.random() < _BAD_SHARE:
            value = self._broken(event)
        headers: Any = [("trace", str(self.sent).encode())]
        self._produce(
            value,
            event["customer_id"].encode(),
            headers if self._random.random() < _HEADERS_SHARE else None,
        )
        self.sent += 1

    def _produce(self, value: bytes | None, key: bytes, headers: Any) -> None:
        until = time.monotonic() + _FLUSH_S
        while True:
            try:
                self._producer.produce(self._topic, value, key, headers=headers)
            except KafkaException:
                # A broker that has just started may respond that the topic does not exist.
                if time.monotonic() > until:
                    raise
                self._producer.poll(_TICK_S)
            else:
                return

    def _event(self) -> dict[str, Any]:
        draw = self._random
        now_ms = FIRST_TIME_MS + STEP_MS * self.sent
        if self._recent and draw.random() < _AGAIN_SHARE:
            again: dict[str, Any] = draw.choice(self._recent) | {"tx_time": now_ms}
            return again
        delay_ms = draw.randrange(_LONGEST_DELAY_MS) if draw.random() < _DELAYED_SHARE else 0
        event = {
            "transaction_id": f"tx-{self.sent}",
            # Whole seconds, so that many events have the same time.
            "tx_time": now_ms - delay_ms // 1000 * 1000,
            "customer_id": str(int(_CUSTOMERS * draw.random() ** 3)),
            "terminal_id": str(draw.randrange(TERMINALS)),
            "amount": round(draw.lognormvariate(3.5, 1.0), 2),
            "country": draw.choice(_COUNTRIES),
        }
        self._recent.append(event)
        return event

    def _framed(self, event: dict[str, Any]) -> bytes:
        body = io.BytesIO()
        fastavro.schemaless_writer(body, self._schema, event)
        return b"\x00" + self.schema_id.to_bytes(4, "big") + body.getvalue()

    def _broken(self, event: dict[str, Any]) -> bytes | None:
        """Invalid record of one of several kinds."""
        good = self._framed(event)
        return self._random.choice(
            (
                None,
                b"",
                good[:3],
                good[:-4],
                good + b"\x00",
                b"\x07" + good[1:],
                b"\x00\x00\x00\x03\xe7" + good[5:],
                self._framed(event | {"amount": float("nan")}),
                self._framed(event | {"transaction_id": ""}),
            )
        )
