"""The programs that are measured, and how each is started on one run."""

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

from benchmarks.ground import INPUT_TOPIC, SCORE_SCHEMA_ID, Ground
from benchmarks.rivals.task import LookupTask, ScoreTask, Task
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

    settings: further environment of the worker. first: the offset that the program begins at;
    others than 0 are for topics of one partition. history: so many events are committed before the
    warm-up begins. whole_vector: all features stand on the scores, else the irreproducible ones.
    """

    name: str
    input_topic: str = INPUT_TOPIC
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
    """A program did not do its work; the message ends with its log."""


class Program:
    """A program as a process, from start to its orderly end. log: of all it wrote."""

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        self._name = name
        self.log = log
        self._process = Guarded(command, log)
        self.pid = self._process.pid

    def require_running(self) -> None:
        """Raises RunError if the program has ended."""
        status = self._process.poll()
        if status is not None:
            raise self.error(f"ended with status {status}")

    def ended(self) -> bool:
        """Whether it ended in order. Raises RunError if it ended otherwise."""
        status = self._process.poll()
        if status:
            raise self.error(f"ended with status {status}")
        return status == 0

    def stop(self) -> None:
        """SIGTERM, and wait. Raises RunError unless it ends in order."""
        self.require_running()
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(_DRAIN_S)
        except subprocess.TimeoutExpired:
            raise self.error(f"did not end {_DRAIN_S:g} s after SIGTERM") from None
        if status:
            raise self.error(f"ended with status {status} after SIGTERM")

    def error(self, what: str) -> RunError:
        """Of this program, with the end of its log."""
        return RunError(f"{self._name} {what}; {self.log} ends with:\n{last_lines(self.log)}")

    def metrics(self) -> dict[str, float]:
        """What the program says of itself in numbers, by sample name and label value."""
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
            self._process.wait(_DRAIN_S)


class Worker(Program):
    """``fraud-worker run`` on the pipeline folder of the ground."""

    def __init__(self, ground: Ground, run: Run) -> None:
        self._port = free_port()
        given = {"MODEL__BUNDLE": str(ground.bundle.path)}
        environment = {
            "REPLICA": run.name,
            "KAFKA__BOOTSTRAP_SERVERS": ground.kafka.bootstrap,
            "KAFKA__GROUP": run.group,
            "KAFKA__INPUT_TOPIC": run.input_topic,
            "KAFKA__OUTPUT_TOPIC": run.output_topic,
            "STORE__URL": ground.valkey.url,
            # One that the rivals can follow: one segment, no reasons.
            "POLICY": str(POLICY),
            "MODEL__DEVICE": "cpu",
            "MODEL__THREADS": str(ground.threads),
            "WIRE__SCORE_SCHEMA_ID": str(SCORE_SCHEMA_ID),
            "HTTP__HOST": LOOPBACK,
            "HTTP__PORT": str(self._port),
            "OUTPUT__VECTOR": "all" if run.whole_vector else "irreproducible",
            # A run may name a location of models in place of the bundle.
            **({} if "MODEL__LOCATION" in run.settings else given),
            **run.settings,
        }
        command = [
            "env",
            *(f"FRAUD_WORKER_{name}={value}" for name, value in environment.items()),
            *(sys.executable, "-m", "tools", "run", "--pipeline", str(ground.pipeline)),
        ]
        super().__init__("the worker", command, ground.folder / f"{run.name}.log")

    def metrics(self) -> dict[str, float]:
        return {
            "/".join((sample.name, *sample.labels.values())): sample.value
            for family in text_string_to_metric_families(self._get("metrics").decode())
            for sample in family.samples
        }

    def wait_ready(self) -> None:
        """Raises RunError when it does not get ready."""
        deadline = time.monotonic() + _READY_S
        while True:
            self.require_running()
            try:
                self._get("ready")
            except OSError:
                if time.monotonic() > deadline:
                    raise self.error(f"is not ready after {_READY_S:g} s") from None
                time.sleep(0.05)
            else:
                return

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self._port}/{path}", timeout=5) as answer:
            body: bytes = answer.read()
        return body


Start = Callable[[Ground, Run], Program]


def rival(module: str) -> Start:
    """Starts a module of ``benchmarks.rivals`` on the task of a run."""

    def start(ground: Ground, run: Run) -> Program:
        path = ground.folder / f"{run.name}.json"
        make_task(ground, run).write(path)
        # As the worker does: threads of the model that spin while they wait cost others a core.
        command = ["env", "OMP_WAIT_POLICY=PASSIVE", f"PYTHONPATH={ROOT}"]
        command += [sys.executable, "-m", f"benchmarks.rivals.{module}", str(path)]
        return Program(module, command, ground.folder / f"{run.name}.log")

    return start


def make_task(ground: Ground, run: Run) -> Task:
    """What a rival has to know to do the same work as the worker."""
    feature_set, bundle = ground.feature_set, ground.bundle
    policy = load_policy(POLICY)
    segment = policy.segments[0]
    on_score = range(len(feature_set.names)) if run.whole_vector else feature_set.irreproducible
    return Task(
        bootstrap=ground.kafka.bootstrap,
        group=run.group,
        input_topic=run.input_topic,
        output_topic=run.output_topic,
        redis_url=ground.valkey.url,
        event_schema_file=str(feature_set.schema_path),
        model_file=str(bundle.path / "model.ubj"),
        threads=ground.threads,
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
    )


def _lookup(lookup: Lookup) -> LookupTask:
    return LookupTask(
        lookup.name, lookup.prefix.decode(), list(lookup.names), list(lookup.defaults)
    )
