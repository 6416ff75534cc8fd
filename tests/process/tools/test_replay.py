"""Replay: the scores of an event file, by the stages of the worker."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest

from base.errors import ConfigurationError
from features.store.memory import MemoryStore
from features.tables.event_records import EventRecordReader
from tests.support.event_files import Make, Row, lines, row
from tests.support.healthy import edit, healthy_pipeline
from tools import replay
from tools.cli.score import score as score_command
from tools.replay import Replayed, replay_file
from worker.delivery.publish import SizeLimits
from worker.pipeline import load_pipeline, make_stages
from worker.schema_sources import framed, score_schema

pytestmark = pytest.mark.usefixtures("verified_here")


@pytest.fixture
def file(tmp_path: Path) -> Make:
    def make(*rows: Row | str) -> Path:
        return lines(tmp_path / "events.jsonl", rows)

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return healthy_pipeline(tmp_path / "pipeline")


def scores(folder: Path, path: Path, limit: int | None = None) -> list[Replayed]:
    return list(replay_file(load_pipeline(folder), path, limit))


def test_a_file_is_scored_as_the_worker_would_score_its_records(folder: Path, file: Make) -> None:
    path = file(*(row(i, amount=float(50 * i)) for i in range(40)))
    (replayed,) = scores(folder, path)
    pipeline = load_pipeline(folder)
    roomy = SizeLimits(2**20, 2**20)
    stages = make_stages(pipeline, pipeline.decoder(), MemoryStore(), b"", lambda: roomy)
    prefix = framed(pipeline.settings.wire.schema_id)
    (chunk,) = EventRecordReader(pipeline.feature_set, "transactions", prefix).read(path)
    schema = fastavro.parse_schema(score_schema())
    for score, value in zip(replayed.scores, stages(chunk.records).values, strict=True):
        expected: Any = fastavro.schemaless_reader(io.BytesIO(value), schema, None)
        for name in ("event_id", "decision", "score", "margin", "flags", "carried", "source"):
            assert score[name] == expected[name]
    assert [score["event_id"] for score in replayed.scores] == [f"t-{i}" for i in range(40)]


def test_scores_are_plain_json_without_nan(folder: Path, file: Make) -> None:
    (replayed,) = scores(folder, file(row(0)))
    (score,) = json.loads(json.dumps(replayed.scores, allow_nan=False))
    assert score["event_time"] == "2018-04-01T00:00:00+00:00"
    assert score["vector"]["AVG_AMOUNT"] is None
    assert score["vector"]["AMOUNT"] == 10.0


def test_replay_counts_rows_refused_by_the_file_and_by_each_stage(folder: Path, file: Make) -> None:
    rows = [row(0), row(1, transaction_id=""), "broken", row(3), row(4, tx_time="1987-01-01")]
    (replayed,) = scores(folder, file(*rows))
    assert [score["event_id"] for score in replayed.scores] == ["t-0", "t-3"]
    assert [(told.row, told.code) for told in replayed.refused] == [
        (1, "event_id_missing"),
        (2, "body_invalid"),
        (4, "event_time_out_of_range"),
    ]
    assert all(told.message for told in replayed.refused)


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
@pytest.mark.parametrize("limit", [1, 3, 4, 9])
def test_a_limit_is_the_first_events_and_nothing_is_told_of_rows_behind_them(
    folder: Path, file: Make, limit: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = EventRecordReader.read
    monkeypatch.setattr(
        EventRecordReader, "read", lambda source, path: read(source, path, chunk=chunk)
    )
    path = file(row(0), "broken", row(2), row(3), "broken", row(5))
    replayed = scores(folder, path, limit)
    scored = [score["source"]["offset"] for part in replayed for score in part.scores]
    refused = [told.row for part in replayed for told in part.refused]
    assert scored == [0, 2, 3, 5][:limit]
    assert refused == [told for told in (1, 4) if told < scored[-1]]


def test_a_file_without_events_has_no_scores(folder: Path, file: Make) -> None:
    assert [part.scores for part in scores(folder, file("broken", "also broken"))] == [[]]
    assert scores(folder, file()) == []


def test_a_score_of_any_size_is_shown(folder: Path, file: Make) -> None:
    """A file has no topic whose limit a score could exceed."""
    edit(folder / "worker.yaml", lambda values: values["output"].update(carry=["transaction_id"]))
    (replayed,) = scores(folder, file(row(0, transaction_id="x" * 1000)))
    assert len(replayed.scores[0]["carried"]["transaction_id"]) == 1000
    assert replay._NO_LIMIT.scores > np.iinfo(np.int32).max


def test_a_pipeline_with_a_registry_is_refused_with_the_remedy(folder: Path, file: Make) -> None:
    edit(
        folder / "worker.yaml", lambda values: values.update(registry={"url": "http://127.0.0.1:1"})
    )
    with pytest.raises(ConfigurationError, match=r"registry: .* leave registry out"):
        scores(folder, file(row(0)))


def test_a_file_that_begins_within_its_windows_is_told_of(
    folder: Path, file: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    count = {"name": "NB_1H", "window": "count", "by": "customer", "over": "1h"}
    edit(folder / "features.yaml", lambda values: values["features"].append(count))
    edit(folder / "worker.yaml", lambda values: values.update(store={"url": "redis://127.0.0.1:1"}))
    first = ["2018-04-01T00:00:00Z"] * 5
    times = [*first, "2018-04-01T00:59:59Z", "2018-04-01T01:00:00Z"]
    path = file(*(row(i, tx_time=time) for i, time in enumerate(times)))
    score_command(path, None, None, folder)
    shown = capsys.readouterr()
    flags = [json.loads(line)["flags"] for line in shown.out.splitlines()]
    short = "history_short:customer"
    assert [short in found for found in flags] == [True] * 6 + [False]
    assert f"6 rows are short of history ({short}): windows by customer" in shown.err
