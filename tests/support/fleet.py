"""Workers as processes of their own, and a supervisor that starts dead ones again."""

from __future__ import annotations

import json
import re
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tests.support.rig import Rig, await_that
from tools.embedded.process import LOOPBACK, Guarded, free_port, last_lines

# Delivery could not go on safely; the watchdog ended it.
_RESTARTABLE = (3, 70)
_BATCHES = re.compile(r'^fraud_worker_batches_total\{outcome="(\w+)"\} (\S+)$', re.MULTILINE)
_HTTP_S = 1.0
READY_S = 60.0
DRAIN_S = 30.0


class HasFolder(Protocol):
    """The part of a rig that a worker needs: its pipeline folder."""

    @property
    def folder(self) -> Path: ...


class Worker:
    """One process of a replica. ``program`` is what runs instead of ``python -m tools run``."""

    def __init__(
        self,
        rig: HasFolder,
        replica: str,
        *,
        program: Sequence[str] = ("-m", "tools", "run"),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.replica = replica
        self.log = rig.folder / f"{replica}.log"
        self._port = free_port()
        settings = {
            "FRAUD_WORKER_REPLICA": replica,
            "FRAUD_WORKER_HTTP__PORT": str(self._port),
            **(environment or {}),
        }
        assignments = [f"{name}={value}" for name, value in settings.items()]
        command = [sys.executable, *program, "--pipeline", str(rig.folder)]
        self._process = Guarded(["env", *assignments, *command], self.log)
        self.pid = self._process.pid

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def status(self) -> int | None:
        """The exit status, None while it runs."""
        return self._process.poll()

    def wait(self, deadline_s: float) -> int:
        """The exit status. Raises TimeoutError with the end of the log."""
        await_that(
            lambda: self.status() is not None, deadline_s, f"the end of {self.replica}", self.tail
        )
        return self._process.wait()

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.wait(DRAIN_S)

    def drain(self) -> int:
        """SIGTERM, and the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait(DRAIN_S)

    def committed(self) -> float:
        """Micro-batches that this process has committed; 0 while it does not say."""
        return self._batches().get("committed", 0.0)

    def attempts(self) -> float:
        """Micro-batches that it has committed, or tried to."""
        return sum(self._batches().values())

    def _batches(self) -> dict[str, float]:
        found = _BATCHES.findall(self._get("/metrics")[1])
        return {outcome: float(count) for outcome, count in found}

    def not_ready(self) -> list[str]:
        """Why it is not ready; empty when it is."""
        status, body = self._get("/ready")
        if status == 0:
            return ["does not answer"]
        answer: dict[str, Any] = json.loads(body)
        assert answer["ok"] == (status == 200)
        reasons: list[str] = answer["reasons"]
        return reasons

    def await_ready(self) -> None:
        await_that(lambda: not self.not_ready(), READY_S, f"{self.replica} ready", self.tail)

    def events_logged(self) -> list[str]:
        """The names of the events in its replica's log, in order."""
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
                f"http://{LOOPBACK}:{self._port}{path}", timeout=_HTTP_S
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""


class Fleet:
    """Replicas that are started again whenever their process ends, under the same name.

    `tend` does that, as a supervisor would; call it while waiting. ``say`` takes lines for people.
    """

    def __init__(self, rig: Rig, say: Callable[[str], None]) -> None:
        self._rig = rig
        self._say = say
        self._workers: dict[str, Worker] = {}
        self._asleep: set[str] = set()
        self._killed: set[int] = set()

    @property
    def names(self) -> list[str]:
        """The replicas that are not asleep."""
        return [name for name in self._workers if name not in self._asleep]

    def join(self, name: str) -> None:
        self._workers[name] = Worker(self._rig, name)

    def leave(self, name: str) -> None:
        """Drain a replica for good. Raises RuntimeError unless it ends with status 0."""
        worker = self._workers.pop(name)
        worker.await_ready()
        if status := worker.drain():
            raise RuntimeError(f"{name} did not drain: it ended with {status}; {worker.tail()}")

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
        """Kill what is left."""
        for worker in self._workers.values():
            if worker.status() is None:
                worker.kill()

    def tend(self) -> None:
        """Start again what has ended. Raises RuntimeError for an end that no restart mends."""
        for name, worker in self._workers.items():
            status = worker.status()
            if status is None:
                continue
            if worker.pid not in self._killed:
                self._say(f"{name} ended by itself with status {status}")
                if status not in _RESTARTABLE:
                    raise RuntimeError(f"{name} ended with status {status}; {worker.tail()}")
            self._workers[name] = Worker(self._rig, name)

    def start_again(self) -> None:
        """Start every replica's process anew; all of them have ended."""
        for name in self._workers:
            self.join(name)

    def await_ends(self, *statuses: int) -> None:
        """Wait until every replica has ended by itself.

        Raises TimeoutError, and RuntimeError for a status that is none of these.
        """
        for name, worker in self._workers.items():
            status = worker.wait(READY_S)
            if status not in statuses:
                raise RuntimeError(f"{name} ended with status {status}; {worker.tail()}")

    def await_ready(self) -> None:
        """Return when every replica is ready, none of them asleep."""

        def ready() -> bool:
            self.tend()
            return not any(worker.not_ready() for worker in self._workers.values())

        await_that(ready, READY_S, "all replicas ready", self.marks)

    def marks(self) -> dict[str, tuple[int, float]]:
        """What each replica that is not asleep has committed: its process, its micro-batches."""
        return {name: self._mark(name) for name in self.names}

    def committed_since(self, marks: Mapping[str, tuple[int, float]]) -> bool:
        """Whether every replica that is not asleep has committed since then."""
        self.tend()
        return all(self._moved(name, marks.get(name, (0, 0.0))) for name in self.names)

    def _moved(self, name: str, mark: tuple[int, float]) -> bool:
        pid, count = self._mark(name)
        return count > (mark[1] if pid == mark[0] else 0)

    def _mark(self, name: str) -> tuple[int, float]:
        worker = self._workers[name]
        return worker.pid, worker.committed()
