"""A short run of the chaos: the long one is ``make chaos``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KILLS = 4


@pytest.mark.timeout(600)
def test_nothing_is_lost_and_nothing_comes_twice(seed: int) -> None:
    command = [sys.executable, "tests/system/chaos.py", "--kills", str(KILLS), "--seed", str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-6000:]
    verdict = json.loads(done.stdout.splitlines()[-1])
    assert verdict["kills"] == KILLS
    assert verdict["zombies"] >= 1
    assert verdict["broker_restarts"] >= 1
    for fault in ("lost", "duplicated", "out_of_order", "scores_different"):
        assert verdict[fault] == 0, done.stderr[-6000:]
