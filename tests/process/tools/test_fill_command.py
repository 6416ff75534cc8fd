"""``fraud-worker features fill`` without brokers: which rows it fills, and what it leaves alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import MagicMock

import pytest

from base.errors import HistoriesLostError
from base.times import utc
from features.definition import load_feature_set
from features.history.layout import read_members
from features.history.marks import NOT_BEGUN
from features.history.watermarks import UNKNOWN
from features.store.memory import MemoryStore
from tests.support.event_files import lines
from tests.support.payments import TIME_MS
from tests.support.stored_state import find_namespace
from tests.support.windowed import windowed_pipeline
from tools import topic_fill
from tools.cli import commands
from worker.consume.topics import InputTopic
from worker.histories.location import state_request
from worker.histories.marks import Marks
from worker.histories.record import read_record
from worker.histories.state import claim
from worker.settings import load_settings

TOPIC = InputTopic("in", "id-1", 3, None)
_MINUTE_MS = 60_000


class Done(NamedTuple):
    code: object
    result: dict[str, Any]
    err: str


Run = Callable[..., Done]


def row(number: int, **changes: Any) -> dict[str, Any]:
    """An event of one customer, a minute after the one before."""
    return {
        "id": f"p-{number}",
        "at": TIME_MS + number * _MINUTE_MS,
        "customer": "c-1",
        "card": "k-1",
        "amount": 1.0,
        "present": True,
        "channel": "a",
        "fee": 0.05,
        **changes,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour by customer, ten minutes of lateness, ids for a day."""
    return windowed_pipeline(tmp_path_factory.mktemp("windowed") / "pipeline")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    made = MemoryStore()
    monkeypatch.setattr("worker.pipeline.open_store", lambda _: made)
    return made


@pytest.fixture
def run(
    folder: Path,
    store: MemoryStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Run:
    """Run the command on rows; ``begins`` is the number of the topic's first event."""
    fill = sys.modules["tools.cli.features.fill"]
    monkeypatch.setattr(fill, "_describe", lambda _: TOPIC)

    def run(
        rows: Iterable[dict[str, Any] | str] | None, *options: str, begins: int | None = None
    ) -> Done:
        assert isinstance(store, MemoryStore)
        begin = None if begins is None else 1000 * (TIME_MS + begins * _MINUTE_MS)
        monkeypatch.setattr(fill, "_first_event", lambda _: begin)
        arguments = ["features", "fill", "--pipeline", str(folder)]
        if rows is not None:
            arguments += ["--events", str(lines(tmp_path / "history.jsonl", rows))]
        monkeypatch.setattr(sys, "argv", ["fraud-worker", *arguments, *options])
        with pytest.raises(SystemExit) as ended:
            commands.main()
        shown = capsys.readouterr()
        result = json.loads(shown.out.splitlines()[-1]) if shown.out else {}
        return Done(ended.value.code or 0, result, shown.err)

    return run


def held(folder: Path, store: MemoryStore) -> list[tuple[int, int]]:
    """Partition and offset of the members of the customer in the state."""
    feature_set = load_feature_set(folder / "features.yaml")
    (entity,) = feature_set.histories.entities
    namespace = find_namespace(store, "payments", "payments")
    if namespace is None:
        return []
    prefix = namespace.history_prefix("customer", entity.layout.digest)
    members = read_members(store.read([prefix + b"c-1"])[0], entity.layout.dtype, "a history")
    return list(zip(members["partition"].tolist(), members["offset"].tolist(), strict=True))


def reaches_back_to(folder: Path, store: MemoryStore) -> int:
    """Time that the marks say; NOT_BEGUN if there are none."""
    feature_set = load_feature_set(folder / "features.yaml")
    namespace = find_namespace(store, "payments", "payments")
    assert namespace is not None
    marks = Marks(feature_set.histories, namespace)
    marks.take(store.read_all([], [], marks.keys))
    assert all(not of["reached"].any() for of in marks.read)
    return marks.lowest_of_files(marks.histories[0], UNKNOWN)


def minute(number: int) -> int:
    return 1000 * (TIME_MS + number * _MINUTE_MS)


def test_rows_before_the_topic_are_members_of_a_partition_before_all_others(
    run: Run, folder: Path, store: MemoryStore
) -> None:
    rows = [*map(row, range(10)), row(11, customer=None)]
    done = run(rows, begins=8)
    assert done.code == 0
    assert "refused: 1 rows" in done.err
    assert (
        done.result.items()
        >= {
            "rows": 11,
            "filled": 8,
            "skipped": 2,
            "refused": 1,
            "until": utc(minute(8)).isoformat(),
            "reaches_back_to": utc(minute(2)).isoformat(),
        }.items()
    )
    assert held(folder, store) == [(-1, number) for number in range(8)]
    # The third of the first five.
    assert reaches_back_to(folder, store) == minute(2)


def test_rows_that_no_window_reaches_back_to_are_skipped(
    run: Run, folder: Path, store: MemoryStore
) -> None:
    # An id is remembered for a day, and a day longer to judge that; ten minutes may be late.
    span = 2 * 24 * 60 + 10
    done = run([row(n) for n in (0, 1, *range(span, span + 8))], begins=span + 1)
    assert (done.result["filled"], done.result["skipped"]) == (1, 9)
    assert held(folder, store) == [(-1, 2)]
    assert done.result["reaches_back_to"] is None
    done = run([row(n) for n in (0, 1, *range(span, span + 8))], begins=span + 8)
    assert (done.result["filled"], done.result["skipped"]) == (8, 2)
    # Nothing is missing behind the time up to which rows are skipped.
    assert reaches_back_to(folder, store) == minute(8)


def test_without_events_of_the_topic_all_rows_count_that_windows_reach_back_to(
    run: Run, folder: Path, store: MemoryStore
) -> None:
    far = 5 * 24 * 60
    done = run([row(n) for n in (0, *range(far, far + 6))])
    assert (done.result["filled"], done.result["skipped"], done.result["until"]) == (6, 1, None)
    assert "the topic has no events yet" in done.err
    assert len(held(folder, store)) == 6


def test_a_second_fill_begins_anew_and_an_invalid_one_changes_nothing(
    run: Run, folder: Path, store: MemoryStore
) -> None:
    run(map(row, range(8)), begins=8)
    before = read_record(store, "payments", "payments")
    refused = run(map(row, (5, 1, 3, 0)), begins=8)
    assert (refused.code, "not in order of time" in refused.err) == (2, True)
    assert read_record(store, "payments", "payments") == before
    assert len(held(folder, store)) == 8
    run(map(row, (5, 1, 3, 0)), "--sort", begins=8)
    assert sorted(held(folder, store)) == [(-1, number) for number in range(4)]


def test_a_worker_that_begins_takes_over_what_was_filled(
    run: Run, folder: Path, store: MemoryStore
) -> None:
    run(map(row, range(8)), begins=8)
    feature_set = load_feature_set(folder / "features.yaml")
    filled = find_namespace(store, "payments", "payments")
    wanted = state_request(load_settings(folder), feature_set, TOPIC)
    assert claim(store, "payments", "payments", wanted) == filled


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        (InputTopic("in", "id-2", 3, None), "created again"),
        (InputTopic("in", "id-1", 4, None), "4"),
    ],
)
def test_a_state_of_another_log_is_refused(
    run: Run, folder: Path, store: MemoryStore, topic: InputTopic, message: str
) -> None:
    feature_set = load_feature_set(folder / "features.yaml")
    wanted = state_request(load_settings(folder), feature_set, topic)
    claim(store, "payments", "payments", wanted)
    done = run(map(row, range(8)), begins=8)
    assert done.code == 2
    assert message in done.err
    assert held(folder, store) == []


