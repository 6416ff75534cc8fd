"""Compiled loop that computes the columns of a micro-batch by the instructions of a program.

A number or condition is a float64, NaN where missing; a condition is 0 or 1. A missing operand
gives a missing result, unless the operation says otherwise. Each operation gives a row the same
bits in any batch, as IEEE 754 rounds correctly what it is made of.
"""

from __future__ import annotations

from math import copysign

import numpy as np

from base.arrays import Floats, Longs
from base.compiled import compiled, leaf
from features.expression.kernel.elementary import exp, log, log1p

NEGATIVE, ABSOLUTE, ROUND, FLOOR, CEILING, SQRT, EXP, LOG, LOG1P, NOT, IS_NULL = range(11)
"""Operations with one operand. ROUND rounds half to even; IS_NULL is never missing."""

ADD, SUBTRACT, MULTIPLY, DIVIDE, FLOOR_DIVIDE, MODULO, LESS, LESS_EQUAL, EQUAL = range(11, 20)
"""Operations with two operands; the three divisions are missing where the second is 0."""

AND, OR, SMALLER, LARGER, FIRST = range(20, 25)
"""Likewise. In AND and OR an operand that decides hides that the other is missing. FIRST is the
second operand where the first is missing."""

WHERE = 25
"""The second operand where the condition holds, else the third."""

HOUR, WEEKDAY, DAY = range(26, 29)
"""Parts of a time in UTC: int64 microseconds since 1970-01-01 as the bits of the first operand,
missing where the second is not 1. WEEKDAY is 0 on Mondays, DAY counts from 1."""

CONSTANT, POWER, MEMBER, LISTED, OPERATIONS = range(29, 34)
"""Operations with numbers of their own: the value; a whole exponent above 0; the values that
give 1; the value by the operand, a whole number from 0. OPERATIONS is the number of all of them."""

OPERATION, OUT, A, B, C, START, COUNT, WIDTH = range(8)
"""Columns of ``code``, and their number: the row that is written, the rows of the operands, and
the operation's own numbers."""

BLOCK = 256
"""Rows that all instructions take in turn, so that columns stay in the processor's cache."""

_HOUR, _DAY = 3_600_000_000, 86_400_000_000
_THURSDAY = 3  # 1970-01-01, where Monday is 0


@compiled
def run(code: Longs, numbers: Floats, values: Floats, longs: Longs) -> None:
    """Execute a program.

    Args:
        code: int64[I, 7], the instructions.
        numbers: Their own numbers, concatenated.
        values: float64[R, N], columns that instructions read and write.
        longs: int64[R, N], the bits of ``values``.
    """
    for begin in range(0, values.shape[1], BLOCK):
        end = min(begin + BLOCK, values.shape[1])
        for place in range(len(code)):
            _execute(code[place], numbers, values, longs, begin, end)


@leaf
def _execute(
    instruction: Longs, numbers: Floats, values: Floats, longs: Longs, begin: int, end: int
) -> None:
    operation, result = instruction[OPERATION], values[instruction[OUT], begin:end]
    a, b, c = instruction[A], instruction[B], instruction[C]
    first, second = values[a, begin:end], values[b, begin:end]
    if operation <= IS_NULL:
        _unary(operation, first, result)
    elif operation <= EQUAL:
        _arithmetic(operation, first, second, result)
    elif operation <= WHERE:
        _choice(operation, first, second, values[c, begin:end], result)
    elif operation <= DAY:
        _calendar(operation, longs[a, begin:end], second, result)
    else:
        own = numbers[instruction[START] : instruction[START] + instruction[COUNT]]
        _with_numbers(operation, first, own, result)


@leaf
def _unary(operation: int, x: Floats, result: Floats) -> None:
    if operation == EXP:
        exp(x, result)
    elif operation == LOG:
        log(x, result)
    elif operation == LOG1P:
        log1p(x, result)
    else:
        for row in range(len(result)):
            if operation == NEGATIVE:
                result[row] = -x[row]
            elif operation == ABSOLUTE:
                result[row] = abs(x[row])
            elif operation == ROUND:
                result[row] = np.rint(x[row])
            elif operation == FLOOR:
                result[row] = np.floor(x[row])
            elif operation == CEILING:
                result[row] = np.ceil(x[row])
            elif operation == SQRT:
                result[row] = np.sqrt(x[row])
            elif operation == NOT:
                result[row] = 1.0 - x[row]
            else:
                result[row] = 1.0 if np.isnan(x[row]) else 0.0


