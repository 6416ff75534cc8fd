"""What is timed in this process, without Kafka: models on each device, and the stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from benchmarks.ground import Ground, note
from benchmarks.models.explaining import Explaining, measure_explaining
from benchmarks.models.ground import Material
from benchmarks.models.micro_batch import make_micro_batch
from benchmarks.models.policies import coding_of, write_explaining
from benchmarks.models.scoring import Scoring, XGBoost, measure_scoring
from benchmarks.models.stages import Stages, measure_stages
from models.backend.open import open_backend
from models.policy import Rules, load_policy

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class Alone:
    """By device and trees: margins, reasons. By nothing: the stages around them."""

    scoring: Sequence[Scoring]
    explaining: Sequence[Explaining]
    stages: Stages

    def figures(self) -> dict[str, Any]:
        """For the result file."""
        return {
            "scoring": [asdict(one) for one in self.scoring],
            "explaining": [asdict(one) for one in self.explaining],
            "stations": asdict(self.stages),
        }


def measure_alone(on: Ground, material: Material, devices: Sequence[Device]) -> Alone:
    """Raises RunError where XGBoost called by hand gives something else."""
    feature_set = on.feature_set
    path = write_explaining(on.folder / "alone.yaml", material.threshold)
    rules = Rules(load_policy(path), feature_set)
    coding = coding_of(rules, feature_set)
    backend = open_backend(on.bundle, "cpu", on.threads)
    micro_batch = make_micro_batch(material.batch, material.enriched, backend, rules, feature_set)
    stages = measure_stages(on.folder, feature_set, micro_batch, material.calibration)
    scoring: list[Scoring] = []
    explaining: list[Explaining] = []
    for device in devices:
        for trees, bundle in material.bundles.items():
            note(f"margins and reasons of {trees} trees on {device} …")
            backend = open_backend(bundle, device, on.threads)
            by_hand = XGBoost(bundle, on.threads)
            # On a GPU nothing is compared: XGBoost by hand is what the backend calls.
            ways = by_hand.ways if device == "cpu" else {}
            theirs = {"xgboost": by_hand.contributions} if device == "cpu" else {}
            scoring += measure_scoring(backend, trees, material.matrix, ways)
            explaining += measure_explaining(backend, trees, coding, micro_batch, theirs)
    return Alone(scoring, explaining, stages)
