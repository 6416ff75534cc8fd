"""``fraud-worker features drop-layout``: what it lists, refuses and deletes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from features.definition import load_feature_set
from features.history.namespace import Namespace
from features.store.memory import MemoryStore
from tests.support.healthy import edit
from tests.support.windowed import windowed_pipeline
from tools.cli import commands
from worker.consume.topics import InputTopic
from worker.histories.layouts import Place, remove
from worker.histories.location import find_namespace, state_request
from worker.histories.record import read_record
from worker.histories.state import claim
from worker.settings import load_settings

TOPIC = InputTopic("in", "id-1", 3, None)
HOUR = 3600
NUMBER = 2_500
LAST = {"name": "LAST", "window": "last", "of": "amount", "by": "customer", "over": "7d"}


class Done(NamedTuple):
    code: object
    lines: list[dict[str, Any]]
    err: str


class Bench:
    """A state with the histories of an old and a new version of the windows."""

    def __init__(self, folder: Path, store: MemoryStore) -> None:
        self.folder = folder
        self.store = store
        self.now = int(time.time())
        self.old = self.claim(25 * HOUR)
        edit(folder / "features.yaml", lambda values: values["features"].append(LAST))
        self.new = self.claim(0)

    def claim(self, seconds_ago: int) -> Namespace:
        """Claim the state as a worker did some time ago, and write some histories."""
        settings, feature_set = self._loaded()
        wanted = replace(state_request(settings, feature_set, TOPIC), at=self.now - seconds_ago)
        namespace = claim(self.store, "payments", "payments", wanted)
        layout = feature_set.histories.layouts["customer"]
        prefix = namespace.history_prefix("customer", layout)
        self.store.write((prefix + b"%d" % i, b"members") for i in range(NUMBER))
        self.store.write([(namespace.marks_key("customer", layout), b"marks")])
        return namespace

    def _loaded(self) -> Any:
        return load_settings(self.folder), load_feature_set(self.folder / "features.yaml")

    def keys(self) -> list[str]:
        """Kinds of the keys in the store."""
        names: Any = self.store._slots
        return [name.split(b":")[3].decode() for name in names]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    store = MemoryStore()
    monkeypatch.setattr("worker.pipeline.open_store", lambda _: store)
    return Bench(windowed_pipeline(tmp_path / "pipeline"), store)


Run = Callable[..., Done]


@pytest.fixture
def run(bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> Done:
        words = ["features", "drop-layout", "--pipeline", str(bench.folder), *arguments]
        monkeypatch.setattr(sys, "argv", ["fraud-worker", *words])
        with pytest.raises(SystemExit) as ended:
            commands.main()
        shown = capsys.readouterr()
        lines = [json.loads(line) for line in shown.out.splitlines()]
        return Done(ended.value.code or 0, lines, shown.err)

    return run


def listed(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """The lines of the new and the old histories."""
    new, old = sorted(run().lines, key=lambda line: not line["own"])
    return new, old


def test_all_histories_are_listed_with_their_keys_and_when_a_worker_had_them(
    run: Run, bench: Bench
) -> None:
    new, old = listed(run)
    assert (new["own"], old["own"]) == (True, False)
    assert (new["keys"], old["keys"]) == (NUMBER, NUMBER)
    assert old["last_seen"] < new["last_seen"]


def test_old_histories_are_deleted_with_their_marks_and_others_stay(run: Run, bench: Bench) -> None:
    new, old = listed(run)
    done = run(old["layout"])
    assert (done.code, done.lines) == (0, [{"layout": old["layout"], "keys": NUMBER}])
    assert run().lines == [new]
    assert bench.keys().count("history") == NUMBER
    assert bench.keys().count("marks") == 1
    # A worker with the old windows begins anew.
    record = read_record(bench.store, "payments", "payments")
    assert record is not None
    assert len(record.all_of("customer")) == 1


def test_histories_in_use_are_refused(run: Run, bench: Bench) -> None:
    new, old = listed(run)
    done = run(new["layout"], "--force")
    assert (done.code, "is what features.yaml of this pipeline uses" in done.err) == (2, True)
    edit(bench.folder / "features.yaml", lambda values: values["features"].pop())
    done = run(new["layout"])
    assert (done.code, "0 hours ago" in done.err) == (2, True)
    assert bench.keys().count("history") == 2 * NUMBER
    assert run(new["layout"], "--force").code == 0
    assert [line["layout"] for line in run().lines] == [old["layout"]]


def test_histories_that_nobody_knows_need_force_or_a_right_name(run: Run, bench: Bench) -> None:
    key = b"fw:payments:payments:history:customer:0123456789ab:c-1"
    bench.store.write([(key, b"members")])
    done = run("customer:0123456789ab")
    assert (done.code, "it is unknown when" in done.err) == (2, True)
    done = run("customer:0123")
    assert (done.code, "there are no histories customer:0123" in done.err) == (2, True)
    assert run("customer:0123456789ab", "--force").lines[-1]["keys"] == 1
    assert bench.store.read([key]) == [None]


def test_an_interrupted_removal_can_be_repeated(run: Run, bench: Bench) -> None:
    new, old = listed(run)
    place = Place(*old["layout"].split(":"))
    steps = remove(bench.store, bench.new, place, bench.now)
    next(steps)
    # The marks are gone, so that a worker that has them fills them again.
    assert bench.keys().count("marks") == 1
    assert listed(run)[1]["last_seen"] == old["last_seen"]
    assert run(old["layout"]).code == 0
    assert run().lines == [new]


def test_histories_that_a_worker_takes_during_the_removal_stay_in_the_record(
    run: Run, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, old = listed(run)
    scan = bench.store.scan

    def claim_and_scan(prefix: bytes, cursor: int = 0) -> tuple[int, list[bytes]]:
        if prefix.endswith(f":{old['layout']}:".encode()) and not cursor:
            edit(bench.folder / "features.yaml", lambda values: values["features"].pop())
            assert bench.claim(0) == bench.old
        return scan(prefix, cursor)

    monkeypatch.setattr(bench.store, "scan", claim_and_scan)
    done = run(old["layout"])
    assert (done.code, "has taken" in done.err) == (2, True)
    # It fills them again.
    assert bench.keys().count("marks") == 1
    assert len(run().lines) == 2


def test_histories_of_an_entity_without_windows_are_old(
    run: Run, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, feature_set = bench._loaded()
    wanted = state_request(settings, feature_set, TOPIC)
    others = replace(wanted, layouts={"shop": "l-1"}, backs={}, at=bench.now - 25 * HOUR)
    claim(bench.store, "payments", "payments", others)
    capsys.readouterr()
    (shop,) = [line for line in run().lines if line["layout"].startswith("shop:")]
    assert not shop["own"]
    assert run(shop["layout"]).code == 0


def test_state_shows_the_histories_of_the_windows_of_its_pipeline(bench: Bench) -> None:
    for namespace in (bench.new, bench.old):
        settings, feature_set = bench._loaded()
        assert find_namespace(settings, feature_set, bench.store) == namespace
        edit(bench.folder / "features.yaml", lambda values: values["features"].pop())
