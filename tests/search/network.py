"""Simulated requests: each may be lost, answered by nobody, arrive late, or arrive twice."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import KafkaError

from tests.search.scheduler import Killed, Scheduler, pick
from tests.support.fakes import kafka_error

T = TypeVar("T")

_LOST, _UNANSWERED, _LATE, _TWICE = "lost", "unanswered", "late", "twice"
_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Late:
    """A request that still travels, although nobody waits for its answer."""

    name: str
    land: Callable[[], object]


class Network:
    """Requests of all processes, and what happens to them.

    Args:
        rng: Generator of all choices.
        scheduler: Scheduler whose tasks make the requests.
        faults: Probability that something happens to a request.
        note: Writes a line of the journal; None without a journal.

    Attributes:
        late: Requests that still travel.
        faults: As above; 0 ends them.
    """

    def __init__(
        self,
        rng: random.Random,
        scheduler: Scheduler,
        faults: float,
        note: Callable[[str], None] | None,
    ) -> None:
        self.late: list[Late] = []
        self.faults = faults
        self._rng = rng
        self._scheduler = scheduler
        self._note = note

    def request(
        self,
        name: str,
        land: Callable[[], T],
        *,
        on_connection_lost: Callable[[], None] | None = None,
    ) -> T:
        """Make a request of the brokers, and return what ``land`` returns when it arrives.

        Args:
            name: Name of the request, for the journal.
            land: Its effect; raises the brokers' error.
            on_connection_lost: Called when the client loses the connection and sends the request
                again; None for a client that does not.

        Raises:
            KafkaException: The brokers' error, or a timeout.
        """
        fault = self._fault(twice=on_connection_lost is not None)
        try:
            self._scheduler.pause()
        except Killed:
            # The request may have been sent before.
            if self._rng.random() < 0.5:
                self.late.append(Late(name, land))
            raise
        if fault in (_LATE, _TWICE):
            self.late.append(Late(name, land))
        if fault in (_LATE, _LOST):
            self._time_out(name, fault)
        if fault == _TWICE and on_connection_lost is not None:
            self.say(f"{name} is sent twice; the first one is late")
            on_connection_lost()
        try:
            answer = land()
        except Exception as error:
            self.say(f"{name}: {error!r:.80}")
            self._scheduler.pause()
            raise
        self.say(name)
        if fault == _UNANSWERED:
            self._time_out(name, fault)
        self._scheduler.pause()
        return answer

    def land_one(self) -> None:
        """Let one of the late requests arrive; nobody hears its answer."""
        late = self.late.pop(int(self._rng.random() * len(self.late)))
        try:
            late.land()
        except Exception as error:  # noqa: BLE001 - an answer that nobody waits for
            self.say(f"late {late.name} arrives and is refused: {error!r:.60}")
        else:
            self.say(f"late {late.name} arrives")

    def _fault(self, *, twice: bool) -> str:
        if self._rng.random() >= self.faults:
            return ""
        return pick(self._rng, (_LOST, _UNANSWERED, _LATE, *((_TWICE, _TWICE) if twice else ())))

    def _time_out(self, name: str, fault: str) -> Any:
        self.say(f"{name} times out ({fault})")
        self._scheduler.sleep(pick(self._rng, (0.0, _TIMEOUT_S)))
        raise kafka_error(KafkaError._TIMED_OUT, retriable=True)

    def say(self, text: str) -> None:
        if self._note is not None:
            self._note(text)