@leaf
def _arithmetic(operation: int, x: Floats, y: Floats, result: Floats) -> None:
    for row in range(len(result)):
        a, b = x[row], y[row]
        if operation == ADD:
            result[row] = a + b
        elif operation == SUBTRACT:
            result[row] = a - b
        elif operation == MULTIPLY:
            result[row] = a * b
        elif operation <= MODULO and b == 0.0:
            result[row] = np.nan
        elif operation == DIVIDE:
            result[row] = a / b
        elif operation == FLOOR_DIVIDE:
            result[row] = _quotient(a, b, np.fmod(a, b))
        elif operation == MODULO:
            result[row] = _remainder(b, np.fmod(a, b))
        elif np.isnan(a) or np.isnan(b):
            result[row] = np.nan
        elif operation == LESS:
            result[row] = 1.0 if a < b else 0.0
        elif operation == LESS_EQUAL:
            result[row] = 1.0 if a <= b else 0.0
        else:
            result[row] = 1.0 if a == b else 0.0


@leaf
def _quotient(a: float, b: float, rest: float) -> float:
    """The largest whole number that is at most a / b, from the remainder with the sign of a."""
    quotient = (a - rest) / b
    if rest != 0.0 and (b < 0.0) != (rest < 0.0):
        quotient -= 1.0
    if quotient == 0.0:
        return copysign(0.0, a / b)
    whole = np.floor(quotient)
    return whole + 1.0 if quotient - whole > 0.5 else whole


@leaf
def _remainder(b: float, rest: float) -> float:
    """The remainder with the sign of b, from that with the sign of the dividend."""
    if rest == 0.0:
        return copysign(0.0, b)
    return rest + b if (b < 0.0) != (rest < 0.0) else rest


@leaf
def _choice(operation: int, x: Floats, y: Floats, z: Floats, result: Floats) -> None:
    for row in range(len(result)):
        a, b = x[row], y[row]
        if operation == AND:
            result[row] = 0.0 if a == 0.0 or b == 0.0 else a * b
        elif operation == OR:
            result[row] = 1.0 if a == 1.0 or b == 1.0 else a + b
        elif operation == SMALLER:
            result[row] = b if b < a or np.isnan(b) else a
        elif operation == LARGER:
            result[row] = b if b > a or np.isnan(b) else a
        elif operation == FIRST:
            result[row] = b if np.isnan(a) else a
        elif np.isnan(a):
            result[row] = np.nan
        else:
            result[row] = b if a == 1.0 else z[row]


@leaf
def _calendar(operation: int, times: Longs, known: Floats, result: Floats) -> None:
    for row in range(len(result)):
        day = times[row] // _DAY
        if known[row] != 1.0:
            result[row] = np.nan
        elif operation == HOUR:
            result[row] = times[row] // _HOUR % 24
        elif operation == WEEKDAY:
            result[row] = (day + _THURSDAY) % 7
        else:
            result[row] = _day_of_month(day)


@leaf
def _day_of_month(day: int) -> int:
    """Day of the month of a day since 1970-01-01, by years that begin in March."""
    of_era = (day + 719_468) % 146_097  # since a 1st of March in a year that 400 divides
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    return of_year - (153 * month + 2) // 5 + 1


@leaf
def _with_numbers(operation: int, x: Floats, own: Floats, result: Floats) -> None:
    for row in range(len(result)):
        if operation == CONSTANT:
            result[row] = own[0]
        elif operation == POWER:
            result[row] = _power(x[row], int(own[0]))
        elif np.isnan(x[row]):
            result[row] = np.nan
        elif operation == LISTED:
            result[row] = own[int(x[row])]
        else:
            is_member = 0.0
            for member in own:
                if x[row] == member:
                    is_member = 1.0
            result[row] = is_member


@leaf
def _power(x: float, exponent: int) -> float:
    """Raise x to a whole exponent above 0 by repeated squaring."""
    result = 1.0
    while exponent:
        if exponent % 2:
            result *= x
        exponent //= 2
        x *= x
    return result
