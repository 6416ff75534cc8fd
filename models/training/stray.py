"""Rows of a table that lie far from all others, such as one of 2042."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

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
    times: list[int] = np.sort(table.times).tolist()
    most = max(_FEW, int(len(times) * _SHARE))
    if len(times) <= 2 * most:
        return
    before = _first_gap(times[: most + 1])
    if before:
        where = f"before the others, the first at {_moment(times[0])}"
        _refuse(table, before, where, times[before], "")
    after = _first_gap([-time for time in reversed(times[-most - 1 :])])
    if after and not until_given:
        rest = times[-after - 1]
        where = f"after the others, the last at {_moment(times[-1])}"
        remedy = f", or give --until {_moment(rest)[:10]} or an earlier day"
        _refuse(table, after, where, rest, remedy)


def _first_gap(rising: list[int]) -> int:
    """How many of the first times are apart from the last of them by a gap; 0 where none is."""
    gaps = [place for place, (one, other) in enumerate(pairwise(rising), 1) if other - one > _GAP]
    return max(gaps, default=0)


def _refuse(table: TrainingTable, rows: int, where: str, other: int, remedy: str) -> None:
    raise ConfigurationError(
        f"--features: {rows} of the {len(table):,} rows of {table.path} "
        f"{'lies' if rows == 1 else 'lie'} far {where}; the nearest other is of "
        f"{_moment(other)}: correct or remove {'it' if rows == 1 else 'them'}{remedy}"
    )


def _moment(time: int) -> str:
    try:
        return f"{datetime.fromtimestamp(time / 1e6, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return f"{time} microseconds since 1970"
