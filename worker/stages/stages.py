"""The stages from decode to encode as one pure step: no Kafka, no clock but the one given."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from base.errors import ErrorCode, RecordError
from features.compute.matrix import count_flags
from features.history.watermarks import LogState
from features.store.protocol import Writes
from features.windows.plan import AHEAD
from schemas.batch import Headers, Records
from worker.delivery.publish import SizeLimits, too_large, without_key
from worker.stages.dead_letter import DeadLetter, Stage, dead_letter
from worker.stages.decide import Decided
from worker.stages.decode import Decode
from worker.stages.encode import Encode
from worker.stages.enrich import Enrich
from worker.stages.score import Model
from worker.stages.serving import Serving

_BEGINNING = LogState()


@dataclass(frozen=True, slots=True, eq=False)
class Processed:
    """Result of the stages for a micro-batch of records.

    ``records``, ``keys``, ``values``, ``headers``, ``decided`` and ``flag_bits`` are parallel: one
    entry for each score, in the order of the records.

    Attributes:
        records: Records that have a score.
        keys: Keys of the scores.
        values: Framed scores.
        headers: Headers of the scores; None where there are none.
        dead_letters: Dead letters of the other records.
        model: Model that gave the scores.
        decided: Decisions.
        flag_bits: uint64[N], flags of the events.
        flag_names: Names of the flags; name i is that of bit i.
        seconds: Time spent in each stage, in seconds.
        writes: Members that the online store takes before the micro-batch is committed.
        after: State of the log behind the micro-batch.
        explained: Number of events that were given reasons.
        not_additive: Number of those whose contributions do not add up to the margin.
        coverage: As `WindowPlan.coverage`, behind the micro-batch.
    """

    records: Records
    keys: Sequence[bytes | None]
    values: Sequence[bytes]
    headers: Sequence[Headers] | None
    dead_letters: Sequence[DeadLetter]
    model: Model
    decided: Decided
    flag_bits: npt.NDArray[np.uint64]
    flag_names: Sequence[str]
    seconds: Mapping[str, float]
    writes: Writes = field(default_factory=Writes)
    after: LogState = field(default_factory=LogState)
    explained: int = 0
    not_additive: int = 0
    coverage: Mapping[str, float] = field(default_factory=dict)

    @property
    def decisions(self) -> Mapping[tuple[str, str], int]:
        """Events by segment and decision."""
        return self.decided.counts()

    @property
    def flags(self) -> Mapping[str, int]:
        """Events by flag."""
        return count_flags(self.flag_bits, self.flag_names)

    @property
    def ahead(self) -> dict[int, npt.NDArray[np.bool_]]:
        """For each partition bool[N], true for its scored events that are ahead of time."""
        if AHEAD not in self.flag_names:
            return {}
        bit, of = np.uint64(self.flag_names.index(AHEAD)), self.records.partitions
        ahead = (self.flag_bits >> bit & np.uint64(1)).astype(np.bool_)
        return {partition: ahead[of == partition] for partition in np.unique(of).tolist()}

    def with_letters(self, letters: Mapping[int, DeadLetter]) -> Self:
        """The same micro-batch, with a dead letter in place of the score of some rows.

        An event whose score is not taken happened all the same: later events see it.
        """
        if not letters:
            return self
        kept = np.setdiff1d(np.arange(len(self.values)), list(letters))
        rows = kept.tolist()
        return replace(
            self,
            records=self.records.take(kept),
            keys=[self.keys[i] for i in rows],
            values=[self.values[i] for i in rows],
            headers=None if self.headers is None else [self.headers[i] for i in rows],
            # In the order of their partitions, whatever stage they come from.
            dead_letters=sorted(
                [*self.dead_letters, *letters.values()],
                key=lambda letter: (letter.position.partition, letter.position.offset),
            ),
            decided=replace(
                self.decided,
                codes=self.decided.codes[kept],
                segments=self.decided.segments[kept],
            ),
            flag_bits=self.flag_bits[kept],
        )


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
    """Calls the stages in their order; they never call each other."""

    decode: Decode
    enrich: Enrich
    serving: Serving
    encode: Encode
    limits: Callable[[], SizeLimits]

    def __call__(self, records: Records, log: LogState = _BEGINNING) -> Processed:
        """Run the stages on ``records``.

        Args:
            records: Records of a micro-batch.
            log: State of the log before them.

        Raises:
            DependencyUnavailableError: The online store or the registry is away.
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
        processed = Processed(
            batch.records,
            batch.records.keys,
            values,
            self.encode.headers(batch),
            letters,
            scored.model,
            decided,
            enriched.flags,
            self.enrich.feature_set.flag_names,
            timer.seconds,
            enriched.writes,
            enriched.after,
            0 if explained is None else len(explained.rows),
            0 if explained is None else explained.not_additive,
            self.enrich.coverage(enriched),
        )
        return processed.with_letters(not_taken(processed, self.limits()))


def not_taken(processed: Processed, limits: SizeLimits) -> dict[int, DeadLetter]:
    """Dead letters in place of the scores that the output topic is known not to take."""
    values = processed.values
    errors = dict.fromkeys(without_key(processed.keys, limits), _KEYLESS)
    for row in too_large(values, processed.keys, processed.headers, limits):
        errors[row] = score_too_large(len(values[row]))
    return {
        row: dead_letter(processed.records, row, error, Stage.PUBLISH, None)
        for row, error in errors.items()
    }


_KEYLESS = RecordError(
    ErrorCode.OUTPUT_REFUSED,
    "it has no key, and the output topic is compacted and takes no score without one; key the "
    "records of the input topic, or set cleanup.policy of the output topic to delete",
)


def score_too_large(size: int) -> RecordError:
    """The error of a record whose score of ``size`` bytes the output topic does not take."""
    return RecordError(
        ErrorCode.OUTPUT_TOO_LARGE,
        f"its score takes {size} bytes, more than the output topic allows with key and headers; "
        "carry less (output.carry, output.vector, output.headers) or raise max.message.bytes",
    )
