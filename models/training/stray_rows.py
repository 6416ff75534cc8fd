"""Outlier rows: a few rows of a table that lie far from all others in time, such as one in 2042."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from base.errors import ConfigurationError
from base.times import DAY, utc
from models.training.table import TrainingTable

_MAX_STRAY_ROWS, _MAX_STRAY_SHARE = 3, 0.001
_FAR_FACTOR = 3
_MAX_EARLIER_DAYS = 30


@dataclass(frozen=True, slots=True)
class StrayRows:
    """Outlier rows: the first or last few rows of a table, separated from the others in time.

    The gap is longer than every gap between the other rows.

    Attributes:
        description: Text that names the rows and the nearest other row.
        remedy: Text that says what to do.
        after: True for the last rows, False for the first.
        days: Days from these rows to the nearest other row.
        usual: Largest gap between days with other rows, in days; at least one.
    """

    description: str
    remedy: str
    after: bool
    days: int
    usual: int

    def __str__(self) -> str:
        return f"{self.description}: {self.remedy}"

    @property
    def is_far(self) -> bool:
        """True if the gap is more than three times as long as the gaps between the other rows."""
        return self.days > _FAR_FACTOR * self.usual


def find_stray_rows(table: TrainingTable) -> tuple[StrayRows, ...]:
    """Find rows far before or far after all others.

    At each end they are at most three rows, or one in a thousand if that is more.
    """
    times = np.sort(table.times)
    limit = max(_MAX_STRAY_ROWS, int(len(times) * _MAX_STRAY_SHARE))
    if len(times) <= 2 * limit:
        return ()
    days = times // DAY
    usual = max(1, int(np.diff(days[limit:-limit]).max(initial=0)))
    return (
        *_beyond_gap(table, times[: limit + 1], usual, after=False),
        *_beyond_gap(table, times[::-1][: limit + 1], usual, after=True),
    )


def refuse_far(stray_rows: Iterable[StrayRows]) -> None:
    """Refuse rows that lie far after the others, or more than 30 days before them.

    The last rows determine the last training days, unless --until names another day. The first rows
    only extend the table by empty days, and may be valid, such as test events before a launch.

    Raises:
        ConfigurationError: naming the rows and what to do.
    """
    for rows in stray_rows:
        if rows.is_far and (rows.after or rows.days > _MAX_EARLIER_DAYS):
            raise ConfigurationError(f"--features: {rows}")


def _beyond_gap(
    table: TrainingTable, times: npt.NDArray[np.int64], usual: int, *, after: bool
) -> Iterator[StrayRows]:
    """Yield the rows beyond the longest gap, if there is one.

    A gap of more than three times the usual length is preferred to a shorter one.

    Args:
        table: The training table.
        times: int64[M], times of the rows at one end, the outermost first.
        usual: Largest gap between days with other rows, in days.
        after: True for the end of the table.
    """
    gaps = np.abs(np.diff(times // DAY))
    for factor in (_FAR_FACTOR, 1):
        places = np.flatnonzero(gaps > factor * usual)
        if len(places):
            rows = int(places[-1]) + 1
            yield _described(table, times[: rows + 1], int(gaps[rows - 1]), usual, after=after)
            return


def _described(
    table: TrainingTable, times: npt.NDArray[np.int64], days: int, usual: int, *, after: bool
) -> StrayRows:
    rows, end, nearest = len(times) - 1, _moment(int(times[0])), _moment(int(times[-1]))
    single = rows == 1
    where = (
        f"after the others, the last at {end}"
        if after
        else f"before the others, the first at {end}"
    )
    return StrayRows(
        f"{rows} of the {len(table):,} rows of {table.path} {'lies' if single else 'lie'} far "
        f"{where}; the nearest other row is from {nearest}",
        f"correct or remove {'it' if single else 'them'}"
        + (f", or give --until {nearest[:10]} or an earlier day" if after else ""),
        after,
        days,
        usual,
    )


def _moment(time: int) -> str:
    try:
        return f"{utc(time):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return f"{time} microseconds since 1970"
