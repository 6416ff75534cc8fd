"""Worker with the metrics of its served and refused models and policies."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.fleet import Worker
from tests.support.image import image_path
from tests.support.rig import ROOT, Rig, await_that

_CHANGE_S = 60.0
HANGING = ROOT / "tests" / "system" / "hanging"

_SWAPS = re.compile(
    r'^fraud_worker_swaps_total\{outcome="(\w+)",what="(\w+)"\} (\S+)$', re.MULTILINE
)
_REFUSED = re.compile(r'^fraud_worker_refused\{what="(\w+)"\} (\S+)$', re.MULTILINE)
_INFO = re.compile(
    r'^fraud_worker_info\{.*model_version="([^"]+)",policy_version="([^"]+)"\} 1\.0$', re.MULTILINE
)
_RESIDENT = re.compile(r"^VmRSS:\s+(\d+) kB$", re.MULTILINE)


@dataclass
class ServedState:
    """Models and policies that a worker serves, loaded and refused.

    Attributes:
        model: Version of the served model.
        policy: Version of the served policy.
        refused: True if the currently configured model or policy is refused.
        counts: Number of swaps by kind (``model`` or ``policy``) and outcome.
    """

    model: str = ""
    policy: str = ""
    refused: dict[str, bool] = field(
        default_factory=lambda: dict.fromkeys(("model", "policy"), False)
    )
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)


class Replica(Worker):
    """A worker that hangs while it verifies the bundle ``hangs``."""

    def __init__(
        self, rig: Rig, replica: str, *, program: Sequence[str] = ("tools", "run")
    ) -> None:
        environment = {"PYTHONPATH": image_path(HANGING)}
        super().__init__(rig, replica, program=program, environment=environment)

    def served(self) -> ServedState:
        """Read the state from its metrics; empty while it does not respond."""
        said = self._get("/metrics")[1]
        served = _INFO.search(said)
        return ServedState(
            served[1] if served else "",
            served[2] if served else "",
            {what: float(value) == 1 for what, value in _REFUSED.findall(said)},
            Counter({(what, outcome): int(float(n)) for outcome, what, n in _SWAPS.findall(said)}),
        )

    def await_served(self, expected: ServedState) -> None:
        await_that(
            lambda: self.served() == expected,
            _CHANGE_S,
            f"{self.replica} says {expected}",
            lambda: (self.served(), self.tail()),
        )

    def mebibytes(self) -> int:
        """Resident memory in MiB."""
        match = _RESIDENT.search(Path(f"/proc/{self.pid}/status").read_text())
        assert match
        return int(match[1]) // 1024

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))


def verifying(location: Path) -> list[int]:
    """Process ids of all processes that verify a bundle of this location."""
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_text().split("\0")
        except OSError:  # it has just ended
            continue
        if "models.sandbox.child" in words and any(w.startswith(f"{location}/") for w in words):
            pids.append(int(process.name))
    return pids
