"""Programs that the tests fork: their status, output and signals, and their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fork_server import ROOT, Forked, run_forked
from tests.support.rig import await_that

PROGRAM = "tests.support.no_worker"
END_S = 30.0
STARTER = f"""
from pathlib import Path
from tests.support.fork_server import Forked
print(Forked(["{PROGRAM}", "sleeps"], Path("log")).pid, flush=True)
input()
"""


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_program_ends_with_its_own_status_and_has_its_own_output() -> None:
    done = run_forked(PROGRAM, 7, timeout_s=END_S)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")
    done = run_forked(PROGRAM, "raises", timeout_s=END_S)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.endswith("\nValueError\n")


def test_a_signal_ends_a_program_which_its_status_tells(tmp_path: Path) -> None:
    process = Forked([PROGRAM, "sleeps"], tmp_path / "log")
    assert process.poll() is None
    assert process.pid != os.getpid()
    process.send_signal(signal.SIGTERM)
    assert process.wait(END_S) == 128 + signal.SIGTERM
    assert process.poll() == 128 + signal.SIGTERM
    process.send_signal(signal.SIGTERM)  # it has ended


def test_a_program_that_takes_too_long_is_killed() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run_forked(PROGRAM, "sleeps", timeout_s=0.1)


def test_a_program_that_is_stopped_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as starter:
        assert starter.stdout
        pid = int(starter.stdout.readline())
        os.kill(pid, signal.SIGSTOP)
        assert is_there(pid)
        starter.kill()
    await_that(lambda: not is_there(pid), END_S, "its end", lambda: pid)
