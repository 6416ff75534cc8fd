"""Worker in its own process, as in production."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from base.errors import DependencyUnavailableError
from tools.embedded.process import LOOPBACK, Guarded, free_port, last_lines

_READY_S = 60.0
_DRAIN_S = 40.0


class WorkerProcess:
    """Process of ``fraud-worker run``, with its log in a file; it ends with this process."""

    def __init__(self, pipeline: Path, environment: dict[str, str], log: Path) -> None:
        self._log = log
        self._port = free_port()
        settings = {
            **environment,
            "FRAUD_WORKER_HTTP__HOST": LOOPBACK,
            "FRAUD_WORKER_HTTP__PORT": str(self._port),
            "FRAUD_WORKER_LOGS__FORMAT": "json",
        }
        run = [sys.executable, "-P", "-m", "tools", "run", "--pipeline", str(pipeline)]
        self._process = Guarded(
            ["env", *(f"{name}={value}" for name, value in settings.items()), *run], log
        )

    def wait_ready(self) -> None:
        """Wait until the worker is ready.

        Raises:
            DependencyUnavailableError: It does not get ready; the message has the end of its log.
        """
        deadline = time.monotonic() + _READY_S
        while not self._ready():
            self.require_running()
            if time.monotonic() > deadline:
                raise DependencyUnavailableError(
                    f"the worker is not ready after {_READY_S:g} s; {self._tail()}"
                )
            time.sleep(0.05)

    def require_running(self) -> None:
        """Raise DependencyUnavailableError if the worker has ended."""
        status = self._process.poll()
        if status is not None:
            raise DependencyUnavailableError(
                f"the worker ended with status {status}; {self._tail()}"
            )

    def drain(self) -> None:
        """Send SIGTERM and wait. Raises DependencyUnavailableError unless the status is 0."""
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(_DRAIN_S)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGKILL)
            status = self._process.wait(_DRAIN_S)
        if status:
            raise DependencyUnavailableError(
                f"the worker did not drain: it ended with status {status}; {self._tail()}"
            )

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(
                f"http://{LOOPBACK}:{self._port}/ready", timeout=1
            ) as answer:
                return bool(json.load(answer)["ok"])
        except OSError:
            return False

    def _tail(self) -> str:
        return f"{self._log} ends with:\n{last_lines(self._log)}"
