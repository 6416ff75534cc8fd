"""Workers as child processes, and a supervisor that restarts them."""

from __future__ import annotations

import json
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tests.support.fork_server import Forked
from tests.support.rig import await_that
from tools.embedded.process import LOOPBACK, free_port, last_lines

# Exit codes of DeliveryFatalError and of the watchdog.
_RESTARTABLE = (3, 70)
_BATCHES = re.compile(r'^fraud_worker_batches_total\{outcome="(\w+)"\} (\S+)$', re.MULTILINE)
_LAG = re.compile(r"^fraud_worker_lag_records\{.*\} (\S+)$", re.MULTILINE)
_FILLED = re.compile(r"^fraud_worker_filled_events_total (\S+)$", re.MULTILINE)
_LATE_LABELS = re.compile(r"^fraud_worker_late_labels_total (\S+)$", re.MULTILINE)
_LABELS = re.compile(r"^fraud_worker_labels_total (\S+)$", re.MULTILINE)
_HTTP_S = 1.0
READY_S = 60.0
DRAIN_S = 30.0

_started: list[Forked] = []


class HasFolder(Protocol):
    """The part of a rig that a worker needs: its pipeline folder."""

    @property
    def folder(self) -> Path: ...


class Worker:
    """One process of a replica.

    Args:
        rig: Pipeline folder of the worker.
        replica: Name of the replica.
        program: Module to run and its arguments.
        environment: Changes to the environment variables; None removes one.

    Attributes:
        filled: Number of events that it has put into histories without scoring them, as of its last
            response.
        labels: Number of labels that it has put into the store, likewise.
        late_labels: Number of these that came too late, likewise.
        port: Port of its probes and metrics.
    """

    def __init__(
        self,
        rig: HasFolder,
        replica: str,
        *,
        program: Sequence[str] = ("tools", "run"),
        environment: Mapping[str, str | None] | None = None,
    ) -> None:
        self.replica = replica
        self.log = rig.folder / f"{replica}.log"
        self.port = free_port()
        settings = {
            "FRAUD_WORKER_REPLICA": replica,
            "FRAUD_WORKER_HTTP__PORT": str(self.port),
            **(environment or {}),
        }
        command = [*program, "--pipeline", str(rig.folder)]
        self._process = Forked(command, self.log, environment=settings)
        _started.append(self._process)
        self.pid = self._process.pid
        self.filled = 0
        self.labels = 0
        self.late_labels = 0

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def status(self) -> int | None:
        """Return the exit status, or None while it runs."""
        return self._process.poll()

    def wait(self, deadline_s: float) -> int:
        """Wait for the end, and return the exit status.

        Raises:
            TimeoutError: It still runs; the message ends with the end of the log.
        """
        await_that(
            lambda: self.status() is not None, deadline_s, f"the end of {self.replica}", self.tail
        )
        return self._process.wait()

    def kill(self) -> None:
        self._metrics()
        self.signal(signal.SIGKILL)
        self.wait(DRAIN_S)

    def drain(self) -> int:
        """Send SIGTERM, and return the exit status."""
        self._metrics()
        self.signal(signal.SIGTERM)
        return self.wait(DRAIN_S)

    def committed(self) -> float:
        """Number of micro-batches that this process has committed; 0 while it does not respond."""
        return self._batches().get("committed", 0.0)

    def attempts(self) -> float:
        """Number of micro-batches that it has committed or tried to commit."""
        return sum(self._batches().values())

    def _batches(self) -> dict[str, float]:
        samples = _BATCHES.findall(self._metrics())
        return {outcome: float(count) for outcome, count in samples}

    def is_idle(self) -> bool:
        """Return True if it is ready and has read its partitions to their ends."""
        lags = map(float, _LAG.findall(self._metrics()))
        return not any(lags) and not self.not_ready()

    def _metrics(self) -> str:
        text = self._get("/metrics")[1]
        if filled := _FILLED.search(text):
            self.filled = int(float(filled[1]))
        if labels := _LABELS.search(text):
            self.labels = int(float(labels[1]))
        if late := _LATE_LABELS.search(text):
            self.late_labels = int(float(late[1]))
        return text

    def not_ready(self) -> list[str]:
        """Reasons why it is not ready; empty if it is ready."""
        status, body = self._get("/ready")
        if status == 0:
            return ["does not answer"]
        answer: dict[str, Any] = json.loads(body)
        assert answer["ok"] == (status == 200)
        reasons: list[str] = answer["reasons"]
        return reasons

    def await_ready(self) -> None:
        await_that(
            lambda: not self.not_ready(),
            READY_S,
            f"{self.replica} ready",
            lambda: f"{self.not_ready()}; {self.tail()}",
        )

    def events_logged(self) -> list[str]:
        """Names of the events in the replica's log, in order."""
        events = []
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                events.append(json.loads(line)["event"])
            except (ValueError, KeyError, TypeError):
                continue
        return events

    def tail(self) -> str:
        return f"{self.log} ends with:\n{last_lines(self.log)}"

    def _get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(
                f"http://{LOOPBACK}:{self.port}{path}", timeout=_HTTP_S
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""


def end_workers() -> None:
    """Kill what still runs of the workers that this process has started, as after a failed test."""
    while _started:
        process = _started.pop()
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(DRAIN_S)


class Fleet:
    """Replicas that are restarted under the same name whenever their process ends.

    Call ``tend`` while waiting: it restarts them, like a supervisor.

    Args:
        rig: Pipeline of the replicas.
        say: Prints a line of progress.
        program: Module to run and its arguments.
    """

    def __init__(
        self,
        rig: HasFolder,
        say: Callable[[str], None],
        program: Sequence[str] = ("tools", "run"),
    ) -> None:
        self._rig = rig
        self._say = say
        self._program = program
        self._workers: dict[str, Worker] = {}
        self._former: list[Worker] = []
        self._asleep: set[str] = set()
        self._killed: set[int] = set()

    @property
    def names(self) -> list[str]:
        """Names of the replicas that are not frozen."""
        return [name for name in self._workers if name not in self._asleep]

    def join(self, name: str) -> None:
        if name in self._workers:
            self._former.append(self._workers[name])
        self._workers[name] = Worker(self._rig, name, program=self._program)

    def leave(self, name: str) -> None:
        """Drain a replica and remove it.

        Raises:
            RuntimeError: It ends with a status other than 0.
        """
        worker = self._workers.pop(name)
        worker.await_ready()
        if status := worker.drain():
            raise RuntimeError(f"{name} did not drain: it ended with {status}; {worker.tail()}")
        self._former.append(worker)

    def kill(self, name: str) -> None:
        worker = self._workers[name]
        self._killed.add(worker.pid)
        worker.kill()

    def freeze(self, name: str) -> None:
        self._workers[name].signal(signal.SIGSTOP)
        self._asleep.add(name)

    def thaw(self, name: str) -> None:
        self._asleep.discard(name)
        self._workers[name].signal(signal.SIGCONT)

    def end(self) -> None:
        """Kill all running replicas."""
        for worker in self._workers.values():
            if worker.status() is None:
                worker.kill()

    def tend(self) -> None:
        """Restart replicas that have ended.

        Raises:
            RuntimeError: A replica ended by itself with a status that a restart does not heal.
        """
        for name, worker in self._workers.items():
            status = worker.status()
            if status is None:
                continue
            if worker.pid not in self._killed:
                self._say(f"{name} ended by itself with status {status}")
                if status not in _RESTARTABLE:
                    raise RuntimeError(f"{name} ended with status {status}; {worker.tail()}")
            self.join(name)

    def start_again(self) -> None:
        """Restart all replicas, which must have ended."""
        for name in self._workers:
            self.join(name)

    def await_ends(self, *statuses: int) -> None:
        """Wait until every replica has ended by itself.

        Raises:
            TimeoutError: A replica still runs.
            RuntimeError: A replica ended with a status that is not in ``statuses``.
        """
        for name, worker in self._workers.items():
            status = worker.wait(READY_S)
            if status not in statuses:
                raise RuntimeError(f"{name} ended with status {status}; {worker.tail()}")

    def await_ready(self) -> None:
        """Wait until every replica is ready; none may be frozen."""

        def ready() -> bool:
            self.tend()
            return not any(worker.not_ready() for worker in self._workers.values())

        await_that(ready, READY_S, "all replicas ready", self.marks)

    def marks(self) -> dict[str, tuple[int, float]]:
        """Process id and number of committed micro-batches of each replica that is not frozen."""
        return {name: self._mark(name) for name in self.names}

    def committed_since(self, marks: Mapping[str, tuple[int, float]]) -> bool:
        """Return True if every replica that is not frozen has committed since ``marks``.

        A replica that has nothing to do counts as one that has.
        """
        self.tend()
        return all(
            self._moved(name, marks.get(name, (0, 0.0))) or self._workers[name].is_idle()
            for name in self.names
        )

    def filled(self) -> int:
        """Number of events that all processes so far have put into histories without scores."""
        return sum(worker.filled for worker in (*self._former, *self._workers.values()))

    def late_labels(self) -> int:
        """Number of labels that came too late, of all processes so far."""
        return sum(worker.late_labels for worker in (*self._former, *self._workers.values()))

    def prepared(self) -> int:
        """Number of events and labels that the running processes have put into the store."""
        self.marks()
        return sum(worker.filled + worker.labels for worker in self._workers.values())

    def waits(self) -> dict[str, list[str]]:
        """Reasons why each replica is not ready, of those that are not."""
        reasons = {name: self._workers[name].not_ready() for name in self.names}
        return {name: own for name, own in reasons.items() if own}

    def _moved(self, name: str, mark: tuple[int, float]) -> bool:
        pid, count = self._mark(name)
        return count > (mark[1] if pid == mark[0] else 0)

    def _mark(self, name: str) -> tuple[int, float]:
        worker = self._workers[name]
        return worker.pid, worker.committed()
