"""``fraud-worker score`` on both devices, on a GPU that fails, and without one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.gpu.checks import CheckError
from benchmarks.gpu.material import Material
from benchmarks.gpu.rehearsal import ROOT
from benchmarks.testbed import PIPELINE
from models.reasons import TOLERANCE
from models.sandbox.child import CUDA_TOLERANCE

_COMMAND_S = 180.0
_HIDDEN = {"CUDA_VISIBLE_DEVICES": "-1"}


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended: its exit status, scores and end of its log."""

    status: int
    scores: list[dict[str, Any]]
    log: str


@dataclass(frozen=True, slots=True)
class Command:
    """``fraud-worker score`` on the events of the material, with a reason for every event."""

    material: Material
    environment: Mapping[str, str]

    def run(
        self,
        device: str,
        fault: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Ended:
        """Run it.

        Args:
            device: Value of the setting ``model.device``.
            fault: Fault of ``benchmarks.gpu.failing``; None for none.
            environment: Environment of the process, if not that of all commands.
        """
        module = ["tools"] if fault is None else ["benchmarks.gpu.failing", fault]
        arguments = ["score", "--pipeline", str(PIPELINE), "--events", str(self.material.events)]
        settings = {
            "FRAUD_WORKER_MODEL__DEVICE": device,
            "FRAUD_WORKER_MODEL__BUNDLE": str(next(iter(self.material.bundles.values())).path),
            "FRAUD_WORKER_POLICY": str(self.material.policy),
        }
        ran = subprocess.run(
            [sys.executable, "-m", *module, *arguments],
            cwd=ROOT,
            env={**(environment or self.environment), **settings},
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMMAND_S,
        )
        scores = [json.loads(line) for line in ran.stdout.splitlines()]
        return Ended(ran.returncode, scores, ran.stderr[-1_000:].strip())


def scores(command: Command) -> dict[str, Any]:
    """Score a file on both devices; compare decisions, margins and reasons of all events."""
    runs = {device: command.run(device) for device in ("cpu", "cuda")}
    for device, ended in runs.items():
        if ended.status or {score["device"] for score in ended.scores} != {device}:
            raise CheckError(f"score on {device} ended with status {ended.status}: {ended.log}")
    on_cpu, on_gpu = runs["cpu"].scores, runs["cuda"].scores
    for field in ("event_id", "decision"):
        if [score[field] for score in on_cpu] != [score[field] for score in on_gpu]:
            raise CheckError(f"{field} differs between the devices")
    largest = max(
        abs(one["margin"] - other["margin"]) for one, other in zip(on_cpu, on_gpu, strict=True)
    )
    if not np.allclose(_column(on_cpu), _column(on_gpu), rtol=CUDA_TOLERANCE, atol=CUDA_TOLERANCE):
        raise CheckError(f"margins differ by up to {largest}")
    differing = sum(
        not _same_reasons(one["reasons"], other["reasons"])
        for one, other in zip(on_cpu, on_gpu, strict=True)
    )
    if differing or not all(score["reasons"] for score in on_gpu):
        raise CheckError(f"reasons of {differing} of {len(on_gpu)} events differ or are missing")
    return {"events": len(on_gpu), "explained": len(on_gpu), "largest_difference": largest}


def _column(scores: Sequence[Mapping[str, Any]]) -> list[float]:
    return [score["margin"] for score in scores]


def _same_reasons(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> bool:
    """Compare contributions; codes of equal contributions may stand in either order."""
    mine, theirs = ([reason["contribution"] for reason in reasons] for reasons in (one, other))
    return len(one) == len(other) and np.allclose(mine, theirs, rtol=0, atol=10 * TOLERANCE)


def loss(command: Command, faults: Sequence[str], without: Mapping[str, str]) -> dict[str, Any]:
    """Lose the GPU while events are scored; then start without one.

    The process must say so and end with status 1, without a score of the events of that moment.
    Where memory is short, it may score them all. A process without a GPU ends with status 2 under
    ``device: cuda`` and takes the CPU under ``device: auto``.

    Args:
        command: The command.
        faults: Faults of the GPU.
        without: Environment without a GPU.
    """
    ended = {fault: command.run("cuda", fault) for fault in faults}
    ended["none"] = command.run("cuda", environment={**without, **_HIDDEN})
    auto = command.run("auto", environment={**without, **_HIDDEN})
    figures = {name: {"status": run.status, "log": run.log} for name, run in ended.items()}
    for fault in faults:
        run = ended[fault]
        lost = run.status == 1 and not run.scores and "the GPU failed while it scored" in run.log
        if not lost and not (fault == "memory" and run.status == 0):
            raise CheckError(f"a GPU that fails ({fault}): {figures}")
    if ended["none"].status != 2 or "device: cuda" not in ended["none"].log:
        raise CheckError(f"device: cuda without a GPU: {figures['none']}")
    devices = {score["device"] for score in auto.scores}
    if auto.status or devices != {"cpu"}:
        raise CheckError(f"device: auto without a GPU: status {auto.status}, scores on {devices}")
    return figures
