"""A signal ends `fraud-worker run` at whatever moment it comes, in a container too."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.healthy import healthy_pipeline
from tests.support.image import image_path
from tests.support.replica import HANGING
from tests.support.rig import ROOT, await_that

# A call to brokers that are away may be under way: delivery.broker_timeout_s is 0.3 s here.
END_S = 10.0
START_S = 60.0
linux = pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pipeline whose brokers and store are away: its worker waits for them for ever."""
    return healthy_pipeline(tmp_path / "pipeline")


@contextmanager
def started(folder: Path, command: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """`fraud-worker run` as it starts. command: what runs it."""
    with (folder / "worker.log").open("ab") as out:
        process = subprocess.Popen(
            [*command, sys.executable, "-m", "tools", "run", "--pipeline", str(folder)],
            cwd=ROOT,
            stdout=out,
            stderr=out,
            env={**os.environ, "FRAUD_WORKER_HTTP__PORT": "0", "PYTHONPATH": image_path(HANGING)},
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(END_S)


def said(folder: Path) -> str:
    return (folder / "worker.log").read_text()


def handles(pid: int, number: int) -> bool:
    """Whether the process has a handler for the signal."""
    status = Path(f"/proc/{pid}/status").read_text().split()
    return bool(int(status[status.index("SigCgt:") + 1], 16) >> (number - 1) & 1)


def has_loaded(pid: int, library: str) -> bool:
    return library in Path(f"/proc/{pid}/maps").read_text()


def ends(process: subprocess.Popen[bytes], folder: Path, status: int = 0) -> None:
    try:
        assert process.wait(END_S) == status, said(folder)
    except subprocess.TimeoutExpired:
        pytest.fail(f"it goes on for more than {END_S:g} s; {said(folder)}")


@linux
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_handler_is_set_before_anything_that_takes_time(folder: Path, number: int) -> None:
    with started(folder) as process:
        # The first library that comes with the commands, and not with Python.
        await_that(
            lambda: has_loaded(process.pid, "site-packages"),
            START_S,
            "imports",
            lambda: said(folder),
        )
        assert handles(process.pid, number)
        process.send_signal(number)
        ends(process, folder)


def _children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@linux
@pytest.mark.parametrize("library", ["pydantic_core", "numpy", "xgboost", "waits"])
def test_process_1_ends_on_a_signal(folder: Path, library: str) -> None:
    """The kernel keeps signals from the first process of a PID namespace unless it handles them."""
    namespace = ("unshare", "--pid", "--fork", "--kill-child")
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make a PID namespace")
    with started(folder, namespace) as process:
        await_that(lambda: bool(_children(process.pid)), START_S, "a child", lambda: "")
        (worker,) = _children(process.pid)
        # Before that, the child is still `unshare`.
        await_that(
            lambda: (
                "kafka_away" in said(folder) or "store_away" in said(folder)
                if library == "waits"
                else has_loaded(worker, library)
            ),
            START_S,
            library,
            lambda: said(folder),
        )
        os.kill(worker, signal.SIGTERM)
        ends(process, folder)


@linux
def test_a_model_that_is_being_verified_is_let_go(folder: Path) -> None:
    """The child process that proves the bundle hangs; it must not outlive the worker."""
    (folder / "model").rename(folder / "hangs")
    text = (folder / "worker.yaml").read_text()
    (folder / "worker.yaml").write_text(
        text.replace("bundle: model", f"bundle: {folder / 'hangs'}")
    )
    with started(folder) as process:
        await_that(lambda: bool(_children(process.pid)), START_S, "a child", lambda: said(folder))
        (child,) = _children(process.pid)
        process.send_signal(signal.SIGTERM)
        ends(process, folder)
        await_that(
            lambda: not Path(f"/proc/{child}").exists() or "Z" in _state(child),
            END_S,
            "the end of the child",
            lambda: _state(child),
        )


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "gone"


def test_a_signal_at_any_moment_ends_the_worker_in_time(folder: Path) -> None:
    # Before Python has come to the first line of the worker, the signal's default ends it.
    began = time.monotonic()
    with started(folder) as process:
        await_that(lambda: "away" in said(folder), START_S, "a wait", lambda: said(folder))
        takes_s = time.monotonic() - began
        process.terminate()
        ends(process, folder)
    for _ in range(6):
        with started(folder) as process:
            time.sleep(random.uniform(0, takes_s))
            process.terminate()
            process.terminate()
            try:
                assert process.wait(END_S) in (0, -signal.SIGTERM), said(folder)
            except subprocess.TimeoutExpired:
                pytest.fail(f"it goes on for more than {END_S:g} s; {said(folder)}")


@linux
def test_a_command_as_process_1_ends_on_a_signal(folder: Path) -> None:
    namespace = ("unshare", "--pid", "--fork", "--kill-child")
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make a PID namespace")
    labels = folder / "labels.jsonl"
    os.mkfifo(labels)
    with subprocess.Popen(
        [*namespace, sys.executable, "-m", "tools", "features", "load-labels", str(labels)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
    ) as process:
        await_that(lambda: bool(_children(process.pid)), START_S, "a child", lambda: "")
        (command,) = _children(process.pid)
        await_that(lambda: has_loaded(command, "site-packages"), START_S, "imports", lambda: "")
        os.kill(command, signal.SIGTERM)
        assert process.wait(END_S) == 128 + signal.SIGTERM


def test_a_command_that_is_not_process_1_keeps_the_default() -> None:
    # Where the tests run in the background of a shell, children inherit that SIGINT is ignored.
    code = (
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from worker.process.exits import end_at_once\nend_at_once(['demo'])\n"
        "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
