"""Invalid rows and records of an input."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """An invalid row or record: not an event, or not a label.

    Attributes:
        where: Place of the row or record, in words of its reader.
        code: Error code.
        message: Error message.
    """

    where: str
    code: str
    message: str
