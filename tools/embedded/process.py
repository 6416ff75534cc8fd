"""Servers as child processes: start them, wait until they answer, and end them."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Protocol, Self, cast

from base.errors import DependencyUnavailableError

_GUARD = Path(__file__).with_name("guard.py")
_POLL_S = 0.02
_SHOWN_LOG_LINES = 20
# Below the range that Linux and macOS take for outgoing connections: a server that is down for a
# while finds its port free when it comes back.
_PORTS = range(20_000, 32_000)
LOOPBACK = "127.0.0.1"


class Process(Protocol):
    """The part of ``subprocess.Popen`` that a server needs of its process."""

    @property
    def pid(self) -> int:
        """The server's process id."""

    def poll(self) -> int | None:
        """The exit status, None while it runs."""

    def send_signal(self, sig: int, /) -> None:
        """Signal the server."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; raises subprocess.TimeoutExpired after ``timeout`` seconds."""


Spawn = Callable[[Sequence[str], Path], Process]


class Guarded:
    """A process that dies with this one, however this one dies (see ``guard.py``)."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        with log.open("ab") as out:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                bufsize=0,
                # Ctrl-C is for this process, which then ends its servers in order.
                start_new_session=True,
            )
        self._control = cast("IO[bytes]", self._guard.stdin)
        with cast("IO[bytes]", self._guard.stdout) as pids:
            first = pids.readline()
        if not first:
            raise DependencyUnavailableError(
                f"{command[0]} could not be started:\n{last_lines(log)}"
            )
        self.pid = int(first)

    def poll(self) -> int | None:
        return self._guard.poll()

    def send_signal(self, sig: int, /) -> None:
        try:
            self._control.write(bytes([sig]))
        except BrokenPipeError:  # it has just ended
            return

    def wait(self, timeout: float | None = None) -> int:
        status = self._guard.wait(timeout)
        self._control.close()
        return status


def detached(command: Sequence[str], log: Path) -> Process:
    """Start a process that outlives this one."""
    with log.open("ab") as out:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


class Server(ABC):
    """A server with its data and its log in one folder, on a loopback port that it keeps.

    As a context manager it starts on entry and stops on exit.
    """

    name: str
    start_timeout_s = 60.0
    stop_timeout_s = 20.0

    def __init__(self, folder: Path, port: int | None = None, spawn: Spawn = Guarded) -> None:
        self.folder = folder.absolute()
        self.log = self.folder / "server.log"
        self.port = port or free_port()
        self._spawn = spawn
        self._process: Process | None = None

    @abstractmethod
    def prepare(self) -> list[str]:
        """Prepare the folder; return the command that starts the server."""

    @abstractmethod
    def answers(self) -> bool:
        """Return True if the server can be used now; takes a second at most."""

    @property
    def pid(self) -> int:
        """The running server's process id."""
        return self._running().pid

    def start(self) -> None:
        """Start on the same port and data as before, and wait until the server answers.

        Raises:
            DependencyUnavailableError: It does not answer; the message has the end of its log.
        """
        if self._process is not None:
            raise RuntimeError(f"{self.name} in {self.folder} runs already")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._process = self._spawn(self.prepare(), self.log)
        try:
            self._wait_until_it_answers(self._process)
        except BaseException:  # also an interrupt: one that does not answer is of no use
            self.kill()
            raise

    def stop(self) -> None:
        """End the server in order; kill it if it does not end in time."""
        process = self._running()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(self.stop_timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End the server at once, like a power cut."""
        process = self._running()
        process.send_signal(signal.SIGKILL)
        process.wait(self.stop_timeout_s)
        self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.stop()

    def _wait_until_it_answers(self, process: Process) -> None:
        deadline = time.monotonic() + self.start_timeout_s
        while not self.answers():
            status = process.poll()
            if status is not None or time.monotonic() > deadline:
                happened = (
                    f"does not answer after {self.start_timeout_s:g} s"
                    if status is None
                    else f"ended with status {status}"
                )
                raise DependencyUnavailableError(
                    f"{self.name} {happened}; {self.log} ends with:\n{last_lines(self.log)}"
                )
            time.sleep(_POLL_S)

    def _running(self) -> Process:
        if self._process is None:
            raise RuntimeError(f"{self.name} in {self.folder} does not run")
        return self._process


def accepts_connections(port: int) -> bool:
    """Return True if a process listens on this port of the loopback address."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """Find a port on the loopback address on which no process listens."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe:
            # Without it, a port with connections that have just been closed counts as taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        return port


def last_lines(log: Path) -> str:
    """The end of a log file."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(lines[-_SHOWN_LOG_LINES:]) or "(nothing)"
