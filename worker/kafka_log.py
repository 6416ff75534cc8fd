"""Capture of librdkafka's own log, which has the reason when a call says only that it timed out."""

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
    """Handler that keeps the messages of errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(_LOG_FRAME.sub("", record.getMessage()))


@contextmanager
def heard() -> Iterator[list[str]]:
    """Capture the errors that librdkafka logs within the block; they are written nowhere else.

    Its calls say only that they timed out; its log says why.

    Yields:
        The messages so far; the list grows within the block.
    """
    handler = _Heard()
    propagate, LOGGER.propagate = LOGGER.propagate, False
    LOGGER.addHandler(handler)
    try:
        yield handler.lines
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.propagate = propagate
