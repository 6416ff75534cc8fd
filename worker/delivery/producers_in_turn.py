"""Transactional producers used in turn: one writes while the brokers end another's transaction.

The brokers answer a commit when it is decided, and then write a marker to each partition of the
transaction. Until all are written, they refuse the next transaction of the same id, and the client
backs off. Another id does not wait (decision 20).

Offsets follow the order in which they were sent, not that of the markers. So nothing is sent by one
producer before `commit_transaction` of the one before has returned without error.

A commit may have succeeded with a request that the client sent again, after it had lost the
connection. If the first one then arrives in the next transaction of the same producer, the brokers
end that one with it. They refuse it after the id was initialised again (docs: exactly-once).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import KafkaException, Producer

from base.errors import BatchAbortedError, OutcomeUnknownError
from worker.delivery.checkpoint import Channel

PRODUCERS = 4
"""Number of producers in turn; more gain nothing (measured: decision 20)."""
MARKERS_S = 0.05
"""Time after a commit during which its markers may be outstanding (measured: decision 20)."""
IDLE_S = 180.0
"""Brokers and balancers close idle connections after 4 to 10 minutes. The next transaction of such a
producer takes up to 3 s, a new producer 50 ms (measured: decision 20)."""


@dataclass(slots=True, eq=False)
class _Turn:
    """One transactional id.

    Attributes:
        number: Number of the id within the worker.
        channel: Its producer; None if it has to be made before the next use.
        settled: False while a transaction of the id may be open.
        committed_at: Time at which its last commit returned, on the clock.
        used_at: Time at which its producer was last known to be connected, on the clock.
    """

    number: int
    channel: Channel | None = None
    settled: bool = False
    committed_at: float = float("-inf")
    used_at: float = float("-inf")

    def is_stale(self, now: float) -> bool:
        """Return True if the producer has to be replaced before its next use."""
        idle = now - self.used_at > IDLE_S
        return idle or (self.channel is not None and self.channel.connection_lost())

    def discard(self) -> None:
        if self.channel is not None:
            self.channel.discard()
        self.channel = None


class ProducersInTurn:
    """Transactional producers, of which at most one has an open transaction.

    Args:
        make: Makes the producer with a number.
        initialise: Ends the transaction that a predecessor of a producer left open; raises
            KafkaException or DeliveryFatalError.
        count: Number of producers.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        make: Callable[[int], Channel],
        initialise: Callable[[Producer], None],
        count: int = PRODUCERS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._initialise = initialise
        self._clock = clock
        self._turns = [_Turn(number) for number in range(count)]

    def open(self) -> None:
        """Initialise every id that may have an open transaction; call `suspect` before.

        At the start this is every id: the committed offsets are not final while one is open.
        Errors are those of ``initialise``.
        """
        # All are made before the first is initialised, so that they connect at the same time.
        made = [(turn, self._make(turn.number)) for turn in self._turns if not turn.settled]
        for turn, channel in made:
            self._settle(turn, channel)

    def suspect(self) -> None:
        """Discard all producers; each is replaced before its next use."""
        for turn in self._turns:
            turn.discard()

    def close(self) -> None:
        """Discard all producers; `open` has to initialise every id again."""
        self.suspect()
        for turn in self._turns:
            turn.settled = False

    @contextmanager
    def transaction(self) -> Iterator[Channel]:
        """Lend the producer whose turn it is, for one transaction.

        If the block raises, no producer is lent again before `open`.

        Raises:
            OutcomeUnknownError: A transaction may be open; nothing may be sent before `open`.
            BatchAbortedError: The producer cannot be replaced.
        """
        if not all(turn.settled for turn in self._turns):
            raise OutcomeUnknownError("no producer is open")
        turn = self._next()
        if turn.is_stale(self._clock()):
            turn.discard()
        channel = turn.channel or self._replaced(turn)
        channel.reports.clear()
        turn.settled = False
        yield channel
        turn.settled = True
        turn.committed_at = turn.used_at = self._clock()

    def _next(self) -> _Turn:
        """The first id without outstanding markers; if all may have some, the longest idle one."""
        quiet_since = self._clock() - MARKERS_S
        for turn in self._turns:
            if turn.committed_at <= quiet_since:
                return turn
        return min(self._turns, key=lambda turn: turn.committed_at)

    def _replaced(self, turn: _Turn) -> Channel:
        channel = self._make(turn.number)
        turn.settled = False
        try:
            self._settle(turn, channel)
        except KafkaException as error:
            raise BatchAbortedError(f"the producer cannot be replaced: {error}") from error
        return channel

    def _settle(self, turn: _Turn, channel: Channel) -> None:
        self._initialise(channel.producer)
        turn.channel, turn.settled, turn.used_at = channel, True, self._clock()
