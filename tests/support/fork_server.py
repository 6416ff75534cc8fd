"""Programs that are forked from a process which has the worker imported and its kernels loaded.

A start of the worker takes 2 s of CPU, most of it for imports and kernels, and the tests have
hundreds of starts. A forked program has its own process, environment, log and exit status. Tests
whose subject is the start of a command, or a command as its users type it, do not fork it:
those of signals, of the demo, of `dev` and of the tutorial.

``python -m tests.support.fork_server`` is the process that forks; ``Forked`` starts it.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.image import image_path

ROOT = Path(__file__).parents[2]
_PID_BYTES = 8
_END_S = 20.0
_PR_SET_PDEATHSIG = 1
# Modules that commands import when they run.
_COMMANDS = (
    "worker.app",
    "worker.warm_up",
    "tools.cli.commands",
    "tools.checks.examine",
    "tools.replay",
)


class Forked:
    """A program that dies with this process, however this one dies.

    It is used like ``tools.embedded.process.Guarded``.

    Args:
        program: Name of a module and its arguments, as after ``python -m``.
        log: File that its output is appended to.
        errors: File for its errors, if they are to be apart from its output.
        environment: Changes to the environment variables of this process; None removes one.

    Attributes:
        pid: Process id.

    Raises:
        RuntimeError: The process that forks has ended; its errors are on stderr.
    """

    def __init__(
        self,
        program: Sequence[str],
        log: Path,
        errors: Path | None = None,
        environment: Mapping[str, str | None] | None = None,
    ) -> None:
        variables = {**os.environ, "PYTHONPATH": image_path(), **(environment or {})}
        request = {
            "program": list(program),
            "folder": str(Path.cwd()),
            "environment": {k: v for k, v in variables.items() if v is not None},
            "output": str(log.absolute()),
            "errors": str((errors or log).absolute()),
        }
        log.touch()  # it is read while the program starts
        self._status: int | None = None
        self._control, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(_fork_server(), [b"f"], [theirs.fileno()])
        self._control.sendall(json.dumps(request).encode() + b"\n")
        pid = self._control.recv(_PID_BYTES, socket.MSG_WAITALL)
        if len(pid) < _PID_BYTES:
            raise RuntimeError("the process that forks has ended: see its errors on stderr")
        self.pid = int.from_bytes(pid)

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs; 128 and more for the signal of its end."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self._status

    def send_signal(self, sig: int, /) -> None:
        with suppress(OSError):  # it has just ended
            self._control.send(bytes([sig]))

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and return the exit status.

        Raises:
            subprocess.TimeoutExpired: It runs after ``timeout`` seconds.
        """
        if self._status is None:
            self._control.settimeout(timeout)
            try:
                status = self._control.recv(1)
            except (BlockingIOError, TimeoutError) as error:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0) from error
            self._control.close()
            # Without a status, its keeper was killed, and it with it.
            self._status = status[0] if status else 128 + signal.SIGKILL
        return self._status


def run_forked(*program: object, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, like ``subprocess.run`` with its output captured.

    Args:
        program: Name of a module and its arguments, as after ``python -m``.
        timeout_s: Bound in seconds, after which it is killed.

    Raises:
        subprocess.TimeoutExpired: It has not ended in time.
    """
    words = [*map(str, program)]
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder) / "output", Path(folder) / "errors"
        process = Forked(words, output, errors)
        try:
            status = process.wait(timeout_s)
        except BaseException:
            process.send_signal(signal.SIGKILL)
            process.wait(_END_S)
            raise
        return subprocess.CompletedProcess(words, status, output.read_text(), errors.read_text())


@cache
def _fork_server() -> socket.socket:
    """Start the process that forks, which ends when the returned connection is closed."""
    control, theirs = socket.socketpair()
    with theirs:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fork_server"],
            cwd=ROOT,
            # A process that forks may have no other threads.
            env={**os.environ, "PYTHONPATH": image_path(), "OPENBLAS_NUM_THREADS": "1"},
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            # Ctrl-C is for the process that uses it.
            start_new_session=True,
        )

    def end() -> None:
        control.close()
        server.wait(_END_S)

    atexit.register(end)
    return control


def main() -> None:
    """Import, then fork programs until the connection at standard input is closed."""
    gc.disable()
    for module in _COMMANDS:
        __import__(module)
    from worker.warm_up import warm_up  # noqa: PLC0415 - the clients do without

    warm_up()
    gc.freeze()
    # Its children are its programs' keepers, whose statuses nobody asks for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    program = _serve(socket.socket(fileno=os.dup(0)))
    if program is not None:
        gc.enable()
        runpy.run_module(program[0], run_name="__main__", alter_sys=True)


def _serve(control: socket.socket) -> list[str] | None:
    """Return the program in a process that is to run it, and None when there are no more."""
    while True:
        message, descriptors, *_ = socket.recv_fds(control, 1, 1)
        if not message:
            return None
        with socket.socket(fileno=descriptors[0]) as client:
            if not os.fork():
                control.close()
                return _keep(client)


def _keep(client: socket.socket) -> list[str]:
    """Fork a program, pass signals to it and tell its end; return only in the program."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with client.makefile("rb") as lines:
        request = json.loads(lines.readline())
    pid = os.fork()
    if not pid:
        client.close()
        return _become(request)
    client.sendall(pid.to_bytes(_PID_BYTES))
    threading.Thread(target=_obey, args=(client, pid), daemon=True).start()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(OSError):  # the client may be gone
        client.sendall(bytes([status if status >= 0 else 128 - status]))
    os._exit(0)


def _obey(client: socket.socket, pid: int) -> None:
    with suppress(OSError):  # the client or the program has just ended
        while number := client.recv(1):
            os.kill(pid, number[0])
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _become(request: dict[str, Any]) -> list[str]:
    if sys.platform == "linux":  # for a keeper that is killed itself
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = (os.devnull, request["output"], request["errors"])
    for number, path in enumerate(files):
        opened = os.open(path, appending if number else os.O_RDONLY, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    program: list[str] = request["program"]
    sys.argv[1:] = program[1:]
    return program


if __name__ == "__main__":
    main()
