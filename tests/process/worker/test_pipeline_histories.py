"""Windows of a pipeline's model and policy, the expiry of their histories, and the partitions they fit."""

from __future__ import annotations

import pytest

from features.definition import FeatureSet, load_feature_set
from tests.support.windowed import RISK, windowed_pipeline
from worker.consume.topics import InputTopic
from worker.histories.location import expiry_ms

TOPIC = InputTopic("payments", "id-1", 3, 604_800_000)
_DAY_MS = 86_400_000


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
