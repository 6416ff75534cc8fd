"""Structured logs on stderr: JSON, or readable lines on a terminal."""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import Any, Literal

import structlog

from base.address import mask_addresses

_REPEAT_S = 10.0


class _Repeats(logging.Filter):
    """Filter that passes a message once in 10 s: librdkafka repeats it per broken connection.

    Messages that differ in numbers only are the same: the numbers count clients and milliseconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self._passed_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        message = re.sub(r"\d+", "0", record.getMessage())
        now = time.monotonic()
        if now - self._passed_at.get(message, -_REPEAT_S) < _REPEAT_S:
            return False
        self._passed_at[message] = now
        return True


def _without_addresses(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Mask the addresses in a log event.

    Libraries repeat addresses in their errors, with passwords and queries.
    """
    return {key: _masked(value) for key, value in event.items()}


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return mask_addresses(value)
    if isinstance(value, BaseException):
        return mask_addresses(repr(value))
    if isinstance(value, dict):
        return {key: _masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item) for item in value]
    return value


def configure_logs(level: str, style: Literal["auto", "json", "console"]) -> None:
    """Set up structlog, and send the logs of librdkafka and other libraries the same way."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _without_addresses,
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    )
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(_Repeats())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))
