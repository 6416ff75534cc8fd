"""Exit statuses of the commands."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit statuses. A supervisor restarts on any but OK; CONFIGURATION needs a person first."""

    OK = 0
    FAILED = 1
    CONFIGURATION = 2
    DELIVERY = 3
    OVERSTAYED = 70
