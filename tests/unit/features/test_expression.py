"""Expressions over columns x, y, z (numbers), online (a condition), text and times."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features.expression import ExpressionError, ExpressionProgram, Sort, Term, compile_expression
from features.expression.expression_program import Input, Listed
from features.expression.texts import Text

NAN = math.nan


class Frame(dict[str, Any]):
    """Columns by name."""

    def __len__(self) -> int:
        return max(len(getattr(column, "valid", column)) for column in self.values())


def leaf(sort: Sort, name: str) -> Term:
    column = Input(name, lambda frame: frame[name])
    if sort in (Sort.NUMBER, Sort.BOOLEAN):
        return Term(sort, ["leaf", name], column)
    known = Input(f"{name} is known", lambda frame: frame[name].valid)
    if sort is Sort.TIME:
        column = Input(name, lambda frame: frame[name].values.view(np.float64))
    return Term(sort, ["leaf", name], column, known)


SCOPE = {
    **{name: leaf(Sort.NUMBER, name) for name in ("x", "y", "z", "merchant.risk")},
    **{name: leaf(Sort.BOOLEAN, name) for name in ("online", "known")},
    **{name: leaf(Sort.TEXT, name) for name in ("channel", "country")},
    "at": leaf(Sort.TIME, "at"),
}


class Times(NamedTuple):
    """int64[N] of microseconds since 1970-01-01 UTC and bool[N], False where missing."""

    values: Any
    valid: Any


def text(*values: str | None) -> Text:
    return Text(
        pa.array([value or "" for value in values], pa.string()),
        np.array([value is not None for value in values]),
    )


def times(*values: str | None) -> Times:
    return Times(
        np.array([value or "1970-01-01" for value in values], "datetime64[us]").astype(np.int64),
        np.array([value is not None for value in values]),
    )


def evaluate(source: str, **frame: Any) -> Any:
    arrays = {
        name.replace("__", "."): np.array(value, np.float64) if isinstance(value, list) else value
        for name, value in frame.items()
    }
    return compute(source, Frame(arrays))


def compute(source: str, frame: Frame) -> Any:
    return ExpressionProgram({"result": compile_expression(source, SCOPE).term.node}).run(frame)[
        "result"
    ]


@pytest.mark.parametrize(
    ("source", "x", "y", "expected"),
    [
        ("x + y * 2 - 1", [1.0], [3.0], [6.0]),
        ("(x + y) * 2", [1.0], [3.0], [8.0]),
        ("-x", [1.0], [0.0], [-1.0]),
        ("x / y", [1.0, 1.0, 0.0, NAN], [4.0, 0.0, 0.0, 1.0], [0.25, NAN, NAN, NAN]),
        ("x // y", [7.0, -7.0, 1.0], [2.0, 2.0, 0.0], [3.0, -4.0, NAN]),
        ("x % y", [7.0, -7.0, 1.0], [3.0, 3.0, 0.0], [1.0, 2.0, NAN]),
        ("x ** 2", [3.0, NAN], [0.0, 0.0], [9.0, NAN]),
        ("x ** 5", [2.0], [0.0], [32.0]),
        ("x ** -2", [2.0, 0.0], [0.0, 0.0], [0.25, NAN]),
        ("x ** 0.5", [9.0, -1.0], [0.0, 0.0], [3.0, NAN]),
        ("x < y", [1.0, 2.0, NAN, 1.0], [2.0, 1.0, 1.0, NAN], [1.0, 0.0, NAN, NAN]),
        ("x == y", [1.0, NAN], [1.0, NAN], [1.0, NAN]),
        ("x != 1", [1.0, 2.0, NAN], [0.0, 0.0, 0.0], [0.0, 1.0, NAN]),
        ("1 < x <= y", [1.0, 2.0, 3.0], [9.0, 2.0, 2.0], [0.0, 1.0, 0.0]),
        ("x in [1, 2]", [1.0, 3.0, NAN], [0.0, 0.0, 0.0], [1.0, 0.0, NAN]),
        ("x not in (1, 2)", [1.0, 3.0, NAN], [0.0, 0.0, 0.0], [0.0, 1.0, NAN]),
        ("x in [-1, 2]", [-1.0, 2.0], [0.0, 0.0], [1.0, 1.0]),
        ("x > 0 and y > 0", [1.0, -1.0, NAN, NAN], [1.0, 1.0, 1.0, -1.0], [1.0, 0.0, NAN, 0.0]),
        ("x > 0 or y > 0", [1.0, -1.0, NAN, NAN], [1.0, -1.0, 1.0, -1.0], [1.0, 0.0, 1.0, NAN]),
        ("not x > 0", [1.0, -1.0, NAN], [0.0, 0.0, 0.0], [0.0, 1.0, NAN]),
        ("x if y > 0 else -x", [5.0, 5.0, 5.0], [1.0, -1.0, NAN], [5.0, -5.0, NAN]),
        ("where(y > 0, x, 0)", [5.0, 5.0, NAN], [1.0, -1.0, -1.0], [5.0, 0.0, 0.0]),
        ("abs(x)", [-2.0, NAN], [0.0, 0.0], [2.0, NAN]),
        ("min(x, y)", [1.0, NAN, 1.0], [2.0, 1.0, NAN], [1.0, NAN, NAN]),
        ("max(x, y, 1.5)", [1.0, NAN, 1.0], [1.0, 1.0, 3.0], [1.5, NAN, 3.0]),
        ("sqrt(x)", [4.0, -4.0], [0.0, 0.0], [2.0, NAN]),
        ("log(x)", [1.0, 0.0, -1.0], [0.0] * 3, [0.0, NAN, NAN]),
        ("log1p(x)", [0.0, -1.0], [0.0] * 2, [0.0, NAN]),
        ("exp(x)", [0.0, NAN], [0.0] * 2, [1.0, NAN]),
        ("floor(x)", [-1.5], [0.0], [-2.0]),
        ("ceil(x)", [-1.5], [0.0], [-1.0]),
        ("round(x)", [0.5, 1.5, 2.5], [0.0] * 3, [0.0, 2.0, 2.0]),
        ("is_null(x)", [1.0, NAN], [0.0] * 2, [0.0, 1.0]),
        ("coalesce(x, y, 7)", [1.0, NAN, NAN], [2.0, 2.0, NAN], [1.0, 2.0, 7.0]),
        ("(x > 1) * 3 + True", [2.0, 0.0], [0.0] * 2, [4.0, 1.0]),
    ],
)
def test_numbers(source: str, x: list[float], y: list[float], expected: list[float]) -> None:
    np.testing.assert_array_equal(evaluate(source, x=x, y=y), expected)


def test_text_is_compared_and_searched() -> None:
    channel, country = text("ecom", "pos", None), text("ecom", "FR", "pos")
    for source, expected in [
        ("channel == 'ecom'", [1, 0, NAN]),
        ("'ecom' == channel", [1, 0, NAN]),
        ("channel != 'ecom'", [0, 1, NAN]),
        ("channel in ['pos', 'atm']", [0, 1, NAN]),
        ("channel not in ['pos', 'atm']", [1, 0, NAN]),
        ("channel == country", [1, 0, NAN]),
        ("is_null(channel)", [0, 0, 1]),
    ]:
        found = evaluate(source, channel=channel, country=country)
        np.testing.assert_array_equal(found, expected, err_msg=source)


def test_parts_of_a_time_are_in_utc_and_weeks_begin_on_monday() -> None:
    at = times("2018-08-01T06:59:59.999999", "1969-12-31T23:00", "2024-02-29T00:00", None)
    np.testing.assert_array_equal(evaluate("hour(at)", at=at), [6, 23, 0, NAN])
    np.testing.assert_array_equal(evaluate("weekday(at)", at=at), [2, 2, 3, NAN])
    np.testing.assert_array_equal(evaluate("day(at)", at=at), [1, 31, 29, NAN])
    np.testing.assert_array_equal(evaluate("is_null(at)", at=at), [0, 0, 0, 1])


def test_dotted_names_are_fields_of_records() -> None:
    compiled = compile_expression("merchant.risk * 2", SCOPE)
    assert compiled.names == {"merchant.risk"}
    np.testing.assert_array_equal(evaluate("merchant.risk * 2", merchant__risk=[1.5]), [3.0])


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r", "\n\n"])
def test_line_breaks_are_blanks_outside_of_quotes_alone(line_break: str) -> None:
    channel = text("it's # 1", "a\nb", "c")
    source = f"{line_break}channel in{line_break}['it\\'s # 1', \"it's # 1\"]{line_break}"
    np.testing.assert_array_equal(evaluate(source, channel=channel), [1, 0, 0])
    source = f"channel =={line_break}'''a\nb'''{line_break}or channel == 'c'"
    np.testing.assert_array_equal(evaluate(source, channel=channel), [0, 1, 1])


@pytest.mark.parametrize(
    ("source", "offset", "message"),
    [
        ("", 0, "empty expression"),
        ("x +", 3, "this is not an expression"),
        ("x + ammount", 4, "unknown name 'ammount'"),
        ("1 + chanel", 4, "unknown name 'chanel'; did you mean 'channel'?"),
        ("x + merchant.rsik", 4, "did you mean 'merchant.risk'?"),
        ("'é' == channel and xx > 1", 19, "unknown name 'xx'"),
        ("log10(x)", 0, "unknown function 'log10'; did you mean 'log1p'?"),
        ("x + log", 4, "log is a function"),
        ("x.upper()", 0, "only the functions of the language"),
        ("(lambda: 1)()", 1, "only the functions of the language"),
        ("__import__('os')", 0, "unknown function"),
        ("x[0]", 0, "[...] is not part of the language"),
        ("[x for x in y]", 0, "ListComp is not part"),
        ("f'{x}' == channel", 0, "a formatted text is not part"),
        ("(x := 1)", 1, ":= is not part"),
        ("x @ y", 0, "@ is not part"),
        ("online & known", 0, "write and, or"),
        ("~x", 0, "write not"),
        ("x is None", 0, "write == or is_null"),
        ("x == None", 5, "None is not part"),
        ("1j * x", 0, "1j is not part"),
        ("b'a' == channel", 0, "b'a' is not part"),
        ("channel + 1", 0, "text is not a number"),
        ("channel < 'a'", 10, "text has no order"),
        ("channel == 1", 11, "text is compared with a number"),
        ("'a' == 'a'", 7, "both texts are constants"),
        ("channel in x", 11, "in is followed by a list"),
        ("channel in ['a', 1]", 17, "text is compared with a number"),
        ("x in [y]", 6, "constants only"),
        ("x in []", 5, "in is followed by a list"),
        ("at - 1", 0, "a time is not a number"),
        ("at > 1", 0, "a time is not a number"),
        ("hour(x)", 5, "hour takes a time here, not a number"),
        ("abs(channel)", 4, "abs takes a number here, not text"),
        ("is_null('a')", 8, "a constant text"),
        ("x and online", 0, "a condition is needed here"),
        ("online and y", 11, "a condition is needed here"),
        ("not x", 4, "a condition is needed here"),
        ("1 if x else 2", 5, "a condition is needed here"),
        ("where(x, 1, 2)", 6, "where takes a condition here"),
        ("abs(x, y)", 0, "abs takes 1 argument"),
        ("min(x)", 0, "min takes 2 to 8 arguments"),
        ("abs(x=1)", 6, "by place, not by name"),
        ("x ** y", 5, "an exponent is a whole number"),
        ("x ** 17", 5, "an exponent is a whole number"),
        ("x ** 0", 5, "an exponent is a whole number"),
        ("9 ** 9 ** 9", 5, "an exponent is a whole number"),
        ("channel", 0, "gives text"),
        ("at", 0, "gives a time"),
        ("x + 1e999", 4, "too large for float64"),
        ("x + 9007199254740993", 4, "beyond 2**53"),
        ("x + " * 600 + "x", 0, "too deeply"),
        # Python's own parser gives up at other depths in each version, and in other words.
        ("(" * 3000 + "x" + ")" * 1000, 40, "nested too deeply"),
        ("(" * 41 + "x" + ")" * 41, 40, "nested too deeply"),
        ("abs(" * 41 + "x" + ")" * 41, 163, "nested too deeply"),
        ("-" * 4000 + "x", 0, "nested too deeply"),
        ("-" * 40 + "x", 0, "nested too deeply"),
        ("not " * 1000 + "online", 0, "nested too deeply"),
        ("x + " * 1000 + "x", 0, "nested too deeply"),
        ("1 if online else " * 200 + "x", 0, "nested too deeply"),
        (f"min({', '.join(['max(x, x, x, x, x, x, x, x)'] * 8)}, y)", 0, "min takes 2 to 8"),
        (f"x in [{', '.join(['1'] * 600)}]", 0, "too long"),
        ("x" * 5000, 0, "longer than"),
        ("x\x00", 1, "not an expression"),
        ("x > 1  # large\n and online", 7, "a comment would hide what follows it"),
        ("x > 1  # large and online", 7, "a comment would hide what follows it"),
        ("x > 1  # large", 7, "a comment would hide what follows it"),
        ("# all", 0, "a comment would hide"),
        ("channel == 'a\nb'", 11, "unterminated string literal"),
        ("channel == 'a' or channel == 'b\n and online", 29, "unterminated string literal"),
        ("channel == '''a\nb''' and\n zz", 26, "unknown name 'zz'"),
        ("x >\n\n 1 and )", 12, "not an expression"),
    ],
)
def test_an_invalid_expression_is_refused_at_its_character(
    source: str, offset: int, message: str
) -> None:
    with pytest.raises(ExpressionError) as refusal:
        compile_expression(source, SCOPE)
    assert message in str(refusal.value)
    assert refusal.value.offset == offset


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x+y*2", "x + (y * 2)"),
        ("x in [2, 1]", "x in (1.0, 2)"),
        ("x if online else y", "where(online, x, y)"),
        ("'a' == channel", "channel == 'a'"),
        ("1 < x < 2", "1 < x and x < 2"),
    ],
)
def test_the_canonical_form_does_not_know_the_spelling(one: str, other: str) -> None:
    forms = [compile_expression(source, SCOPE).term.canonical for source in (one, other)]
    assert forms[0] == forms[1]


@pytest.mark.parametrize(
    ("one", "other"), [("x - y", "y - x"), ("x < 1", "x <= 1"), ("x + 1", "x + 2"), ("x", "y")]
)
def test_the_canonical_form_knows_the_meaning(one: str, other: str) -> None:
    forms = [compile_expression(source, SCOPE).term.canonical for source in (one, other)]
    assert forms[0] != forms[1]


NUMBERS = st.one_of(
    st.sampled_from(["x", "y", "z", "merchant.risk", "0", "1", "2.5", "-3"]),
    st.floats(-1e6, 1e6, allow_nan=False).map(repr),
)


def _extend_numbers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(inner, inner)
    condition = st.tuples(inner, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), inner).map(
        lambda t: f"({t[0]} {t[1]} {t[2]})"
    )
    return st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%"]), inner).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
        st.tuples(inner, st.sampled_from([2, 3, -1, 7, 0.5])).map(lambda t: f"({t[0]}) ** {t[1]}"),
        st.tuples(
            st.sampled_from(
                ["abs", "log", "log1p", "sqrt", "exp", "floor", "ceil", "round", "is_null"]
            ),
            inner,
        ).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(st.sampled_from(["min", "max", "coalesce"]), pair).map(
            lambda t: f"{t[0]}({t[1][0]}, {t[1][1]})"
        ),
        st.tuples(condition, st.sampled_from(["and", "or"]), condition, pair).map(
            lambda t: f"({t[3][0]} if {t[0]} {t[1]} {t[2]} else {t[3][1]})"
        ),
    )


EXPRESSIONS = st.recursive(NUMBERS, _extend_numbers, max_leaves=12)
VALUES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 2.0, 0.5, NAN, 1e300, -1e300]),
    st.floats(-1e9, 1e9, allow_nan=False),
)


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS, st.lists(st.tuples(*[VALUES] * 4), min_size=1, max_size=40))
def test_a_row_alone_and_together_has_the_same_bits(
    source: str, rows: list[tuple[float, ...]]
) -> None:
    program = ExpressionProgram({"result": compile_expression(source, SCOPE).term.node})
    table = np.array(rows, np.float64).T.copy()
    names = ("x", "y", "z", "merchant.risk")

    def bits(part: Any) -> Any:
        found = program.run(Frame(zip(names, part, strict=True)))["result"]
        return np.where(np.isnan(found), np.nan, found).view(np.int64)

    together = bits(table)
    for row in range(len(rows)):
        np.testing.assert_array_equal(bits(table[:, row : row + 1].copy()), together[row : row + 1])
    for start in (1, 2, 3):
        np.testing.assert_array_equal(bits(table[:, start:]), together[start:])


@settings(deadline=None)
@given(
    st.lists(EXPRESSIONS, min_size=2, max_size=5), st.lists(st.tuples(*[VALUES] * 4), min_size=1)
)
def test_a_program_computes_each_expression_as_a_program_of_its_own_does(
    sources: list[str], rows: list[tuple[float, ...]]
) -> None:
    frame = Frame(zip(("x", "y", "z", "merchant.risk"), np.array(rows).T, strict=True))
    names = [f"result {place}" for place in range(len(sources))]
    # Each one after the first adds the one before it.
    nodes = {names[0]: compile_expression(sources[0], SCOPE).term.node}
    for source, before, name in zip(sources[1:], names, names[1:], strict=False):
        scope = {**SCOPE, "before": leaf(Sort.NUMBER, before)}
        nodes[name] = compile_expression(f"({source}) + before", scope).term.node
    together = ExpressionProgram(nodes).run(frame)
    for name, node in nodes.items():
        frame[name] = ExpressionProgram({name: node}).run(frame)[name]
        np.testing.assert_array_equal(together[name], frame[name])


def test_texts_of_one_field_have_one_column_of_codes() -> None:
    read: list[str] = []

    def channel(frame: Frame) -> Any:
        read.append("channel")
        return frame["channel"]

    field = Input("channel", channel)
    program = ExpressionProgram(
        {
            "ecom": Listed(field, {"ecom": 1.0}, 0.0),
            "code": Listed(field, {"pos": 0.0, "ecom": 1.0}, NAN),
            "other": Listed(field, {"atm": 7.0}, 2.0),
        }
    )
    results = program.run(Frame(channel=text("pos", "ecom", "atm", None, "x")))
    np.testing.assert_array_equal(results["ecom"], [0, 1, 0, NAN, 0])
    np.testing.assert_array_equal(results["code"], [0, 1, NAN, NAN, NAN])
    np.testing.assert_array_equal(results["other"], [2, 2, 7, NAN, 2])
    assert read == ["channel"]


PYTHON: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "min": min,
    "max": max,
    "floor": math.floor,
    "ceil": math.ceil,
    "round": round,
}
ARITHMETIC = st.recursive(
    st.sampled_from(["x", "y", "1", "2.5", "7"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%", "<", "=="]), inner).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(
            lambda t: f"{t[0]}({t[1]}, {t[2]})"
        ),
        st.tuples(st.sampled_from(["abs", "floor", "ceil", "round", "-"]), inner).map(
            lambda t: f"{t[0]}({t[1]})"
        ),
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(ARITHMETIC, st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
@example("floor(7 / y)", 0.0, 1e-308)
def test_numbers_mean_what_they_mean_in_python(source: str, x: float, y: float) -> None:
    try:
        expected = float(eval(source, {"__builtins__": PYTHON}, {"x": x, "y": y}))  # noqa: S307
    except (ZeroDivisionError, OverflowError, ValueError):
        expected = NAN  # of infinity and NaN, Python has no whole number
    found = float(np.asarray(evaluate(source, x=[x], y=[y])).reshape(-1)[0])
    if math.isnan(expected) or math.isnan(found):
        # Python raises where a part is missing; here that part may not matter to the whole.
        return
    assert found == expected or math.isclose(found, expected, rel_tol=1e-12)
