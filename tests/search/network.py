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
_KINDS = (_LOST, _UNANSWERED, _LATE, _TWICE)
_TIMEOUT_S = 1.0
_LATEST = 100


@dataclass(frozen=True)
class Late:
    """A request that still travels, although nobody waits for its answer.

    Attributes:
        name: Name of the request.
        land: Its effect.
        after: Step of the scheduler after which it arrives.
    """

    name: str
    land: Callable[[], object]
    after: int


class Network:
    """Requests of all processes, and what happens to them.

    Args:
        rng: Generator of all choices.
        scheduler: Scheduler whose tasks make the requests.
        faults: Probability that something happens to a request; what, is drawn for each schedule.
        note: Writes a line of the journal.

    Attributes:
        is_calm: True once nothing happens to requests any more.
    """

    def __init__(
        self,
        rng: random.Random,
        scheduler: Scheduler,
        faults: float,
        note: Callable[[str], None],
    ) -> None:
        self._late: list[Late] = []
        self.is_calm = False
        self._faults = faults
        # Faults hide each other: a request that is lost does not arrive late.
        self._kinds = tuple(kind for kind in _KINDS if rng.random() < 0.5) or _KINDS
        self._rng = rng
        self._scheduler = scheduler
        self.say = note

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
                self.delay(name, land)
            raise
        if fault in (_LATE, _TWICE):
            self.delay(name, land)
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

    def delay(self, name: str, land: Callable[[], object]) -> None:
        """Let a request arrive later, when nobody waits for its answer any more."""
        after = self._scheduler.steps + int(self._rng.random() * _LATEST)
        self._late.append(Late(name, land, after))

    def land_late(self) -> bool:
        """Let one of the late requests arrive, if it is time for one."""
        for late in self._late:
            if late.after < self._scheduler.steps or self.is_calm:
                self._late.remove(late)
                self._land(late)
                return True
        return False

    def _land(self, late: Late) -> None:
        try:
            late.land()
        except Exception as error:  # noqa: BLE001 - an answer that nobody waits for
            self.say(f"late {late.name} arrives and is refused: {error!r:.60}")
        else:
            self.say(f"late {late.name} arrives")

    def fails(self) -> bool:
        """Draw if something happens to a request."""
        return not self.is_calm and self._rng.random() < self._faults

    def _fault(self, *, twice: bool) -> str:
        if not self.fails():
            return ""
        kind = pick(self._rng, self._kinds)
        return kind if twice or kind != _TWICE else ""

    def _time_out(self, name: str, fault: str) -> Any:
        self.say(f"{name} times out ({fault})")
        self._scheduler.sleep(pick(self._rng, (0.0, _TIMEOUT_S)))
        raise kafka_error(KafkaError._TIMED_OUT, retriable=True)
