"""The runbook names every metric, with its meaning, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from worker.process.exit_codes import ExitCode
from worker.process.metrics import REGISTRY

RUNBOOK = Path(__file__).parents[3] / "docs" / "runbook.md"


def test_the_table_of_metrics_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| `(fraud_worker_\w+)` \| (.+) \|$", RUNBOOK.read_text(), re.MULTILINE)
    table = dict(rows)
    assert len(table) == len(rows)

    declared = {
        f"{metric.name}_total" if metric.type == "counter" else metric.name: metric.documentation
        for metric in REGISTRY.collect()
    }
    assert table.keys() == declared.keys()
    for name, meaning in declared.items():
        assert table[name].startswith(meaning.rstrip(".")), name


def test_metrics_that_the_text_names_exist() -> None:
    exposed = {metric.name for metric in REGISTRY.collect()}
    for name in re.findall(r"fraud_worker_\w+", RUNBOOK.read_text()):
        assert name.removesuffix("_total") in exposed, name


def test_every_failing_exit_code_has_a_section() -> None:
    sections = re.findall(r"^## It ends with exit code (\d+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert {int(code) for code in sections} == {*ExitCode} - {ExitCode.OK}