def test_the_end_is_given_or_refused(run: Run) -> None:
    done = run(map(row, range(8)), "--until", utc(minute(3)).isoformat())
    assert (done.result["filled"], done.result["skipped"]) == (3, 5)
    done = run(map(row, range(8)), "--until", "soon")
    assert (done.code, "--until: 'soon' is not a time" in done.err) == (2, True)


def test_files_and_the_topic_are_filled_from_one_at_a_time(run: Run) -> None:
    done = run([row(0)], "--from-topic")
    assert (done.code, "--events: give event files, or --from-topic" in done.err) == (2, True)
    done = run(None, "--from-topic", "events.parquet")
    assert (done.code, "--events: give event files, or --from-topic" in done.err) == (2, True)


def test_a_gap_before_the_topic_is_reported(run: Run) -> None:
    done = run(map(row, range(8)), begins=2000)
    assert "windows miss the events between" in done.err
    assert done.result["reaches_back_to"] is None
    assert "windows miss" not in run(map(row, range(8)), begins=60).err
    assert "too few events" in run(map(row, range(2)), begins=60).err


def test_files_without_members_let_histories_reach_nowhere(
    run: Run, folder: Path, store: MemoryStore
) -> None:
    assert run(map(row, range(3)), begins=3).result["reaches_back_to"] is None
    assert reaches_back_to(folder, store) == NOT_BEGUN


def test_a_store_that_loses_members_during_a_fill_from_the_topic_is_reported(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: object) -> None:
        raise HistoriesLostError("gone")

    fake = MagicMock()
    for name in ("make_consumer", "StartOffsets", "GroupCheckpoints", "event_decoder"):
        monkeypatch.setattr(topic_fill, name, fake)
    monkeypatch.setattr(topic_fill, "Restoring", lambda *_: SimpleNamespace(run=lose))
    done = run(None, "--from-topic")
    assert (done.code, "lost members during the fill; fill again" in done.err) == (1, True)
