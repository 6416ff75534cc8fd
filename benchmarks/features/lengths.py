"""Measure the time for an event by the length of its histories: the engine and sorted sets.

It runs in this process with one Valkey: KEYS customers with a terminal each have histories of
``length`` payments in 30 days, then one micro-batch has an event of each of them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import redis

from base.arrays import Longs
from benchmarks.columns import numbered, text, without_nulls
from benchmarks.features.states import empty
from benchmarks.programs import RunError
from benchmarks.rivals import sorted_sets
from benchmarks.rivals.parts import Event
from benchmarks.testbed import note
from features.compute.bind import bind
from features.compute.enrich import enrich
from features.definition import FeatureSet
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.store.memory import MemoryStore
from features.store.protocol import Hashes, ReadResult
from features.store.redis import RedisStore
from features.values.keys import Keys
from schemas.batch import Decoded, EventBatch, Kind, Records

LENGTHS = (10, 100, 1_000, 10_000)
KEYS = 250
"""Number of events in a micro-batch, each with its own customer and terminal."""
_END_MS = 1_530_000_000_000
_SPAN_MS = 30 * sorted_sets.DAY
_FILL_EVENTS = 50_000
_AT_LEAST_S, _AT_LEAST = 2.0, 3
_APPENDS = 3
_SCORES_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Cost:
    """Median microseconds of wall-clock time per event.

    Attributes:
        length: Number of members in each of its two histories.
        read: Time of the store's read.
        compute: Time of the engine.
        append: Time of the store's append.
        sorted_sets: Total time of the rival that takes one event at a time.
        sorted_sets_batched: Total time of the rival with all events in one pipeline.
    """

    length: int
    read: float
    compute: float
    append: float
    sorted_sets: float
    sorted_sets_batched: float

    @property
    def worker(self) -> float:
        """Total time of the worker."""
        return self.read + self.compute + self.append


class TimedStore(RedisStore):
    """Store that measures the time in ``read_all``, with which features are read."""

    seconds = 0.0

    def read_all(
        self, keys: Sequence[Keys], hashes: Sequence[Hashes] = (), marks: Sequence[bytes] = ()
    ) -> ReadResult:
        began = time.perf_counter()
        answers = super().read_all(keys, hashes, marks)
        self.seconds += time.perf_counter() - began
        return answers


def measure_lengths(feature_set: FeatureSet, url: str) -> list[Cost]:
    """Measure all lengths; empties the store.

    Raises:
        RunError: The engine and the sorted sets compute different features.
    """
    costs = []
    for length in LENGTHS:
        cost = measure_length(feature_set, url, length)
        note(
            f"{length:,} members: {cost.worker:.1f} µs an event, sorted sets {cost.sorted_sets:.1f}"
        )
        costs.append(cost)
    empty(url)
    return costs


def measure_length(feature_set: FeatureSet, url: str, length: int) -> Cost:
    """Measure one length; empties the store.

    Raises:
        RunError: The engine and the sorted sets compute different features.
    """
    empty(url)
    matrix, *of_worker = _worker(feature_set, url, length)
    empty(url)
    _load_sets(url, length)
    sets, some = sorted_sets.SortedSets(url), events(length)
    rows = np.array(sets.rows(some), np.float32)
    if not np.allclose(rows, matrix, rtol=1e-6):
        raise RunError(f"histories of {length}: the engine and the sorted sets do not agree")
    one = _median_s(lambda: [sets.rows([event]) for event in some])
    together = _median_s(lambda: sets.rows(some))
    empty(url)
    return Cost(length, *(seconds / KEYS * 1e6 for seconds in (*of_worker, one, together)))


def batch_of(feature_set: FeatureSet, first: int, rounds: range, length: int) -> EventBatch:
    """Batch with one event of every key in each round; round ``length`` ends the time span."""
    n = len(rounds) * KEYS
    keys = np.tile(np.arange(KEYS, dtype=np.int64), len(rounds))
    at = np.repeat(np.array([round_ms(i, length) for i in rounds], np.int64), KEYS)
    numbers = np.arange(first, first + n)
    columns = {
        "transaction_id": text(numbered("tx", numbers, 9)),
        "tx_time": without_nulls(Kind.TIME, at * 1000),
        "customer_id": text(numbered("", keys, 4)),
        "terminal_id": text(numbered("", keys, 4)),
        "amount": without_nulls(Kind.DOUBLE, cents_of(numbers) / 100),
    }
    zeros = np.zeros(n, np.int32)
    nothing: list[bytes | None] = [None] * n
    records = Records("bench", nothing, nothing, zeros, numbers, numbers)
    batch, errors = bind(feature_set, records, Decoded(columns, {}))
    if errors:
        raise RunError(f"synthetic events are invalid: {next(iter(errors.values()))}")
    return batch


def events(length: int) -> list[Event]:
    """Events of round ``length``, as the rivals decode them."""
    numbers = np.arange(length * KEYS, (length + 1) * KEYS)
    return [
        {
            "transaction_id": f"tx{number:09}",
            "tx_time": round_ms(length, length),
            "customer_id": f"{key:04}",
            "terminal_id": f"{key:04}",
            "amount": cents / 100,
        }
        for key, (number, cents) in enumerate(
            zip(numbers.tolist(), cents_of(numbers).tolist(), strict=True)
        )
    ]


def round_ms(number: int, length: int) -> int:
    """Time of the events of a round: evenly over the span, never at a window's bounds."""
    return _END_MS - _SPAN_MS + (2 * number + 1) * _SPAN_MS // (2 * length + 2)


