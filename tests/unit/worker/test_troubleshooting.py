"""The documentation names the worker's metrics and exit codes, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from worker.process.exit_codes import ExitCode
from worker.process.metrics import REGISTRY

DOCS = Path(__file__).parents[3] / "docs"
# Series that Prometheus derives from a metric.
DERIVED = r"_(total|bucket|sum|count)$"


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_metrics_that_a_page_names_exist(page: Path) -> None:
    exposed = {metric.name for metric in REGISTRY.collect()}
    for name in re.findall(r"fraud_worker_\w+", page.read_text()):
        metadata = {"fraud_worker_flagged"}  # of a training table
        assert re.sub(DERIVED, "", name) in exposed | metadata, name


def test_every_failing_exit_code_has_a_section() -> None:
    text = (DOCS / "how-to" / "troubleshoot.md").read_text()
    sections = re.findall(r"^## It ends with exit code (\d+)$", text, re.MULTILINE)
    assert {int(code) for code in sections} == {*ExitCode} - {ExitCode.OK}
