"""Start the measured programs: the worker and its rivals."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.rivals.task import READY, Guarantee, LookupTask, ScoreTask, Task
from benchmarks.testbed import INPUT_TOPIC, SCORE_SCHEMA_ID, Testbed
from features.lookups.lookup import Lookup
from models.policy import load_policy
from tools.embedded.process import LOOPBACK, Guarded, free_port, last_lines

ROOT = Path(__file__).resolve().parents[1]
POLICY = Path(__file__).with_name("pipeline") / "policy.yaml"
_READY_S = 60.0
_DRAIN_S = 40.0


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one program.

    Attributes:
        name: Name of the run, which its group and output topic contain.
        input_topic: Topic of the events.
        guarantee: Delivery guarantee of the program.
        settings: Further environment variables of the worker, without their prefix.
        first: Offset at which the program starts; other than 0 only for topics of one partition.
        history: Number of events to commit before the warm-up begins.
        whole_vector: True if the scores carry all features, False for the irreproducible ones.
    """

    name: str
    input_topic: str = INPUT_TOPIC
    guarantee: Guarantee = "exactly_once"
    settings: Mapping[str, str] = field(default_factory=dict)
    first: int = 0
    history: int = 0
    whole_vector: bool = False

    @property
    def group(self) -> str:
        return f"bench-{self.name}"

    @property
    def output_topic(self) -> str:
        return f"scores-{self.name}"


class RunError(Exception):
    """A program failed or did wrong work; the message ends with the end of its log."""


class Program:
    """A running program.

    Args:
        name: Name of the program in errors.
        command: Command line.
        log: File for all output of the program.
        ready: Text that the program prints when it reads its partitions.

    Attributes:
        log: File with all output of the program.
        pid: Process id.
    """

    def __init__(self, name: str, command: list[str], log: Path, ready: str = READY) -> None:
        self._name = name
        self._ready = ready
        self.log = log
        self._process = Guarded(command, log)
        self.pid = self._process.pid

    def require_running(self) -> None:
        """Raise RunError if the program has ended."""
        status = self._process.poll()
        if status is not None:
            raise self.error(f"ended with status {status}")

    def wait_ready(self) -> None:
        """Wait until the program takes events.

        Raises:
            RunError: The program ends, or is not ready in time.
        """
        deadline = time.monotonic() + _READY_S
        while not self._is_ready():
            self.require_running()
            if time.monotonic() > deadline:
                raise self.error(f"is not ready after {_READY_S:g} s")
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        return self._ready in self.log.read_text("utf-8", errors="replace")

    def ended(self) -> bool:
        """Return True if the program has ended with status 0, False while it runs.

        Raises:
            RunError: The program has ended with another status.
        """
        status = self._process.poll()
        if status:
            raise self.error(f"ended with status {status}")
        return status == 0

    def stop(self) -> None:
        """Send SIGTERM and wait.

        Raises:
            RunError: The program does not end in time, or ends with a status other than 0.
        """
        self.require_running()
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(_DRAIN_S)
        except subprocess.TimeoutExpired:
            raise self.error(f"did not end {_DRAIN_S:g} s after SIGTERM") from None
        if status:
            raise self.error(f"ended with status {status} after SIGTERM")

    def error(self, what: str) -> RunError:
        """Return the error of this program, with the end of its log."""
        return RunError(f"{self._name} {what}; {self.log} ends with:\n{last_lines(self.log)}")

    def metrics(self) -> dict[str, float]:
        """Return the program's metrics, by sample name and label values."""
        return {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        # One that has ended by itself too: it leaves its pipe open until then.
        self._process.wait(_DRAIN_S)


class Worker(Program):
    """``fraud-worker run`` on the pipeline folder of the testbed."""

    def __init__(self, testbed: Testbed, run: Run) -> None:
        self._port = free_port()
        given = {"MODEL__BUNDLE": str(testbed.bundle.path)}
        environment = {
            "REPLICA": run.name,
            "KAFKA__BOOTSTRAP_SERVERS": testbed.kafka.bootstrap,
            "KAFKA__GROUP": run.group,
            "KAFKA__INPUT_TOPIC": run.input_topic,
            "KAFKA__OUTPUT_TOPIC": run.output_topic,
            "STORE__URL": testbed.valkey.url,
            # A policy that the rivals implement too: one segment, no reasons.
            "POLICY": str(POLICY),
            "MODEL__DEVICE": "cpu",
            "MODEL__THREADS": str(testbed.threads),
            "WIRE__SCORE_SCHEMA_ID": str(SCORE_SCHEMA_ID),
            "HTTP__HOST": LOOPBACK,
            "HTTP__PORT": str(self._port),
            "DELIVERY__GUARANTEE": run.guarantee,
            "OUTPUT__VECTOR": "all" if run.whole_vector else "irreproducible",
            # A run may configure a location of models instead of the bundle.
            **({} if "MODEL__LOCATION" in run.settings else given),
            **run.settings,
        }
        command = [
            "env",
            *(f"FRAUD_WORKER_{name}={value}" for name, value in environment.items()),
            *(sys.executable, "-m", "tools", "run", "--pipeline", str(testbed.pipeline)),
        ]
        super().__init__("the worker", command, testbed.folder / f"{run.name}.log")

    def metrics(self) -> dict[str, float]:
        return {
            "/".join((sample.name, *sample.labels.values())): sample.value
            for family in text_string_to_metric_families(self._get("metrics").decode())
            for sample in family.samples
        }

    def _is_ready(self) -> bool:
        try:
            self._get("ready")
        except OSError:
            return False
        return True

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self._port}/{path}", timeout=5) as answer:
            body: bytes = answer.read()
        return body


