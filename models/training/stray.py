"""Find a few rows of a table far from all others in time, such as one of 2042."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from base.errors import ConfigurationError
from base.times import DAY, utc
from models.training.table import TrainingTable

_FEW, _SHARE = 3, 0.001
_SEVERAL = 3
_LONG_AGO = 30


@dataclass(frozen=True, slots=True)
class Apart:
    """The first or last few rows of a table, farther from the others than these from each other.

    Attributes:
        found: Words that name the rows and the nearest other row.
        remedy: Words that say what to do.
        after: True for the last rows.
        days: Days from them to the nearest other row.
        usual: Largest gap between days with other rows, in days; at least one.
    """

    found: str
    remedy: str
    after: bool
    days: int
    usual: int

    def __str__(self) -> str:
        return f"{self.found}: {self.remedy}"

    @property
    def is_far(self) -> bool:
        """True where the table itself does not explain the gap, as weekends or months would."""
        return self.days > _SEVERAL * self.usual


def find_apart(table: TrainingTable) -> tuple[Apart, ...]:
    """Find rows far before or after all others: at each end at most three, or one in a thousand."""
    times = np.sort(table.times)
    most = max(_FEW, int(len(times) * _SHARE))
    if len(times) <= 2 * most:
        return ()
    days = times // DAY
    usual = max(1, int(np.diff(days[most:-most]).max(initial=0)))
    return (
        *_apart(table, times[: most + 1], usual, after=False),
        *_apart(table, times[::-1][: most + 1], usual, after=True),
    )


def refuse_far(apart: Iterable[Apart]) -> None:
    """Refuse rows that lie far after the others, or more than 30 days before them.

    The last rows decide which days are the last, unless --until names another day. The first rows
    only extend the table by empty days; rows of a trial before the first day of business are
    legitimate.

    Raises:
        ConfigurationError: naming the rows and what to do.
    """
    for one in apart:
        if one.is_far and (one.after or one.days > _LONG_AGO):
            raise ConfigurationError(f"--features: {one}")


def _apart(
    table: TrainingTable, times: npt.NDArray[np.int64], usual: int, *, after: bool
) -> Iterator[Apart]:
    """Yield the rows behind a gap, if any; a far gap goes first.

    Args:
        table: The training table.
        times: int64, times of the rows at one end, from the outermost.
        usual: Largest gap between days with other rows, in days.
        after: True for the end of the table.
    """
    gaps = np.abs(np.diff(times // DAY))
    for several in (_SEVERAL, 1):
        places = np.flatnonzero(gaps > several * usual)
        if len(places):
            rows = int(places[-1]) + 1
            yield _named(table, times[: rows + 1], int(gaps[rows - 1]), usual, after=after)
            return


def _named(
    table: TrainingTable, times: npt.NDArray[np.int64], days: int, usual: int, *, after: bool
) -> Apart:
    rows, end, nearest = len(times) - 1, _moment(int(times[0])), _moment(int(times[-1]))
    one = rows == 1
    where = (
        f"after the others, the last at {end}"
        if after
        else f"before the others, the first at {end}"
    )
    return Apart(
        f"{rows} of the {len(table):,} rows of {table.path} {'lies' if one else 'lie'} far "
        f"{where}; the nearest other is of {nearest}",
        f"correct or remove {'it' if one else 'them'}"
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
