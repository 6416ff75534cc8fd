"""The recorded stretch gives the recorded scores, to the last bit, wherever it is played."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from features.store.redis import RedisStore
from tests.conftest import MakeTopic, SharedKafka
from tests.support import replay


@pytest.mark.parametrize("batch", [1, 7, 97, 4000])
def test_the_stations_give_the_recorded_scores(batch: int) -> None:
    outcomes = replay.play_stages(replay.load_records(), batch)
    assert list(replay.differences(replay.load_expected(), outcomes)) == []


def test_real_kafka_and_valkey_give_the_recorded_scores(
    tmp_path: Path,
    kafka: SharedKafka,
    redis_url: str,
    make_topic: MakeTopic,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topics = (
        make_topic("transactions", partitions=replay.PARTITIONS),
        make_topic("scores", partitions=2),
        make_topic("dead"),
    )
    store = RedisStore(redis_url)
    replay.fill(store)
    store.close()
    run = tmp_path / "tests" / "golden" / "pipeline"
    shutil.copytree(replay.PIPELINE, run)
    schemas = Path(__file__).parents[2] / "schemas"
    shutil.copytree(schemas, tmp_path / "schemas", ignore=shutil.ignore_patterns("*.py*"))
    for name, value in {
        "KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA__GROUP": topics[0],
        "KAFKA__INPUT_TOPIC": topics[0],
        "KAFKA__OUTPUT_TOPIC": topics[1],
        "KAFKA__DEAD_LETTER_TOPIC": topics[2],
        "STORE__URL": redis_url,
    }.items():
        monkeypatch.setenv(f"FRAUD_WORKER_{name}", value)
    outcomes = replay.play_kafka(replay.load_records(), kafka.bootstrap, topics, run)
    assert list(replay.differences(replay.load_expected(), outcomes)) == []


def test_the_stretch_holds_what_a_topic_holds() -> None:
    records, expected = replay.load_records(), replay.load_expected()
    assert len(records) == len(expected) > 500
    assert len(np.unique(records.partitions)) == replay.PARTITIONS
    assert records.headers is not None
    assert any(records.headers)
    codes = {outcome["dead_letter"] for outcome in expected.values() if "dead_letter" in outcome}
    assert len(codes) >= 6
    scored = [outcome for outcome in expected.values() if "score" in outcome]
    assert {outcome["decision"] for outcome in scored} == {"approve", "review", "decline"}
    flags = {flag for outcome in scored for flag in outcome["flags"]}
    assert flags == {"lookup_missing:customer_profile", "lookup_stale:customer_profile"}
