"""k8s/monitoring: alerts by promtool, the page behind each, and the dashboard as it is built."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.packaging.test_docs import anchors
from tests.support.object_servers import ROOT, require_tool
from tests.support.prometheus import MONITORING, PROMTOOL, alert_rules
from worker.process.metrics import REGISTRY

CASES = Path(__file__).with_name("alerts.yaml")
_SERIES = re.compile(r"\b(?:fraud_worker|process)_[a-z_]+\b")
_SUFFIX = re.compile(r"_(bucket|sum|count)$")


def rules() -> list[dict[str, Any]]:
    return [rule for group in alert_rules()["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def run_cases(folder: Path, document: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run the cases on groups of rules."""
    require_tool(PROMTOOL)
    (folder / "rules.yaml").write_text(yaml.safe_dump(document))
    shutil.copy(CASES, folder)
    command = [str(PROMTOOL), "test", "rules", CASES.name]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_each_alert_fires_when_it_should_and_none_for_a_healthy_worker(tmp_path: Path) -> None:
    done = run_cases(tmp_path, alert_rules())
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_sees_an_alert_that_does_not_fire(tmp_path: Path) -> None:
    document = alert_rules()
    for group in document["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                rule["for"] = "10h"
    done = run_cases(tmp_path, document)
    assert "FraudWorkerPaused" in done.stdout + done.stderr
    assert done.returncode


def test_each_alert_has_a_test() -> None:
    text = CASES.read_text()
    assert not [name for name in alerts() if f'alertname="{name}"' not in text]


def test_expressions_name_metrics_that_the_worker_has() -> None:
    known = {sample.name for family in REGISTRY.collect() for sample in family.samples}
    known |= {family.name for family in REGISTRY.collect()}
    known |= {f"{name}_total" for name in known}
    named = {name for rule in rules() for name in _SERIES.findall(rule["expr"])}
    assert len(named) > 12
    assert not {name for name in named if _SUFFIX.sub("", name) not in known | {"fraud_worker"}}


@pytest.mark.parametrize("name", alerts())
def test_the_page_behind_an_alert_says_what_to_do(name: str) -> None:
    annotations = alerts()[name]["annotations"]
    page, _, heading = annotations["runbook"].partition("#")
    assert heading in anchors(ROOT / page)
    assert annotations["summary"].endswith(".")
    assert alerts()[name]["labels"]["severity"] in {"critical", "warning", "info"}
    troubleshoot = (ROOT / "docs/how-to/monitor.md").read_text()
    assert f"`{name}`" in troubleshoot


def test_the_dashboard_is_the_one_that_its_script_builds() -> None:
    path = MONITORING / "dashboard.py"
    spec = importlib.util.spec_from_file_location("dashboard", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.dashboard() == (MONITORING / "dashboard.json").read_text()
