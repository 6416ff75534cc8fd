"""Random values of records: events at every bound, and invalid bytes."""

from __future__ import annotations

import random
import struct
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.payments import (
    INCOMPATIBLE_ID,
    MAX_ITEMS,
    SCHEMA_ID,
    bad_records,
    body,
    framed,
    text,
    varint,
)
from tests.unit.schemas.avro_cases import mutated

Kinds = dict[str, Callable[[], bytes | None]]

_FIRST_TIME_MS, _STEP_MS = 1_700_000_000_000, 1_000
_YEAR_2000_MS, _YEAR_2100_MS = 946_684_800_000, 4_102_444_800_000
_LONGEST_KEY = 1024
_SOME_BYTES = 400
_REPEATED_ID = "the-same-one"
_TIMES_MS = (
    *(bound + step for bound in (0, _YEAR_2000_MS, _YEAR_2100_MS) for step in (-1, 0, 1)),
    -(2**63),
    2**53,
    2**63 - 1,
)
_AMOUNTS = (0.0, -0.0, 5e-324, 1e15, 9e16, -1e300, 1.7e308, float("nan"), float("-inf"))
_IDS = (1, 2, SCHEMA_ID + 1, INCOMPATIBLE_ID, 0, 2**31 - 1, 2**31, 2**32 - 1)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Maximum record size of each topic, and maximum value that the worker decodes, in bytes."""

    input: int
    scores: int
    dead_letters: int
    decoded: int


@dataclass(slots=True)
class HostileBodies:
    """Generator of record values.

    Attributes:
        draw: Source of all choices.
        sizes: Sizes that values are drawn near.
        made: Number of generated events; each event is later than the previous one.
    """

    draw: random.Random
    sizes: Sizes
    made: int = field(default=0, init=False)

    def good(self, **changes: bytes) -> bytes:
        """Valid event; ``changes`` replace encoded fields."""
        self.made += 1
        fields = {
            "id": some(text(f"p-{self.made}")),
            "at": some(varint(_FIRST_TIME_MS + _STEP_MS * self.made)),
            "customer": some(text(f"c-{self.draw.randrange(20)}")),
            "card": some(text(f"k-{self.draw.randrange(40)}")),
            "amount": some(struct.pack("<d", round(self.draw.lognormvariate(3.5, 1.0), 2))),
        }
        return framed(body(**(fields | changes)))

    def kinds(self) -> Kinds:
        """Generator of each kind of hostile value."""
        broken = [bad.value for bad in bad_records()]
        return {
            "broken": lambda: self.draw.choice(broken),
            "null": lambda: None,
            "empty": lambda: b"",
            "bytes changed": lambda: mutated(self.good(), self.draw),
            "random bytes": lambda: self.draw.randbytes(self.draw.randrange(_SOME_BYTES)),
            "any schema id": self._any_schema_id,
            "GUID of a schema": self._guid,
            "near the largest score": lambda: self._noted(self.sizes.scores),
            "near the largest dead letter": lambda: self._noted(self.sizes.dead_letters) + b"\x00",
            "near the largest value": lambda: self._noted(self.sizes.decoded),
            "near the largest input": lambda: self._noted(self.sizes.input),
            "time at a bound": lambda: self.good(at=some(varint(self.draw.choice(_TIMES_MS)))),
            "amount at a bound": self._amount,
            "id of any size": lambda: self.good(id=some(self._any_text(100_000))),
            "the same id": lambda: self.good(id=some(text(_REPEATED_ID))),
            "entity of any size": lambda: self.good(card=some(self._any_text(_LONGEST_KEY + 2))),
            "customer of any size": lambda: self.good(
                customer=some(self._any_text(_LONGEST_KEY + 2))
            ),
            "tags in odd blocks": self._blocks,
            "decimal of any size": self._decimal,
        }

    def _any_schema_id(self) -> bytes:
        number = self.draw.choice((*_IDS, self.draw.randrange(2**32)))
        return b"\x00" + number.to_bytes(4, "big") + self.good()[5:]

    def _guid(self) -> bytes:
        return b"\x01" + self.draw.randbytes(16) + self.good()[5:]

    def _noted(self, limit: int) -> bytes:
        """Event of about ``limit`` bytes, by the length of its note."""
        note = filler(self.draw, near(self.draw, limit))
        return self.good(note=varint(len(note)) + note)

    def _amount(self) -> bytes:
        return self.good(amount=some(struct.pack("<d", self.draw.choice(_AMOUNTS))))

    def _any_text(self, largest: int) -> bytes:
        """String of any length, often very short or long, sometimes not UTF-8."""
        size = self.draw.choice((0, 1, largest - 2, largest - 1, self.draw.randrange(largest)))
        character = self.draw.choice(("x", "\x00", " ", "\n", "\u2028", '"'))
        data = b"\xff" * size if self.draw.random() < 0.1 else (character * size).encode()[:size]
        return varint(len(data)) + data

    def _blocks(self) -> bytes:
        """Array in blocks of one item, in blocks with a byte count, or of about the maximum length."""
        item = text("t")
        number = self.draw.choice((0, 1, MAX_ITEMS - 1, MAX_ITEMS, MAX_ITEMS + 1))
        blocks = self.draw.choice(
            (
                (varint(1) + item) * number,
                (varint(-1) + varint(len(item)) + item) * number,
                (varint(-1) + varint(2**40) + item) * number,
                (varint(number) + item * number) if number else b"",
                varint(-(2**63)) + varint(1),
            )
        )
        return self.good(tags=blocks + b"\x00")

    def _decimal(self) -> bytes:
        size = self.draw.choice((0, 1, 7, 8, 9, 13, 500))
        return self.good(fee=varint(size) + self.draw.randbytes(size))


def near(draw: random.Random, limit: int) -> int:
    """Size that is a little above or below the limit, after the other fields are added."""
    return max(0, limit - draw.randrange(2 * _SOME_BYTES))


def filler(draw: random.Random, size: int) -> bytes:
    """Text that compresses well or not at all, because limits apply to the compressed size."""
    if draw.random() < 0.5:
        return draw.choice((b"n", b"\x00", b" ")) * size
    return b64encode(draw.randbytes(size))[:size]


def some(encoded: bytes) -> bytes:
    """Encode the second branch of a union."""
    return b"\x02" + encoded
