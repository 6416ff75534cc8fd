"""Windows of a pipeline's model and policy, the expiry of their histories, and the partitions they fit."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from features.definition import FeatureSet, load_feature_set
from tests.support.healthy import edit
from tests.support.windowed import NUMBER, RISK, TOTAL, windowed_pipeline
from worker.app import load_pipeline
from worker.consume.topics import InputTopic
from worker.histories.stored_histories import expiry_ms, state_request

TOPIC = InputTopic("payments", "id-1", 3, 604_800_000)
_DAY_MS = 86_400_000


def test_a_worker_uses_the_windows_of_its_model_and_of_its_policy(tmp_path: Path) -> None:
    share = {"name": "SHARE", "expr": f"amount / {TOTAL}"}
    folder = windowed_pipeline(tmp_path / "pipeline", RISK, share)

    def by_risk(policy: dict[str, Any]) -> None:
        policy["segments"] = [
            {"name": "risky", "where": "CARD_RISK_7D > 0.5", "bands": {"review": 0.1}},
            {"name": "rest", "bands": policy.pop("bands")},
        ]

    edit(folder / "policy.yaml", by_risk)
    pipeline = load_pipeline(folder)
    model = {feature.name for feature in pipeline.bundle.features}
    assert pipeline.features == {*model, "CARD_RISK_7D"}

    def used(features: Collection[str]) -> frozenset[str]:
        return state_request(pipeline.settings, pipeline.feature_set, features, TOPIC).used

    assert used(model) == set()
    assert used(pipeline.features) == {"card"}
    assert used([NUMBER]) == used(["SHARE"]) == {"customer"}


@pytest.fixture(scope="module")
def feature_set(tmp_path_factory: pytest.TempPathFactory) -> FeatureSet:
    """Windows of an hour by customer, and of seven days, seven days ago, by card; lateness 10 min."""
    folder = windowed_pipeline(tmp_path_factory.mktemp("windowed") / "pipeline", RISK)
    return load_feature_set(folder / "features.yaml")


def test_histories_stay_for_the_longest_horizon_the_lateness_and_the_lag(
    feature_set: FeatureSet,
) -> None:
    # The history is shared: a day more, in which ids are remembered.
    within = 15 * _DAY_MS + 600_000
    assert expiry_ms(feature_set, 7 * _DAY_MS, None) == within + 7 * _DAY_MS
    assert expiry_ms(feature_set, 7 * _DAY_MS, 3600.0) == within + 3_600_000
    assert expiry_ms(feature_set, None, 3600.0) == within + 3_600_000
    assert expiry_ms(feature_set, None, None) is None
