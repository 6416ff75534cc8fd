"""Dead letters as read from their topic, and a selection of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from schemas.batch import Headers, Position, Records
from tools.topics.topic_log import TopicLog
from worker.settings import WorkerSettings
from worker.stages.dead_letter import HEADER_PREFIX, REDRIVEN_PREFIX, SHA256_HEADER

_NEEDED = ("topic", "partition", "offset", "code")
# Of the number of redrives, in a header that producers may write as well.
_MOST_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter.

    Attributes:
        at: Its own position.
        written_ms: Time of its writing, in milliseconds since 1970-01-01 UTC.
        source: Position of its record in the input.
        reasons: Headers of the worker, without their prefix.
        key: Key of the record.
        value: Value of the record; None in the oversize form, or for a record without a value.
        own: Headers of the record.
    """

    at: Position
    written_ms: int
    source: Position
    reasons: Mapping[str, str]
    key: bytes | None
    value: bytes | None
    own: Headers

    @property
    def code(self) -> str:
        """Error code of the reason."""
        return self.reasons["code"]

    @property
    def sha256(self) -> str | None:
        """Hash of the value in the oversize form, in hexadecimal; None in the usual form."""
        return self.reasons.get(SHA256_HEADER.removeprefix(HEADER_PREFIX))


def read_letters(records: Records) -> Iterator[Letter | None]:
    """Yield the dead letter of each record; None for a record that is not one of a worker."""
    for row in range(len(records)):
        headers = (records.headers[row] if records.headers else None) or ()
        reasons = {
            name.removeprefix(HEADER_PREFIX): (value or b"").decode(errors="replace")
            for name, value in headers
            if name.startswith(HEADER_PREFIX)
        }
        source = _source(reasons)
        if source is None:
            yield None
            continue
        yield Letter(
            records.position(row),
            int(records.timestamps[row]),
            source,
            reasons,
            records.keys[row],
            records.values[row],
            [(name, value) for name, value in headers if not name.startswith(HEADER_PREFIX)],
        )


def _source(reasons: Mapping[str, str]) -> Position | None:
    if not reasons.keys() >= {*_NEEDED}:
        return None
    try:
        return Position(reasons["topic"], int(reasons["partition"]), int(reasons["offset"]))
    except ValueError:
        return None


def times_redriven(headers: Headers) -> int:
    """Number of times that a record with these headers was redriven."""
    times = dict(headers).get(f"{REDRIVEN_PREFIX}times") or b""
    return int(times) if times.isdigit() and len(times) <= _MOST_DIGITS else 0


@dataclass(frozen=True, slots=True)
class Selection:
    """Dead letters to look at.

    Attributes:
        codes: Error codes; empty for all.
        since_ms: Earliest time of writing, in milliseconds since 1970-01-01 UTC; None for all.
        until_ms: Time before which they were written; None for all.
    """

    codes: frozenset[str] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None

    def has_code(self, letter: Letter) -> bool:
        return not self.codes or letter.code in self.codes

    def has_time(self, letter: Letter) -> bool:
        return (self.since_ms is None or letter.written_ms >= self.since_ms) and (
            self.until_ms is None or letter.written_ms < self.until_ms
        )

    def __contains__(self, letter: Letter) -> bool:
        return self.has_code(letter) and self.has_time(letter)


def open_letters(settings: WorkerSettings) -> TopicLog:
    """Open the dead-letter topic; errors are those of `TopicLog`."""
    kafka, timeout_s = settings.kafka, settings.delivery.broker_timeout_s
    return TopicLog(kafka, "kafka.dead_letter_topic", kafka.dead_letter_topic, timeout_s)
