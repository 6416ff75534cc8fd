"""A short run of the skew command, as `make skew` runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.rig import ROOT

EVENTS = 60_000
FAULTS = 6
LIMIT_S = 600.0


@pytest.mark.system
@pytest.mark.timeout(620)
def test_features_are_those_of_the_training_table_under_faults(data_dir: Path, seed: int) -> None:
    if not (data_dir / "handbook_raw.parquet").exists():
        pytest.skip(f"{data_dir} has no handbook_raw.parquet; set FRAUD_WORKER_DATA")
    words = ["--faults", FAULTS, "--events", EVENTS, "--seed", seed]
    done = subprocess.run(
        [sys.executable, "tests/commands/skew.py", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "FRAUD_WORKER_DATA": str(data_dir)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["faults"] == FAULTS
    assert result["events"] > EVENTS
    assert result["filled"] > 0
    held = ("mismatches", "lost", "duplicated")
    assert {name: result[name] for name in held} == dict.fromkeys(held, 0), done.stderr
