"""The compiled loops of expressions and hashes, and the same code as Python runs it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from features.expression import operations, prove_expressions
from features.expression.operations import Text, TextNumbers
from features.values import grouping, prove_hashes
from features.values.grouping import grouped
from tests.support.interpreted import interpreted


def test_expressions_have_the_same_bits_without_compilation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled = prove_expressions.golden_results()
    kernels = interpreted("features.expression")
    monkeypatch.setattr(prove_expressions, "elementary", kernels["elementary"])
    monkeypatch.setattr(operations, "number_texts", kernels["texts"].number_texts)
    assert prove_expressions.golden_results() == compiled
    prove_expressions.prove_expressions()


def test_hashes_have_the_same_bits_without_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = prove_hashes.golden_results()
    kernels = interpreted("features.values")
    monkeypatch.setattr(prove_hashes, "siphash", kernels["siphash"].siphash)
    monkeypatch.setattr(grouping, "group_texts", kernels["groups"].group_texts)
    assert prove_hashes.golden_results() == compiled
    prove_hashes.prove_hashes()


TEXTS = st.text("aäb\0", max_size=4)


@given(st.lists(TEXTS, unique=True, max_size=9), st.lists(TEXTS, max_size=20))
def test_listed_texts_have_their_numbers(listed: list[str], texts: list[str]) -> None:
    numbers = {text: float(number) for number, text in enumerate(listed)}
    column = pa.array(["before", *texts, "behind"], pa.string()).slice(1, len(texts))
    valid = np.ones(len(texts), np.bool_)
    expected = [numbers.get(text, -1.0) for text in texts]
    assert TextNumbers(numbers, -1.0).of(Text(column, valid)).tolist() == expected


@example(["a", ""], 1)
@given(st.lists(TEXTS, max_size=30), st.sampled_from([1, 40]))
def test_rows_are_grouped_by_their_texts(some: list[str], times: int) -> None:
    texts = some * times
    column = pa.array(["before", *texts, "behind"], pa.string()).slice(1, len(texts))
    keys, codes = grouped(column)
    assert keys.to_list() == [text.encode() for text in dict.fromkeys(texts)]
    assert [keys.key(code).decode() for code in codes.tolist()] == texts
