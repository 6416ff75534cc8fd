"""Servers, topics, seeds and data for all tests.

``kafka`` and ``valkey_server`` are shared by the whole run; a test that stops a server takes its
own from ``private_kafka`` or ``private_valkey``.
"""

from __future__ import annotations

import os
import random
import shutil
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, settings

from tests.support.fleet import end_workers
from tests.support.servers import QUICK_ABORTS, Servers, ask
from tools.embedded.kafka import Kafka
from tools.embedded.topic_admin import create_topics
from tools.embedded.valkey import Valkey

# A shared machine is slow at times: how long an example takes is nobody's fault.
settings.register_profile(
    "project",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("project")

HERE = Path(__file__).parent
SLOW_TIERS = ("system", "search", "integration", "properties", "process")
SLOW_S = 20.0

_SEED = pytest.StashKey[int]()
_ADDRESS = pytest.StashKey[str]()
_SERVERS = pytest.StashKey[Servers]()


def pytest_configure(config: pytest.Config) -> None:
    # pytest-xdist's worker processes are given what the first process has; it outlives them.
    given: dict[str, Any] | None = getattr(config, "workerinput", None)
    if given is None:
        config.stash[_SEED] = int(os.environ.get("SEED") or random.randrange(2**32))
        config.stash[_SERVERS] = Servers()
        config.stash[_ADDRESS] = config.stash[_SERVERS].address
    else:
        config.stash[_SEED] = given["seed"]
        config.stash[_ADDRESS] = given["servers"]


def pytest_sessionstart(session: pytest.Session) -> None:
    # The processes of pytest-xdist have no terminal.
    if terminal := session.config.pluginmanager.get_plugin("terminalreporter"):
        session.config.pluginmanager.register(SlowTests(terminal))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Those that wait for servers begin first: what is left to the end is short, and fills each process.
    items.sort(key=_turn)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is not None:
        from models.backend.cuda import why_unusable  # noqa: PLC0415  most runs have no such test

        if reason := why_unusable():
            pytest.skip(f"device: cuda {reason}")


def _turn(item: pytest.Item) -> int:
    own = [tier for tier in SLOW_TIERS if HERE / tier in item.path.parents]
    return SLOW_TIERS.index(own[0]) if own else len(SLOW_TIERS)


class SlowTests:
    """Show each slow test as it ends, so that a long run shows where it is."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal
        self._took: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._took[report.nodeid] += report.duration
        if report.when == "teardown" and (took := self._took.pop(report.nodeid)) > SLOW_S:
            self._terminal.ensure_newline()
            self._terminal.write_line(f"{took:4.0f} s  {report.nodeid}")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["seed"] = node.config.stash[_SEED]
    node.workerinput["servers"] = node.config.stash[_ADDRESS]


def pytest_unconfigure(config: pytest.Config) -> None:
    if _SERVERS in config.stash:
        config.stash[_SERVERS].close()


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.stash[_SEED]} (SEED={config.stash[_SEED]} repeats it)"


@dataclass(frozen=True, slots=True)
class SharedKafka:
    """The broker of the whole run; ``bootstrap`` is host:port."""

    bootstrap: str


@dataclass(frozen=True, slots=True)
class SharedValkey:
    """The store of the whole run; ``url`` names no database: take yours from ``redis_url``."""

    url: str


class MakeTopic(Protocol):
    """Makes a topic that no other test has; returns its name."""

    def __call__(
        self, name: str = "topic", partitions: int = 1, settings: Mapping[str, str] | None = None
    ) -> str: ...


@pytest.fixture(autouse=True)
def _no_worker_outlives_its_test() -> Iterator[None]:
    yield
    end_workers()


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The run's seed, from $SEED or random; shown where the test fails."""
    seed = request.config.stash[_SEED]
    print(f"SEED={seed}")  # noqa: T201 - pytest shows it with a failure
    return seed


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of data sets that are not part of the repository; skips where it is absent."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("FRAUD_WORKER_DATA") or default)
    if not folder.is_dir():
        pytest.skip(f"no data sets in {folder}; set FRAUD_WORKER_DATA")
    return folder


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> SharedKafka:
    return SharedKafka(ask(request.config.stash[_ADDRESS], "kafka"))


@pytest.fixture(scope="session")
def valkey_server(request: pytest.FixtureRequest) -> SharedValkey:
    return SharedValkey(ask(request.config.stash[_ADDRESS], "valkey"))


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty database of the shared store, this test's own."""
    return ask(request.config.stash[_ADDRESS], "database")


@pytest.fixture
def make_topic(kafka: SharedKafka) -> MakeTopic:
    def make(
        name: str = "topic", partitions: int = 1, settings: Mapping[str, str] | None = None
    ) -> str:
        unique = f"{name}-{uuid.uuid4().hex[:8]}"
        create_topics(kafka.bootstrap, {unique: partitions}, settings)
        return unique

    return make


@pytest.fixture
def private_kafka(tmp_path: Path) -> Iterator[Callable[..., Kafka]]:
    """Starts a broker of the test's own: ``private_kafka({"broker.property": "value"})``."""
    with ExitStack() as stack:

        def make(settings: Mapping[str, str] | None = None) -> Kafka:
            folder = tmp_path / f"kafka-{uuid.uuid4().hex[:8]}"
            # The log stays for a look at what went wrong; the data would fill the disk.
            stack.callback(shutil.rmtree, folder / "data", ignore_errors=True)
            return stack.enter_context(Kafka(folder, {**QUICK_ABORTS, **(settings or {})}))

        yield make


@pytest.fixture
def private_valkey(tmp_path: Path) -> Iterator[Callable[..., Valkey]]:
    """Starts a store of the test's own: ``private_valkey(append_only=True)``."""
    with ExitStack() as stack:

        def make(*, append_only: bool = False) -> Valkey:
            folder = tmp_path / f"valkey-{uuid.uuid4().hex[:8]}"
            return stack.enter_context(Valkey(folder, append_only=append_only))

        yield make
