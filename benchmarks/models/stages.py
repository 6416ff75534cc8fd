"""Measure the other stages of a micro-batch: calibration, policy and encoding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.models.micro_batch import MicroBatch
from benchmarks.models.policies import write_five, write_one
from benchmarks.models.timing import alternate
from features.definition import FeatureSet
from models.calibration import Calibration, logistic
from models.policy import Rules, load_policy
from worker.stages.decide import Decide


@dataclass(frozen=True, slots=True)
class Stages:
    """Microseconds per event.

    Attributes:
        logistic: Time to compute scores from margins without a calibration curve.
        calibration: Time to compute scores from margins with a calibration curve.
        one_segment: Time of a policy with one segment.
        five_segments: Time of a policy with five segments.
        encode: Time to encode framed scores without reasons.
    """

    logistic: float
    calibration: float
    one_segment: float
    five_segments: float
    encode: float


def measure_stages(
    folder: Path, feature_set: FeatureSet, micro_batch: MicroBatch, calibration: Calibration
) -> Stages:
    """Measure the stages on one micro-batch; policies are written to ``folder``."""
    margins = micro_batch.scored.margins
    one, five = (
        Decide(Rules(load_policy(path), feature_set))
        for path in (write_one(folder / "one.yaml"), write_five(folder / "five.yaml"))
    )
    took = alternate(
        {
            "logistic": partial(logistic, margins),
            "calibration": partial(calibration.apply, margins),
            "one_segment": partial(
                one, micro_batch.batch, micro_batch.enriched, micro_batch.scored
            ),
            "five_segments": partial(
                five, micro_batch.batch, micro_batch.enriched, micro_batch.scored
            ),
            "encode": micro_batch.encoded,
        }
    )
    return Stages(**{name: it.median * 1e6 / len(micro_batch.batch) for name, it in took.items()})
