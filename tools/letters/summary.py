"""Summary of dead letters by code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from base.errors import ErrorCode
from base.times import utc
from schemas.batch import Position
from tools.letters.letter import Letter, Selection, read_letters, times_redriven
from tools.topics.topic_log import TopicLog

_MEANINGS = {code.value: code.meaning for code in ErrorCode}
_POSITION = ("topic", "partition", "offset")


@dataclass(slots=True)
class CodeSummary:
    """Dead letters with one code.

    Attributes:
        count: Number of dead letters.
        first_ms: Time at which the first was written, in milliseconds since 1970-01-01 UTC.
        last_ms: Time at which the last was written.
        example: Position in the input of the record of the last.
    """

    count: int
    first_ms: int
    last_ms: int
    example: Position


@dataclass(slots=True)
class Summary:
    """Dead letters by code.

    Attributes:
        codes: Summary of each code.
        redriven: Number of dead letters whose record had been redriven before.
        others: Number of records that are not dead letters of a worker.
    """

    codes: dict[str, CodeSummary] = field(default_factory=dict)
    redriven: int = 0
    others: int = 0

    def add(self, letter: Letter) -> None:
        at = letter.written_ms
        known = self.codes.setdefault(letter.code, CodeSummary(0, at, at, letter.source))
        known.count += 1
        known.first_ms = min(known.first_ms, at)
        if at >= known.last_ms:
            known.last_ms, known.example = at, letter.source
        self.redriven += times_redriven(letter.own) > 0

    @property
    def count(self) -> int:
        """Number of dead letters."""
        return sum(code.count for code in self.codes.values())

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row of each code, the most frequent first."""
        total = self.count
        for code, one in sorted(self.codes.items(), key=lambda item: (-item[1].count, item[0])):
            yield {
                "code": code,
                "count": one.count,
                "share": one.count / total,
                "first": iso(one.first_ms),
                "last": iso(one.last_ms),
                "example": shown(one.example),
                "meaning": _MEANINGS.get(code, ""),
            }

    def as_json(self) -> dict[str, Any]:
        return {
            "letters": self.count,
            "redriven_before": self.redriven,
            "others": self.others,
            "codes": [*self.rows()],
        }


def summarize(log: TopicLog, selection: Selection, advance: Callable[[int, int], None]) -> Summary:
    """Read a dead-letter topic to its end; errors are those of `TopicLog`."""
    summary = Summary()
    for letter in _letters(log, advance):
        if letter is None:
            summary.others += 1
        elif letter in selection:
            summary.add(letter)
    return summary


def find(log: TopicLog, at: Position, advance: Callable[[int, int], None]) -> list[Letter]:
    """Find the dead letters of the record at a position, or the one that is at the position."""
    return [
        letter
        for letter in _letters(log, advance)
        if letter is not None and at in (letter.source, letter.at)
    ]


def _letters(log: TopicLog, advance: Callable[[int, int], None]) -> Iterator[Letter | None]:
    read, total = 0, log.count()
    for records in log:
        yield from read_letters(records)
        read += len(records)
        advance(read, total)


def described(letter: Letter, *, payload: bool) -> dict[str, Any]:
    """All of one dead letter, without key, value and values of headers unless ``payload``.

    Bytes are in hexadecimal: the value may not be decodable.
    """
    what: dict[str, Any] = {
        "at": shown(letter.at),
        "written": iso(letter.written_ms),
        "source": shown(letter.source),
        **{name: text for name, text in letter.reasons.items() if name not in _POSITION},
        "times_redriven": times_redriven(letter.own),
        "headers": [name for name, _ in letter.own],
        "key_bytes": _length(letter.key),
        "value_bytes": _length(letter.value),
    }
    if payload:
        what["headers"] = [[name, value and value.hex()] for name, value in letter.own]
        what["key_hex"] = letter.key and letter.key.hex()
        what["value_hex"] = letter.value and letter.value.hex()
    return what


def _length(content: bytes | None) -> int | None:
    return None if content is None else len(content)


def iso(milliseconds: int) -> str:
    """A time in UTC as ISO 8601, in seconds."""
    return utc(milliseconds * 1000).isoformat(timespec="seconds")


def shown(at: Position) -> str:
    """A position as the command line takes it."""
    return f"{at.topic}:{at.partition}:{at.offset}"
