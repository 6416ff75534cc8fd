"""The tests of damaged bodies, with a check of each index that compiled code reads or writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from base.user_folders import CACHE_VARIABLE

TESTS = Path(__file__).parents[2] / "unit" / "schemas"


@pytest.mark.timeout(300)
def test_damaged_bodies_are_read_within_bounds(tmp_path: Path) -> None:
    # Compiled anew: a cache does not tell kernels with checks from those without.
    folder = {CACHE_VARIABLE: str(tmp_path)}
    named = [
        str(TESTS / name)
        for name in ("test_decode_agreement.py", "test_columns.py", "test_decode_kernel.py")
    ]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *named]
    done = subprocess.run(
        [*command, "-k", "damaged or fault or integer or proof"],
        env=os.environ | folder | {"NUMBA_BOUNDSCHECK": "1"},
        cwd=TESTS.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
