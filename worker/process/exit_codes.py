"""Exit statuses of the commands."""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class ExitCode(IntEnum):
    """Exit statuses. A supervisor restarts on any but OK; CONFIGURATION needs a person first.

    Attributes:
        meaning: Description for the help text and the documentation.
    """

    meaning: str

    def __new__(cls, status: int, meaning: str) -> Self:
        member = int.__new__(cls, status)
        member._value_ = status
        member.meaning = meaning
        return member

    OK = 0, "done, nothing lost"
    FAILED = 1, "failed, rows of a file were refused (score), or a dependency or the GPU is away"
    CONFIGURATION = 2, "the configuration or the call is invalid; the message says what to do"
    DELIVERY = 3, "delivery could not continue safely; start it again, unless told otherwise"
    OVERSTAYED = 70, "a call took too long and the watchdog ended the process; start it again"
