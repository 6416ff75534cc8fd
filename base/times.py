"""Times in microseconds since 1970-01-01 UTC, and durations in microseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc(microseconds: int) -> datetime:
    """The time in UTC, exact to the microsecond."""
    return _EPOCH + timedelta(microseconds=int(microseconds))
