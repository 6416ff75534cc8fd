"""The commands that help contributors: `make doctor` and `make watch`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.commands.watch import concerned

ROOT = Path(__file__).parents[2]
DOCTOR = ROOT / "tests" / "commands" / "doctor.py"


def doctor(**environment: str) -> subprocess.CompletedProcess[str]:
    # -S: no installed package can be imported.
    return subprocess.run(
        [sys.executable, "-S", DOCTOR],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_doctor_finds_nothing_missing_where_the_tests_run() -> None:
    done = doctor()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing is missing" in done.stdout


def test_doctor_names_what_is_missing_and_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    done = doctor(FRAUD_WORKER_CACHE=str(file / "cache"), PATH=str(tmp_path))
    assert done.returncode == 1
    assert "missing  make         no GNU make" in done.stdout
    assert "name another folder in FRAUD_WORKER_CACHE" in done.stdout
    assert "2 missing" in done.stdout


def test_watch_chooses_the_tests_that_import_what_changed() -> None:
    chosen = concerned({ROOT / "features" / "store" / "scripts.py"})
    assert ROOT / "tests" / "unit" / "features" / "test_scripts.py" in chosen
    assert ROOT / "tests" / "unit" / "models" / "test_policy.py" not in chosen
    own = ROOT / "tests" / "unit" / "models" / "test_policy.py"
    assert concerned({own}) == [own]
