"""Rows of a table that lie far from all others, such as one of 2042."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from models.training.folds import DAY
from models.training.table import TrainingTable
from schemas.errors import ConfigurationError

_GAP = 30 * DAY
_FEW, _SHARE = 3, 0.001


def require_no_strays(table: TrainingTable, *, until_given: bool) -> None:
    """Refuse a table whose first or last rows lie far from all others.

    They would decide which days are the last ones, and how many there are.

    Args:
        table: One with events.
        until_given: The last day to train on was asked for; rows after it do no harm.

    Raises:
        ConfigurationError: names them, and what to do.
    """
    times = np.sort(table.times)
    most = max(_FEW, int(len(times) * _SHARE))
    gaps = np.flatnonzero(np.diff(times) > _GAP)
    before = [gap + 1 for gap in gaps if gap + 1 <= most and len(times) > 2 * most]
    after = [gap + 1 for gap in gaps if len(times) - gap - 1 <= most and len(times) > 2 * most]
    if before:
        first, stray = max(before), int(times[0])
        _refuse(table, first, f"before the others, the first at {_moment(stray)}", times[first], "")
    if after and not until_given:
        last = min(after)
        stray, rest = len(times) - last, int(times[last - 1])
        _refuse(
            table,
            stray,
            f"after the others, the last at {_moment(int(times[-1]))}",
            rest,
            f", or give --until {_moment(rest)[:10]} or an earlier day",
        )


def _refuse(table: TrainingTable, rows: int, where: str, other: int, remedy: str) -> None:
    raise ConfigurationError(
        f"--features: {rows} of the {len(table):,} rows of {table.path} "
        f"{'lies' if rows == 1 else 'lie'} far {where}; the nearest other is of "
        f"{_moment(int(other))}: correct or remove {'it' if rows == 1 else 'them'}{remedy}"
    )


def _moment(time: int) -> str:
    try:
        return f"{datetime.fromtimestamp(time / 1e6, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return f"{time} microseconds since 1970"