def cents_of(numbers: Longs) -> Longs:
    """Amount of each event, from its number."""
    return 100 + numbers * 7919 % 19_901


def _worker(
    feature_set: FeatureSet, url: str, length: int
) -> tuple[npt.NDArray[np.float32], float, float, float]:
    """Features, and seconds to read, compute and append."""
    namespace = replace(Namespace.local(feature_set.name), state="bench")
    store = TimedStore(url, timeout_s=60.0)
    log, first = LogState(), 0
    step = max(1, _FILL_EVENTS // KEYS)
    for start in range(0, length, step):
        # What a batch appends does not depend on what the store holds.
        batch = batch_of(feature_set, first, range(start, min(start + step, length)), length)
        enriched = enrich(feature_set, batch, MemoryStore(), log, namespace)
        store.append(enriched.writes.appends)
        log, first = enriched.after, first + len(batch)
    batch = batch_of(feature_set, first, range(length, length + 1), length)
    enriched = enrich(feature_set, batch, store, log, namespace)
    reads: list[float] = []

    def once() -> None:
        store.seconds = 0.0
        enrich(feature_set, batch, store, log, namespace)
        reads.append(store.seconds)

    total = _median_s(once)
    read = statistics.median(reads)
    if not read:
        raise RunError("the read time was not measured: features were not read with read_all")
    writes = enriched.writes
    append = _median_s(lambda: store.append(writes.appends, writes.compactions), times=_APPENDS)
    store.close()
    return enriched.matrix, read, total - read, append


def _load_sets(url: str, length: int) -> None:
    numbers = np.arange(length * KEYS).reshape(length, KEYS)
    cents = cents_of(numbers)
    at = [round_ms(i, length) for i in range(length)]
    with redis.Redis.from_url(url, socket_timeout=60) as client:
        for key in range(KEYS):
            name = f"{key:04}"
            ids = [f"tx{number:09}" for number in numbers[:, key].tolist()]
            payments = list(map(sorted_sets.payment, ids, cents[:, key].tolist()))
            pipeline = client.pipeline(transaction=False)
            for first in range(0, length, _SCORES_AT_ONCE):
                some = slice(first, first + _SCORES_AT_ONCE)
                for set_key, members in (
                    (sorted_sets.customer_key(name), payments),
                    (sorted_sets.terminal_key(name), ids),
                ):
                    pipeline.zadd(set_key, dict(zip(members[some], at[some], strict=True)))
            pipeline.execute()


def _median_s(work: Callable[[], object], times: int | None = None) -> float:
    """Median seconds of ``times`` runs; by default of the runs in two seconds, at least three."""
    took: list[float] = []
    while len(took) < (times or _AT_LEAST) or (times is None and sum(took) < _AT_LEAST_S):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return statistics.median(took)
