"""The stations from decode to encode as one pure step: no Kafka, no clock but the one given."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from features.history.log_state import LogState
from features.matrix import Writes
from schemas.batch import Headers, Records
from schemas.errors import ErrorCode, RecordError
from worker.dead_letter import DeadLetter, Stage, dead_letter
from worker.decode import Decode
from worker.encode import Encode
from worker.enrich import Enrich
from worker.publish import SizeLimits, too_large
from worker.score import Model
from worker.serving import Serving

_BEGINNING = LogState()


@dataclass(frozen=True, slots=True, eq=False)
class Processed:
    """What a micro-batch of records became.

    keys, values and headers are parallel: one framed score each, in the order of the records.
    decisions: events by segment and decision; flags: events by name. seconds: time spent in each
    station. writes: what the online store takes before the micro-batch is committed; after: the
    log's state behind it. explained: events that were given reasons; not_additive: those of them
    whose contributions miss the margin. coverage: as `WindowPlan.coverage`, behind it.
    """

    keys: Sequence[bytes | None]
    values: Sequence[bytes]
    headers: Sequence[Headers] | None
    dead_letters: Sequence[DeadLetter]
    model: Model
    decisions: Mapping[tuple[str, str], int]
    flags: Mapping[str, int]
    seconds: Mapping[str, float]
    writes: Writes = field(default_factory=Writes)
    after: LogState = field(default_factory=LogState)
    explained: int = 0
    not_additive: int = 0
    coverage: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Timer:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started


@dataclass(frozen=True, slots=True, eq=False)
class Stages:
    """Calls the stations in their order; they never call each other."""

    decode: Decode
    enrich: Enrich
    serving: Serving
    encode: Encode
    limits: Callable[[], SizeLimits]

    def __call__(self, records: Records, log: LogState = _BEGINNING) -> Processed:
        """What becomes of ``records``; ``log``: the log's state before them.

        Raises DependencyUnavailableError while the online store or the registry is away.
        """
        timer, serving = _Timer(), self.serving
        with timer.stage("decode"):
            batch, letters = self.decode(records)
        with timer.stage("enrich"):
            enriched = self.enrich(batch, log)
        with timer.stage("score"):
            scored = serving.score(enriched)
        with timer.stage("decide"):
            decided = serving.decide(batch, enriched, scored)
        with timer.stage("explain"):
            explained = serving.explain(scored, decided)
        with timer.stage("encode"):
            values = self.encode(batch, enriched, scored, decided, explained)
        keys, headers = batch.records.keys, self.encode.headers(batch)
        refused = too_large(values, keys, headers, self.limits())
        if refused:
            letters += [_output_too_large(batch.records, row, len(values[row])) for row in refused]
            kept = np.setdiff1d(np.arange(len(values)), refused)
            rows = kept.tolist()
            keys, values = [keys[i] for i in rows], [values[i] for i in rows]
            headers = None if headers is None else [headers[i] for i in rows]
            decided = replace(decided, codes=decided.codes[kept], segments=decided.segments[kept])
            enriched = replace(enriched, flags=enriched.flags[kept])
        return Processed(
            keys,
            values,
            headers,
            letters,
            scored.model,
            decided.counts(),
            self.enrich.counts(enriched),
            timer.seconds,
            # An event whose score is too large happened all the same: later events see it.
            enriched.writes,
            enriched.after,
            0 if explained is None else len(explained.rows),
            0 if explained is None else explained.not_additive,
            self.enrich.coverage(enriched),
        )


def _output_too_large(records: Records, row: int, size: int) -> DeadLetter:
    error = RecordError(
        ErrorCode.OUTPUT_TOO_LARGE,
        f"its score takes {size} bytes, more than the output topic allows with key and headers; "
        "carry less (output.carry, output.vector, output.headers) or raise max.message.bytes",
    )
    return dead_letter(records, row, error, Stage.PUBLISH, None)
