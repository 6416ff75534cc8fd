"""The compiled loops of expressions and hashes, and the same code as Python runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from base.times import DAY, HOUR
from features.expression import prove_expressions, texts
from features.expression.kernel import instructions as op
from features.expression.texts import Text, TextNumbers
from features.values import grouping, key_texts, prove_hashes
from features.values.grouping import grouped
from tests.support.interpreted import interpreted


def test_expressions_have_the_same_bits_without_compilation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled = prove_expressions.golden_results()
    kernels = interpreted("features.expression")
    monkeypatch.setattr(prove_expressions, "op", kernels["instructions"])
    monkeypatch.setattr(texts, "number_texts", kernels["texts"].number_texts)
    assert prove_expressions.golden_results() == compiled
    prove_expressions.prove_expressions()


def test_hashes_have_the_same_bits_without_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = prove_hashes.golden_results()
    kernels = interpreted("features.values")
    monkeypatch.setattr(prove_hashes, "siphash", kernels["siphash"].siphash)
    monkeypatch.setattr(grouping, "group_texts", kernels["groups"].group_texts)
    monkeypatch.setattr(grouping, "copy_texts", kernels["groups"].copy_texts)
    monkeypatch.setattr(key_texts, "add_part_sizes", kernels["key_parts"].add_part_sizes)
    monkeypatch.setattr(key_texts, "append_parts", kernels["key_parts"].append_parts)
    assert prove_hashes.golden_results() == compiled
    prove_hashes.prove_hashes()


def unless(missing: Any, result: Any) -> Any:
    return np.nan if missing else result


def known(a: Any, b: Any, result: Any) -> Any:
    return unless(np.isnan(a) or np.isnan(b), result)


UNARY = {
    op.NEGATIVE: np.negative,
    op.ABSOLUTE: np.abs,
    op.ROUND: np.rint,
    op.FLOOR: np.floor,
    op.CEILING: np.ceil,
    op.SQRT: np.sqrt,
    op.NOT: lambda a: 1.0 - a,
    op.IS_NULL: np.isnan,
}
BINARY = {
    op.ADD: np.add,
    op.SUBTRACT: np.subtract,
    op.MULTIPLY: np.multiply,
    op.DIVIDE: lambda a, b: unless(b == 0.0, np.true_divide(a, b)),
    op.FLOOR_DIVIDE: lambda a, b: unless(b == 0.0, np.floor_divide(a, b)),
    op.MODULO: lambda a, b: unless(b == 0.0, np.mod(a, b)),
    op.LESS: lambda a, b: known(a, b, a < b),
    op.LESS_EQUAL: lambda a, b: known(a, b, a <= b),
    op.EQUAL: lambda a, b: known(a, b, a == b),
    op.SMALLER: lambda a, b: known(a, b, min(a, b)),
    op.LARGER: lambda a, b: known(a, b, max(a, b)),
    op.FIRST: lambda a, b: b if np.isnan(a) else a,
}
LOGICAL = {
    op.AND: lambda a, b, _: 0.0 if 0.0 in (a, b) else a * b,
    op.OR: lambda a, b, _: 1.0 if 1.0 in (a, b) else a + b,
    op.WHERE: lambda a, b, c: unless(np.isnan(a), b if a == 1.0 else c),
}
NUMBERS = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 3.0, np.nan, np.inf, -np.inf, 5e-324, 1e308]),
    st.floats(-1e3, 1e3),
    st.floats(),
)
CONDITIONS = st.sampled_from([0.0, 1.0, np.nan])


def execute(code: int, columns: Any, numbers: Sequence[float] = ()) -> Any:
    """Bits of the result of one instruction on the columns float64[3, N]."""
    values = np.array([*columns, columns[0]], np.float64)
    instruction = np.array([[code, 3, 0, 1, 2, 0, len(numbers)]])
    op.run(instruction, np.array(numbers, np.float64), values, values.view(np.int64))
    return bits(values[3])


def bits(values: Any) -> Any:
    """The bits of numbers; NaNs are equal, as the matrix has one NaN only."""
    numbers = np.array(values, np.float64)
    return np.where(np.isnan(numbers), np.nan, numbers).view(np.int64).tolist()


@pytest.mark.parametrize("code", [*UNARY, *BINARY, *LOGICAL])
@given(st.data(), st.sampled_from([1, 300]))
def test_operations_have_the_bits_of_numpy(code: int, data: st.DataObject, times: int) -> None:
    columns = [CONDITIONS if code in LOGICAL else NUMBERS, NUMBERS, NUMBERS]
    if code in (op.AND, op.OR):
        columns[1] = CONDITIONS
    rows = data.draw(st.lists(st.tuples(*columns), min_size=1, max_size=9))
    table = np.array(rows * times)
    oracle: Any = {**UNARY, **BINARY, **LOGICAL}[code]
    count = 1 if code in UNARY else 2 if code in BINARY else 3
    with np.errstate(all="ignore"):
        expected = [oracle(*row[:count]) for row in table[: len(rows)]]
    assert execute(code, table.T) == bits(expected) * times


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
@example([-(2**63), -1, 0, 951_782_400_000_000, 951_868_799_999_999, 2**63 - 1])
def test_parts_of_times_are_those_of_numpy(some: list[int]) -> None:
    times = np.array(some)
    days = (times // DAY).astype("datetime64[D]")
    of_month = (days - days.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64) + 1
    columns = np.array([times.view(np.float64), np.ones(len(times)), np.ones(len(times))])
    assert execute(op.DAY, columns) == bits(of_month)
    assert execute(op.HOUR, columns) == bits(times // HOUR % 24)
    assert execute(op.WEEKDAY, columns) == bits((times // DAY + 3) % 7)
    columns[1] = 0.0
    assert execute(op.DAY, columns) == bits([np.nan] * len(times))


@given(st.lists(NUMBERS, min_size=1), st.integers(1, 16), st.lists(NUMBERS.filter(np.isfinite)))
def test_powers_and_members_are_those_of_python(
    some: list[float], exponent: int, members: list[float]
) -> None:
    columns = np.array([some] * 3)
    product = np.ones(len(some))
    with np.errstate(all="ignore"):
        for _ in range(exponent):
            product = product * columns[0]
    powers = np.array(execute(op.POWER, columns, [exponent])).view(np.float64)
    # Repeated squaring rounds otherwise, and comes to its end in another order.
    exact = np.isfinite(product) & (np.abs(product) > 1e-300)
    np.testing.assert_allclose(powers[exact], product[exact], rtol=1e-14)
    contained = [unless(np.isnan(x), x in members) for x in some]
    assert execute(op.MEMBER, columns, members) == bits(contained)


TEXTS = st.text("aäb\0", max_size=4)


@given(st.lists(TEXTS, unique=True, max_size=9), st.lists(TEXTS, max_size=20))
def test_listed_texts_have_their_numbers(listed: list[str], some: list[str]) -> None:
    numbers = {text: float(number) for number, text in enumerate(listed)}
    column = pa.array(["before", *some, "behind"], pa.string()).slice(1, len(some))
    valid = np.ones(len(some), np.bool_)
    expected = [numbers.get(text, -1.0) for text in some]
    assert TextNumbers(numbers, -1.0).of(Text(column, valid)).tolist() == expected


@example(["a", ""], 1)
@given(st.lists(TEXTS, max_size=30), st.sampled_from([1, 40]))
def test_rows_are_grouped_by_their_texts(some: list[str], times: int) -> None:
    many = some * times
    column = pa.array(["before", *many, "behind"], pa.string()).slice(1, len(many))
    keys, codes = grouped(column)
    assert keys.to_list() == [text.encode() for text in dict.fromkeys(many)]
    assert [keys.key(code).decode() for code in codes.tolist()] == many
