"""A short run of the chaos command, as `make chaos` runs it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.rig import ROOT

KILLS = 1
LIMIT_S = 600.0


@pytest.mark.system
@pytest.mark.timeout(620)
def test_faults_of_workers_servers_topics_and_records_lose_repeat_and_miscount_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "tests/commands/chaos.py", "--kills", str(KILLS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["kills"] == KILLS
    happened = (
        "zombies",
        "broker_restarts",
        "store_kills",
        "topics_created_again",
        "odd_registries",
        "hostile_records",
        "dead_letters",
    )
    assert min(result[name] for name in happened) >= 1
    assert result["events"] > 10_000
    held = ("lost", "duplicated", "out_of_order", "scores_different")
    assert {name: result[name] for name in held} == dict.fromkeys(held, 0), done.stderr
