"""Python hooks: a user's function on columns.

A hook is code, so it can do what an expression cannot: look at neighbouring rows, remember the last
call, raise. The value of a row is therefore defined as the function's result for that row alone.
``prove`` refuses a function whose results for rows together differ from that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from base.arrays import Floats, Mask, Rows
from base.errors import HookError, HookRaisedError
from features.hooks.calls import HookFile

_ORDINARY = 144
_MIXED = 96
_WRITES = ("read-only", "WRITEABLE")
"""Words in numpy's errors for a write to a read-only array, or for making it writeable."""
_SPECIAL = np.array(
    [
        *(np.nan, 0.0, -0.0, 1.0, -1.0, 0.5, 90.0, -180.0),
        *(5e-324, -1e-300, 1e9, -1e9, 1e300, -1e300, np.inf, -np.inf),
    ]
)


class Called(NamedTuple):
    """Results of one call for N rows.

    Attributes:
        values: float64[N], NaN where missing.
        failed: bool[N], the rows for which the function raised.
    """

    values: Floats
    failed: Mask


class _WrongResultError(Exception):
    """The function returned something other than a float64 for each row."""


@dataclass(frozen=True, slots=True, eq=False)
class PythonHook:
    """A function that takes float64[N] for each argument and returns float64[N].

    Attributes:
        name: Name of the function.
        file: File of the function.
        function: The function.
        arguments: Arguments as features.yaml gives them.
    """

    name: str
    file: HookFile
    function: Callable[..., Any]
    arguments: tuple[str, ...]

    def call(self, columns: Sequence[Floats]) -> Called:
        """Compute N rows; a row for which the function raises is missing, and marked as failed."""
        rows = len(columns[0])
        called = Called(np.full(rows, np.nan), np.zeros(rows, dtype=np.bool_))
        self._fill(called, columns, 0, rows)
        return called

    def _fill(self, called: Called, columns: Sequence[Floats], start: int, end: int) -> None:
        """Compute the rows from ``start`` to ``end``, in halves if the function raises for all."""
        if start == end:
            return
        try:
            called.values[start:end] = self._values([column[start:end] for column in columns])
        except (HookRaisedError, _WrongResultError):
            if end - start == 1:
                called.failed[start] = True
                return
            middle = (start + end) // 2
            self._fill(called, columns, start, middle)
            self._fill(called, columns, middle, end)

    def prove(self) -> None:
        """Raise HookError unless sample rows have the same bits alone and together with other rows.

        The samples are the same each time. They include NaN, infinities, zeros of both signs,
        negative, tiny and huge numbers, alone and among others.
        """
        sample = _sample(len(self.arguments))
        every = np.arange(len(sample[0]))
        with np.errstate(all="ignore"):
            alone = np.concatenate([self._proven(sample, every[row : row + 1]) for row in every])
            for arrangement, rows in _arrangements(every):
                together = self._proven(sample, rows)
                differing = np.flatnonzero(~_same_bits(together, alone[rows]))
                if differing.size:
                    place = int(differing[0])
                    row = int(rows[place])
                    raise HookError(
                        f"{self.name} gives {float(alone[row])!r} for a row alone and "
                        f"{float(together[place])!r} for the same row {arrangement} "
                        f"({self._in_words(sample, row)}); compute each row from its own values "
                        "only, and remember nothing"
                    )

    def _proven(self, sample: list[Floats], rows: Rows) -> Floats:
        """Values of sample rows; HookError if the function does not return any."""
        try:
            return self._values([column[rows] for column in sample])
        except _WrongResultError as error:
            raise HookError(f"{self.name} {error}") from error
        except HookRaisedError as raised:
            message = f"{self.name} raises {self.file.words(raised)}"
            text = self.file.text(raised)
            if any(word in text for word in _WRITES):
                raise HookError(
                    f"{message}; do not modify the arguments; copy them first"
                ) from None
            if len(rows) > 1:
                raise HookError(
                    f"{message}; it is called with a column for each argument"
                ) from None
            arguments = self._in_words(sample, int(rows[0]))
            raise HookError(
                f"{message} for {arguments}; give nan where there is no value"
            ) from None

    def _values(self, columns: list[Floats]) -> Floats:
        """Call the function, and copy its result to float64[N].

        Raises:
            HookRaisedError: The function raised.
            _WrongResultError: The function returned something else.
        """
        rows = len(columns[0])
        result = self.file.run(self.function, *map(_frozen, columns))
        is_plain = type(result) is np.ndarray  # a masked array would lose its mask
        if not (is_plain and result.dtype == np.float64 and result.shape == (rows,)):
            returned = f"{result.dtype}{[*result.shape]}" if is_plain else type(result).__name__
            raise _WrongResultError(f"returns {returned} where it has to return float64[{rows}]")
        own: Floats = result.copy()
        return own

    def _in_words(self, sample: list[Floats], row: int) -> str:
        pairs = zip(self.arguments, sample, strict=True)
        return ", ".join(f"{name} = {float(column[row])!r}" for name, column in pairs)


def _sample(arguments: int) -> list[Floats]:
    """Sample values, float64[R] for each argument."""
    random = np.random.default_rng(20_180_801)
    columns = []
    for _ in range(arguments):
        ordinary = np.concatenate(
            [
                random.uniform(-180.0, 180.0, _ORDINARY // 3),
                random.lognormal(3.0, 1.5, _ORDINARY // 3),
                random.integers(-5, 50, _ORDINARY // 3).astype(np.float64),
            ]
        )
        random.shuffle(ordinary)
        special = random.random(_MIXED) < 0.3
        mixed = np.where(special, random.choice(_SPECIAL, _MIXED), random.choice(ordinary, _MIXED))
        columns.append(np.concatenate([_SPECIAL, ordinary, mixed, random.permutation(_SPECIAL)]))
    return columns


def _arrangements(every: Rows) -> Iterator[tuple[str, Rows]]:
    """Orders of sample rows, each with its description for messages."""
    yield "among others", every
    yield "when called again", every
    yield "in another order", every[::-1]
    yield "in another order", np.random.default_rng(7).permutation(every)
    for start, end in ((1, len(every)), (0, 7), (3, 20), (len(every) - 33, len(every))):
        yield "among fewer", every[start:end]
    yield "among copies of itself", np.repeat(every[:32], 2)


def _same_bits(a: Floats, b: Floats) -> Mask:
    """bool[N], True where the bits are equal; NaNs are equal, as the matrix has one NaN only."""
    same: Mask = a.view(np.int64) == b.view(np.int64)
    return same | (np.isnan(a) & np.isnan(b))


def _frozen(column: Floats) -> Floats:
    """A read-only copy, because other features use the same column."""
    # An array over bytes cannot be made writeable.
    return np.frombuffer(column.tobytes(), column.dtype)
