"""Exit statuses, and the end of a process by a signal before there is anything to drain."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from enum import IntEnum
from typing import Self

_KILLED = 128


class ExitCode(IntEnum):
    """Exit statuses. A supervisor restarts on all but OK; CONFIGURATION needs a person first.

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
    FAILED = (
        1,
        "failed, rows were refused (score, labels send, redrive), or a dependency or the GPU is away",
    )
    CONFIGURATION = 2, "the configuration or the call is invalid; the message says what to do"
    DELIVERY = 3, "delivery could not continue safely; start it again, unless told otherwise"
    WATCHDOG_TIMEOUT = 70, "a call took too long and the watchdog ended the process; start it again"


def end_at_once(command: Sequence[str]) -> None:
    """End the process on a signal until a command installs handlers of its own.

    The kernel ignores a signal without a handler where the process has number 1, as in a container.
    So this is called before the imports, which take seconds. `run` has begun nothing then, and ends
    with status 0. Other commands keep the default where the kernel applies it.

    Args:
        command: Arguments of the command line.
    """
    if list(command[:1]) == ["run"]:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _end_unbegun)
    elif os.getpid() == 1:
        signal.signal(signal.SIGTERM, _end_as_killed)


# Neither raises SystemExit: code that runs on the import of a module may catch it.
def _end_unbegun(number: int, _frame: object) -> None:
    os.write(2, f"ended by {signal.Signals(number).name} before the start\n".encode())
    os._exit(ExitCode.OK)


def _end_as_killed(number: int, _frame: object) -> None:
    os._exit(_KILLED + number)