Start = Callable[[Testbed, Run], Program]


def rival(module: str) -> Start:
    """Return a function that starts a module of ``benchmarks.rivals`` on the task of a run."""

    def start(testbed: Testbed, run: Run) -> Program:
        # The same as in the worker: model threads that spin while they wait occupy a core.
        command = ["env", "OMP_WAIT_POLICY=PASSIVE", f"PYTHONPATH={ROOT}"]
        command += [
            sys.executable,
            "-m",
            f"benchmarks.rivals.{module}",
            str(write_task(testbed, run)),
        ]
        return Program(module, command, testbed.folder / f"{run.name}.log")

    return start


def write_task(testbed: Testbed, run: Run) -> Path:
    """Write the task file of a run."""
    path = testbed.folder / f"{run.name}.json"
    make_task(testbed, run).write(path)
    return path


def make_task(testbed: Testbed, run: Run) -> Task:
    """Task of a rival that does the same work as the worker."""
    feature_set, bundle = testbed.feature_set, testbed.bundle
    policy = load_policy(POLICY)
    segment = policy.segments[0]
    on_score = range(len(feature_set.names)) if run.whole_vector else feature_set.irreproducible
    return Task(
        bootstrap=testbed.kafka.bootstrap,
        group=run.group,
        input_topic=run.input_topic,
        output_topic=run.output_topic,
        redis_url=testbed.valkey.url,
        event_schema_file=str(feature_set.schema_path),
        model_file=str(bundle.path / "model.ubj"),
        threads=testbed.threads,
        lookups=[_lookup(lookup) for lookup in feature_set.lookups.values()],
        score=ScoreTask(
            schema_file=str(ROOT / "schemas" / "score.avsc"),
            schema_id=SCORE_SCHEMA_ID,
            model_name=bundle.name,
            model_version=bundle.version,
            policy_version=policy.version,
            segment=segment.name,
            default=policy.default,
            bands=[(band.decision, band.threshold) for band in segment.bands],
            feature_set=feature_set.fingerprint,
            device="cpu",
            vector={feature_set.names[i]: i for i in on_score},
        ),
        guarantee=run.guarantee,
    )


def _lookup(lookup: Lookup) -> LookupTask:
    return LookupTask(
        lookup.name, lookup.prefix.decode(), list(lookup.names), list(lookup.defaults)
    )
