"""Librdkafka's own log, as the reason of a call that says only that it timed out."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

LOGGER = logging.getLogger("librdkafka")
# Where nothing is set up for logs, Python would write each line to stderr.
LOGGER.addHandler(logging.NullHandler())
# Severity, client and thread before a message, and how long the connection had been there after it.
_LOG_FRAME = re.compile(
    r"^\w+ \[[^]]*\] (?:\[[^]]*\]: )*|(?: \(after .*\))?(?:, \d+ identical.*)?$"
)


class _Heard(logging.Handler):
    """Keeps the lines of errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(_LOG_FRAME.sub("", record.getMessage()))


@contextmanager
def heard() -> Iterator[list[str]]:
    """What librdkafka logs meanwhile; nothing of it is written elsewhere.

    Its calls say that they timed out; only its log says why.
    """
    handler = _Heard()
    propagate, LOGGER.propagate = LOGGER.propagate, False
    LOGGER.addHandler(handler)
    try:
        yield handler.lines
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.propagate = propagate
