"""Our folds and measures give what the Handbook published for XGBoost, on features of ours."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import xgboost as xgb

from features.definition import load_feature_set
from features.tables import EventTableReader, build
from models.training.folds import Lengths, make_fold
from models.training.metrics import Metrics
from models.training.table import TrainingTable

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("FRAUD_WORKER_DATA", ROOT.parent / "shared" / "data"))
RAW = DATA / "handbook_raw.parquet"

pytestmark = [
    pytest.mark.skipif(not RAW.exists(), reason=f"{RAW} is absent; set FRAUD_WORKER_DATA"),
    pytest.mark.timeout(900),
]


def micros(month: int, day: int) -> int:
    return int(datetime(2018, month, day, tzinfo=UTC).timestamp()) * 1_000_000


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> TrainingTable:
    out = tmp_path_factory.mktemp("handbook") / "table.parquet"
    feature_set = load_feature_set(ROOT / "examples" / "handbook" / "features.yaml")
    build(feature_set, EventTableReader(feature_set, [RAW]), out)
    return TrainingTable(out)


def test_xgboost_is_worth_what_was_published(table: TrainingTable) -> None:
    events = table.read(micros(7, 25), micros(8, 15))
    fold = make_fold(events, micros(7, 25), Lengths(), known_by=np.iinfo(np.int64).max)
    assert (len(fold.train), len(fold.assess)) == (67_240, 58_264)
    assert (fold.train_labels.sum(), fold.labels.sum()) == (598, 385)
    # XGBoost's own defaults, as the Handbook has them, but for base_score: 3.x would fit that
    params = {"objective": "binary:logistic", "tree_method": "exact", "base_score": 0.5}
    data = xgb.DMatrix(events.matrix[fold.train], fold.train_labels)
    booster = xgb.train({**params, "nthread": 1}, data, num_boost_round=100)
    margins = booster.inplace_predict(events.matrix[fold.assess], predict_type="margin")
    worth = Metrics.of(fold.labels, margins, events.cards[fold.assess], fold.days)
    assert round(worth.roc_auc, 3) == 0.862
    assert round(worth.average_precision, 3) == 0.639
    assert round(worth.card_precision_100, 3) == 0.273
