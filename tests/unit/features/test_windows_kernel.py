"""The compiled windows and the same code as Python runs it."""

from __future__ import annotations

import pytest

from base.errors import ConfigurationError
from features.windows import golden
from tests.support.interpreted import interpreted


def test_the_golden_results_are_the_same_without_compilation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled = golden.golden_results()
    monkeypatch.setattr(golden, "compute", interpreted("features.windows")["loop"].compute)
    assert golden.golden_results() == compiled


def test_another_result_than_the_golden_one_refuses_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    golden.prove_windows()
    kernel = interpreted("features.windows")
    monkeypatch.setattr(kernel["aggregates"], "SECOND", 1e6 + 1)
    monkeypatch.setattr(golden, "compute", kernel["loop"].compute)
    with pytest.raises(ConfigurationError, match="the compiled kernel windows computes wrong"):
        golden.prove_windows()
