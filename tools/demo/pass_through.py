"""Latency of a bare transactional loop: the limit of what Kafka allows on this machine."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from base.errors import DependencyUnavailableError
from tools.demo.player import Played
from tools.demo.reader import Arrivals, Latency, Reader
from tools.demo.session import PlaySession, Program
from tools.embedded.process import Guarded, last_lines
from tools.embedded.topic_admin import create_topics

_TOPICS = ("pass-through.input", "pass-through.output")
_WARM_UP_S, _MEASURED_S = 1.0, 6.0
_END_S = 40.0


class _PassThrough:
    """Process of the loop, with its log in a file; it ends with this process."""

    def __init__(self, bootstrap: str, log: Path) -> None:
        self._log = log
        loop = [sys.executable, "-P", "-m", "tools.embedded.pass_through"]
        self._process = Guarded([*loop, bootstrap, "pass-through", *_TOPICS], log)

    def require_running(self) -> None:
        status = self._process.poll()
        if status is not None:
            raise DependencyUnavailableError(
                f"the pass-through ended with status {status}; {self._log} ends with:\n"
                f"{last_lines(self._log)}"
            )

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(_END_S)


def measure_pass_through(
    bootstrap: str,
    partitions: tuple[int, int],
    session_of: Callable[[str, Program, Reader], PlaySession],
    live: tuple[Path, int],
    rate: float,
    log: Path,
) -> Latency:
    """Play the first live events to the loop, as to the worker; at most 7 s of them.

    Args:
        bootstrap: Address of the brokers.
        partitions: Numbers of partitions of input and output; those of the worker's topics.
        session_of: Makes a session of an input topic, a program and the reader of its answers.
        live: File of the live events, and their number.
        rate: Events a second.
        log: File for the log of the loop's process.
    """
    create_topics(bootstrap, dict(zip(_TOPICS, partitions, strict=True)))
    source, target = _TOPICS
    path, most = live
    program = _PassThrough(bootstrap, log)
    reader = Reader(bootstrap, [target])
    session = session_of(source, program, reader)

    def play(seconds: float, *, keep: bool) -> Played:
        events = min(most, math.ceil(rate * seconds))
        return session.play(path, events, rate, lambda _: None, keep=keep)

    play(_WARM_UP_S, keep=False)
    played = play(_MEASURED_S, keep=True)
    program.stop()
    reader.stop()
    copies = [(at_ms, m) for at_ms, messages in reader.take() for m in messages]
    keys = np.array([(m.key() or b"").split() for _, m in copies], np.int64).reshape(-1, 2)
    at_ms = np.array([at_ms for at_ms, _ in copies])
    return Arrivals(keys[:, 0], keys[:, 1], at_ms).latency(played)
