"""Measurements in this process, without Kafka: models on each device, and the stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from benchmarks.models.explaining import Explaining, measure_explaining
from benchmarks.models.material import Material
from benchmarks.models.micro_batch import make_micro_batch
from benchmarks.models.policies import coding_of, write_explaining
from benchmarks.models.scoring import Scoring, XGBoost, measure_scoring
from benchmarks.models.stages import Stages, measure_stages
from benchmarks.testbed import Testbed, note
from models.backend import open_backend
from models.policy import Rules, load_policy

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class InProcess:
    """Measurements in this process.

    Attributes:
        scoring: Times for margins, by device, trees and batch size.
        explaining: Times for reasons, by device, trees and number of events.
        stages: Times of the other stages.
    """

    scoring: Sequence[Scoring]
    explaining: Sequence[Explaining]
    stages: Stages

    def figures(self) -> dict[str, Any]:
        """Return the values for the result file."""
        return {
            "scoring": [asdict(one) for one in self.scoring],
            "explaining": [asdict(one) for one in self.explaining],
            "stations": asdict(self.stages),
        }


def measure_in_process(
    testbed: Testbed, material: Material, devices: Sequence[Device]
) -> InProcess:
    """Measure models on each of ``devices``, and the other stages.

    Raises:
        RunError: XGBoost called directly returns different values.
    """
    feature_set = testbed.feature_set
    path = write_explaining(testbed.folder / "alone.yaml", material.threshold)
    rules = Rules(load_policy(path), feature_set)
    coding = coding_of(rules, feature_set)
    backend = open_backend(testbed.bundle, "cpu", testbed.threads)
    micro_batch = make_micro_batch(material.batch, material.enriched, backend, rules, feature_set)
    stages = measure_stages(testbed.folder, feature_set, micro_batch, material.calibration)
    scoring: list[Scoring] = []
    explaining: list[Explaining] = []
    for device in devices:
        for trees, bundle in material.bundles.items():
            note(f"margins and reasons of {trees} trees on {device} …")
            backend = open_backend(bundle, device, testbed.threads)
            by_hand = XGBoost(bundle, testbed.threads)
            # On a GPU nothing is compared, because the backend makes the same XGBoost calls.
            methods = by_hand.methods if device == "cpu" else {}
            theirs = {"xgboost": by_hand.contributions} if device == "cpu" else {}
            scoring += measure_scoring(backend, trees, material.matrix, methods)
            explaining += measure_explaining(backend, trees, coding, micro_batch, theirs)
    return InProcess(scoring, explaining, stages)
