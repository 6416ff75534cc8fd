"""Kafka and Valkey for one run of the tests, shared by all its processes.

The servers are those of the environment (``FRAUD_WORKER_TEST_KAFKA`` as host:port,
``FRAUD_WORKER_TEST_REDIS`` as redis://host:port; all databases of that Redis are wiped), or
Docker containers, or child processes. A server starts when a test asks for it.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import cache
from multiprocessing.connection import Client, Listener
from pathlib import Path

import redis
from confluent_kafka.admin import AdminClient

from tools.embedded.kafka import SETTINGS, VERSION, Kafka
from tools.embedded.process import LOOPBACK, free_port
from tools.embedded.valkey import DATABASES, Valkey

_DOCKER_SOCKETS = (Path("/var/run/docker.sock"), Path.home() / ".docker/run/docker.sock")
_DOCKER_ANSWER_S = 2
_CONTAINER_START_S = 60
_CONTROLLER = "localhost:9093"
QUICK_ABORTS = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": "500"}
"""Broker settings with which transactions end soon after their timeout, and not up to 10 s later."""


class Servers:
    """Owner of the servers, in the process that outlives all others of a run.

    It answers requests on ``address``. A request is ``kafka``, ``valkey`` or ``database``; see
    ``ask``.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        # Not pytest's folder: the path of a socket has at most about a hundred characters.
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="fraud-worker."))
        self._folder = Path(folder)
        self._requests: dict[str, Callable[[], str]] = {
            "kafka": cache(self._kafka),
            "valkey": cache(self._valkey),
            "database": self._database,
            "end": str,
        }
        self._databases = itertools.count()
        self.address = f"{folder}/requests"
        self._listener = self._stack.enter_context(Listener(self.address, "AF_UNIX"))
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Stop the started servers."""
        with Client(self.address, "AF_UNIX") as connection:
            connection.send("end")
            connection.recv()
        self._stack.close()

    def _serve(self) -> None:
        while True:
            with self._listener.accept() as connection:
                request = connection.recv()
                connection.send(self._answer(request))
                if request == "end":
                    return

    def _answer(self, request: str) -> tuple[str | None, str | None]:
        """Return the answer and None, or None and the error."""
        try:
            return self._requests[request](), None
        except Exception as error:  # noqa: BLE001 - raised in the process that asked
            return None, f"{type(error).__name__}: {error}"

    def _kafka(self) -> str:
        if given := os.environ.get("FRAUD_WORKER_TEST_KAFKA"):
            return given
        if docker_answers():
            return _kafka_container(self._stack)
        return self._stack.enter_context(Kafka(self._folder / "kafka", QUICK_ABORTS)).bootstrap

    def _valkey(self) -> str:
        if given := os.environ.get("FRAUD_WORKER_TEST_REDIS"):
            return given.rstrip("/")
        if docker_answers():
            return _valkey_container(self._stack)
        return self._stack.enter_context(Valkey(self._folder / "valkey")).url

    def _database(self) -> str:
        url = self._requests["valkey"]()
        with redis.Redis.from_url(url) as client:
            number = next(self._databases) % int(client.config_get("databases")["databases"])
        with redis.Redis.from_url(f"{url}/{number}") as client:
            client.flushdb()
        return f"{url}/{number}"


def ask(address: str, request: str) -> str:
    """Ask the ``Servers`` at ``address`` for a server.

    Args:
        address: Address of the ``Servers``.
        request: ``kafka``, ``valkey`` or ``database``.

    Returns:
        Bootstrap address of Kafka, URL of Valkey without a database, or URL of an empty database
        that no other test uses.

    Raises:
        RuntimeError: The server cannot be started.
    """
    with Client(address, "AF_UNIX") as connection:
        connection.send(request)
        answer, trouble = connection.recv()
    if trouble is not None:
        raise RuntimeError(f"{request} for the tests: {trouble}")
    return str(answer)


def docker_answers() -> bool:
    """Return True if a Docker engine responds; quick if there is none."""
    if "DOCKER_HOST" not in os.environ and not any(path.exists() for path in _DOCKER_SOCKETS):
        return False
    import docker  # type: ignore[import-untyped] # noqa: PLC0415 - slow, seldom needed

    try:
        with closing(docker.from_env(timeout=_DOCKER_ANSWER_S)) as engine:
            return bool(engine.ping())
    except docker.errors.DockerException:
        return False


def _kafka_container(stack: ExitStack) -> str:
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - slow

    # Clients connect to the address that the broker tells them: one port, inside and outside.
    port = free_port()
    settings = {
        **SETTINGS,
        **QUICK_ABORTS,
        "controller.quorum.voters": f"1@{_CONTROLLER}",
        "listeners": f"PLAINTEXT://:{port},CONTROLLER://{_CONTROLLER}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    }
    container = DockerContainer(f"apache/kafka:{VERSION}").with_bind_ports(port, port)
    for name, value in settings.items():
        container.with_env(f"KAFKA_{name.upper().replace('.', '_')}", value)
    stack.enter_context(container)
    bootstrap = f"{LOOPBACK}:{port}"
    with AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}) as client:
        client.list_topics(timeout=_CONTAINER_START_S)
    return bootstrap


def _valkey_container(stack: ExitStack) -> str:
    from testcontainers.redis import RedisContainer  # noqa: PLC0415 - slow

    container = RedisContainer("valkey/valkey:9").with_command(
        f"valkey-server --save '' --maxmemory-policy noeviction --databases {DATABASES}"
    )
    stack.enter_context(container)
    return f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}"
