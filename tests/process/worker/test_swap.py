"""Models and policies that are named anew take over, or are refused and what served goes on."""

from __future__ import annotations

import importlib
import io
import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import fastavro
import numpy as np
import pytest
import yaml
from structlog.testing import capture_logs

from features.definition import FeatureSet, load_feature_set
from features.history.watermarks import LogState
from features.store.memory import MemoryStore
from models.bundle import load_bundle, write_bundle
from models.bundle.pack_onnx import SampleRows, pack_onnx
from models.bundle.packed import Names
from models.bundle.sums import MAX_FILES
from models.location import FolderLocation
from models.location import folder as folder_location
from models.training.fit import fit
from schemas.batch import Records
from tests.support.bundles import edit_manifest, edit_model, trees_in
from tests.support.healthy import edit
from tests.support.onnx_models import network, saved
from tests.support.payments import (
    body,
    framed,
    good_record,
    varint,
    write_model,
    write_pipeline,
)
from worker.delivery.publish import SizeLimits
from worker.pipeline import load_pipeline, make_stages
from worker.process import metrics
from worker.reload import FileFingerprints, ModelSource, Reloader
from worker.schema_sources import score_schema
from worker.settings import WorkerSettings, load_settings

pytestmark = pytest.mark.usefixtures("verified_here")

process: Any = importlib.import_module("models.sandbox.process")
SCHEMA = fastavro.parse_schema(score_schema())
ROOMY = SizeLimits(2**20, 2**20)
RECORDS = Records(
    "payments",
    [b"k"] * 60,
    [good_record(i) for i in range(60)],
    np.zeros(60, np.int32),
    np.arange(60, dtype=np.int64),
    np.full(60, 1_700_000_000_000, np.int64),
)
POLICY = {"version": "1", "bands": {"decline": 0.9, "review": 0.5}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline with a location of three bundles, of which `a` is the champion."""
    folder = write_pipeline(tmp_path_factory.mktemp("swap") / "pipeline", {})
    for seed, name in enumerate("abc"):
        write_model(
            folder / "models" / name, folder / "features.yaml", version=f"{seed}", seed=seed
        )
    edit(folder / "worker.yaml", lambda v: v.update(model={"location": "models", "device": "cpu"}))
    FolderLocation(folder / "models").promote("a")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "pipeline"))


@pytest.fixture
def location(folder: Path) -> FolderLocation:
    return FolderLocation(folder / "models")


@pytest.fixture
def worker(folder: Path) -> Reloader:
    return start(folder)


def start(folder: Path, clock: Callable[[], float] = time.monotonic) -> Reloader:
    pipeline = load_pipeline(folder)
    store = MemoryStore()
    stages = make_stages(pipeline, pipeline.decoder(), store, b"", lambda: ROOMY, now_us=lambda: 1)
    return Reloader(
        pipeline.settings,
        pipeline.source,
        pipeline.feature_set,
        stages,
        pipeline.fingerprints,
        clock=clock,
    )


def write_policy(folder: Path, **changes: Any) -> None:
    (folder / "policy.yaml").write_text(yaml.safe_dump(POLICY | changes, sort_keys=False))


def scores(worker: Reloader) -> list[Any]:
    processed = worker(RECORDS, LogState())
    return [fastavro.schemaless_reader(io.BytesIO(v), SCHEMA, None) for v in processed.values]


def served(worker: Reloader) -> tuple[str, str]:
    """The versions of model and policy on every score, which are those of a fresh start."""
    (found,) = {(s["model"]["version"], s["policy_version"]) for s in scores(worker)}
    return found


def refused(logs: list[Any], what: str) -> str:
    (told,) = [line for line in logs if line["event"] == "refused" and line["what"] == what]
    assert metric("fraud_worker_refused", what=what) == 1
    return str(told["reason"])


def metric(name: str, **labels: str) -> float | None:
    return metrics.REGISTRY.get_sample_value(name, labels)


def test_a_champion_takes_over_and_scores_as_after_a_start(
    folder: Path, location: FolderLocation, worker: Reloader
) -> None:
    before = scores(worker)
    location.promote("b")
    assert served(worker) == ("0", "1")
    with capture_logs() as logs:
        worker.reload_if_changed()
    assert [line["event"] for line in logs] == ["model_swapped"]
    assert logs[0]["model_version"] == "1"
    assert logs[0]["before"] == "payments 0"
    after = scores(worker)
    assert after == scores(start(folder))
    assert [s["margin"] for s in after] != [s["margin"] for s in before]
    location.rollback()
    worker.reload_if_changed()
    assert scores(worker) == before


def test_a_reloader_reads_no_bundle_while_the_names_are_the_same(
    worker: Reloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    monkeypatch.setattr("worker.reload.reloader.load_model", lambda *_: read.append("model"))
    monkeypatch.setattr("worker.reload.reloader.load_rules", lambda *_: read.append("policy"))
    worker.reload_if_changed()
    assert read == []


def test_a_champion_that_was_promoted_during_the_start_is_not_missed(
    folder: Path, location: FolderLocation
) -> None:
    pipeline = load_pipeline(folder)
    location.promote("b")
    store = MemoryStore()
    stages = make_stages(pipeline, pipeline.decoder(), store, b"", lambda: ROOMY)
    worker = Reloader(
        pipeline.settings, pipeline.source, pipeline.feature_set, stages, pipeline.fingerprints
    )
    worker.reload_if_changed()
    assert served(worker) == ("1", "1")


def other_features(bundle: Path) -> None:
    edit_manifest(bundle, lambda m: m["features"][0].update(fingerprint="0" * 64))


def reversed_columns(bundle: Path) -> None:
    edit_manifest(bundle, lambda m: m["features"].reverse())


def non_finite_leaves(bundle: Path) -> None:
    edit_model(bundle, lambda m: trees_in(m)[0].update(split_conditions=_infinite(m)))


def _infinite(model: Any) -> list[float]:
    return [1e39] * len(trees_in(model)[0]["split_conditions"])


def half_copied(bundle: Path) -> None:
    (bundle / "model.ubj").unlink()


def one_bit(bundle: Path) -> None:
    content = bytearray((bundle / "model.ubj").read_bytes())
    content[len(content) // 2] ^= 4
    (bundle / "model.ubj").write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (other_features, "trained on other definitions of AMOUNT"),
        (reversed_columns, "in another order, than the manifest lists"),
        (non_finite_leaves, "is not a finite number"),
        (half_copied, "model.ubj named in SHA256SUMS but not there"),
        (one_bit, "the file was changed or damaged"),
    ],
)
def test_a_damaged_champion_is_refused_and_the_old_one_serves(
    location: FolderLocation, worker: Reloader, damage: Callable[[Path], None], said: str
) -> None:
    before = scores(worker)
    damage(location.folder / "b")
    location.promote("b")
    with capture_logs() as logs:
        worker.reload_if_changed()
    assert said in refused(logs, "model")
    assert scores(worker) == before
    location.promote("c")
    worker.reload_if_changed()
    assert served(worker) == ("2", "1")
    assert metric("fraud_worker_refused", what="model") == 0


@pytest.mark.parametrize(
    ("code", "seconds", "said"),
    [
        ("import time; time.sleep(600)", 0.3, "model.verify_timeout_s"),
        ("import os; os.abort()", 20.0, "with SIGABRT"),
    ],
)
def test_a_champion_that_hangs_or_ends_its_process_is_refused(
    folder: Path,
    location: FolderLocation,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    seconds: float,
    said: str,
) -> None:
    edit(folder / "worker.yaml", lambda v: v["model"].update(verify_timeout_s=20))
    worker = start(folder)
    monkeypatch.setattr(process, "COMMAND", [sys.executable, "-c", code])
    monkeypatch.setattr(worker, "_settings", _with_timeout(worker, seconds))
    location.promote("b")
    with capture_logs() as logs:
        worker.reload_if_changed()
    assert said in refused(logs, "model")
    assert served(worker) == ("0", "1")


def _with_timeout(worker: Reloader, seconds: float) -> WorkerSettings:
    settings = worker._settings
    return settings.model_copy(
        update={"model": settings.model.model_copy(update={"verify_timeout_s": seconds})}
    )


def test_a_champion_of_very_many_files_takes_no_long_look(
    folder: Path, location: FolderLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        (location.folder / "a" / f"more-{number}").touch()
    stamp = Mock(side_effect=folder_location._stamp)
    monkeypatch.setattr(folder_location, "_stamp", stamp)
    settings = load_settings(folder)
    source = ModelSource(settings.model)
    assert FileFingerprints.of(settings, source) == FileFingerprints.of(settings, source)
    assert stamp.call_count == 2 * (MAX_FILES + 1)


def test_a_champion_that_is_copied_while_it_is_named_serves_when_it_is_whole(
    location: FolderLocation, worker: Reloader, tmp_path: Path
) -> None:
    model = location.folder / "b" / "model.ubj"
    model.rename(tmp_path / "model.ubj")
    location.promote("b")
    worker.reload_if_changed()
    assert served(worker) == ("0", "1")
    (tmp_path / "model.ubj").rename(model)
    worker.reload_if_changed()
    assert served(worker) == ("1", "1")


def test_a_neural_network_takes_over_from_trees_and_back(
    location: FolderLocation, worker: Reloader, tmp_path: Path
) -> None:
    features = load_bundle(location.folder / "a").features
    names = [feature.name for feature in features]
    pack_onnx(
        saved(network(len(names)), tmp_path / "m.onnx"),
        location.folder / "net",
        name="payments",
        version="net",
        names=Names(names),
        definitions=features,
        kind="probability",
        sample=SampleRows(np.ones((50, len(names)), np.float32)),
    )
    before = scores(worker)
    location.promote("net")
    worker.reload_if_changed()
    assert served(worker) == ("net", "1")
    assert [score["margin"] for score in scores(worker)] != [score["margin"] for score in before]
    location.rollback()
    worker.reload_if_changed()
    assert scores(worker) == before


def test_a_new_model_that_raises_leaves_the_old_one_serving(
    location: FolderLocation, worker: Reloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("worker.reload.load_serving.open_backend", fail)
    location.promote("b")
    with capture_logs() as logs:
        worker.reload_if_changed()
    assert "MemoryError" in refused(logs, "model")
    assert served(worker) == ("0", "1")


def test_a_policy_takes_over_with_a_field_that_nothing_read_before(folder: Path) -> None:
    edit(folder / "worker.yaml", lambda v: v.update(output={"vector": "all"}))
    worker = start(folder)
    fine = {"name": "fine", "where": "note == 'fine'", "bands": {"hold": 0.5}}
    policy = {"version": "2", "segments": [fine, {"name": "rest", "bands": {"decline": 0.9}}]}
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    with capture_logs() as logs:
        worker.reload_if_changed()
    assert [line["event"] for line in logs] == ["policy_reloaded"]
    found = scores(worker)
    assert {score["segment"] for score in found} == {"fine"}
    assert {score["policy_version"] for score in found} == {"2"}
    assert {score["decision"] for score in found} == {"approve", "hold"}


def test_a_policy_that_makes_known_records_unreadable_is_refused(tmp_path: Path) -> None:
    """The writer of these records lacks the field, and the reader's schema has no default for it."""
    folder = write_pipeline(tmp_path / "pipeline", {})
    schema = json.loads((folder / "payment.avsc").read_text())
    (folder / "writer-schemas" / "5.avsc").write_text(json.dumps(schema))
    schema["fields"] += [
        {"name": "country", "type": "string"},
        {"name": "city", "type": "string", "default": "none"},
    ]
    (folder / "payment.avsc").write_text(json.dumps(schema))
    worker = start(folder)
    values = [b"\0\0\0\0\5" + good_record(i)[5:] for i in range(60)]
    old = replace(RECORDS, values=values)
    assert len(worker(old, LogState()).values) == 60
    segment = {"name": "at home", "where": "country == 'x'", "bands": {"hold": 0.1}}
    rest = {"name": "rest", "bands": {"decline": 0.9}}
    write_segments(folder, "2", segment, rest)
    with capture_logs() as logs:
        worker.reload_if_changed()
    reason = refused(logs, "policy")
    for part in ("policy.yaml", "schema 5", "no field country", "give the field a default"):
        assert part in reason
    assert len(worker(old, LogState()).values) == 60
    write_segments(folder, "3", segment | {"where": "city == 'none'"}, rest)
    worker.reload_if_changed()
    assert worker(old, LogState()).decisions.keys() <= {("at home", "hold"), ("at home", "approve")}


def write_segments(folder: Path, version: str, *segments: object) -> None:
    policy = {"version": version, "segments": segments}
    (folder / "policy.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(policy))))


def test_features_read_by_a_policy_do_not_depend_on_those_before(folder: Path) -> None:
    edit(folder / "worker.yaml", lambda v: v.update(output={"vector": "all"}))
    worker = start(folder)
    values = [framed(body()), framed(body(note=varint(2) + b"\xc3\x28"))]
    records = replace(RECORDS.take(np.arange(2)), values=values)
    assert len(worker(records, LogState()).dead_letters) == 0
    segment = {"name": "fine", "where": "note == 'fine'", "bands": {"hold": 0.5}}
    write_segments(folder, "2", segment, {"name": "rest", "bands": {"decline": 0.9}})
    worker.reload_if_changed()
    assert len(worker(records, LogState()).dead_letters) == 1
    write_policy(folder, version="3")
    worker.reload_if_changed()
    assert len(worker(records, LogState()).dead_letters) == 0


def test_a_fault_that_passes_is_tried_again_and_told_once(
    folder: Path, location: FolderLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    worker = start(folder, clock=lambda: now[0])
    taken = metric("fraud_worker_swaps_total", what="model", outcome="refused") or 0.0

    def fail(*_: object) -> None:
        raise OSError("no process can be started")

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr("worker.reload.load_serving.open_backend", fail)
        location.promote("b")
        for now[0] in (1.0, 2.0, 100.0):
            worker.reload_if_changed()
    assert "no process" in refused(logs, "model")
    assert metric("fraud_worker_swaps_total", what="model", outcome="refused") == taken + 1
    now[0] = 101.0
    worker.reload_if_changed()
    assert served(worker) == ("0", "1")
    now[0] = 161.0
    worker.reload_if_changed()
    assert served(worker) == ("1", "1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: '2'\nbands: {decline: 2.0}\n", "policy.yaml:2:"),
        ("version: '2'\nbands: {", "not valid YAML"),
        ("", "expected a mapping"),
        ("version: '1'\nbands: {decline: 0.8}\n", "has served before with other content"),
    ],
)
def test_a_broken_policy_is_refused_and_the_old_one_decides(
    folder: Path, worker: Reloader, text: str, said: str
) -> None:
    before = scores(worker)
    (folder / "policy.yaml").write_text(text)
    with capture_logs() as logs:
        worker.reload_if_changed()
    assert said in refused(logs, "policy")
    assert scores(worker) == before
    (folder / "policy.yaml").write_text(f"# as it was\n{yaml.safe_dump(POLICY)}")
    with capture_logs() as logs:
        worker.reload_if_changed()
        worker.reload_if_changed()
    assert [(line["event"], line["what"]) for line in logs] == [("holds_again", "policy")]
    assert metric("fraud_worker_refused", what="policy") == 0


def test_a_model_and_a_policy_that_need_each_other_take_over_together(
    folder: Path, location: FolderLocation, worker: Reloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new policy has a code for the new model's features only, and the old one the old's."""
    narrow(location.folder / "b", keep="HOUR")
    narrow(location.folder / "a", keep="AMOUNT")
    write_policy(folder, reasons=catalogue("AMOUNT"))
    worker = start(folder)
    location.promote("b")
    with capture_logs() as logs:
        worker.reload_if_changed()
    assert "HOUR" in refused(logs, "model")
    assert served(worker) == ("0", "1")
    write_policy(folder, version="2", reasons=catalogue("HOUR"))
    with capture_logs() as logs:
        worker.reload_if_changed()
    assert {line["event"] for line in logs} == {"model_swapped", "policy_reloaded"}
    assert served(worker) == ("1", "2")
    assert metric("fraud_worker_refused", what="model") == 0


def test_a_policy_that_does_not_fit_the_model_is_refused(
    folder: Path, location: FolderLocation
) -> None:
    narrow(location.folder / "a", keep="AMOUNT")
    worker = start(folder)
    write_policy(folder, version="2", reasons=catalogue("HOUR"))
    with capture_logs() as logs:
        worker.reload_if_changed()
    assert "AMOUNT" in refused(logs, "policy")
    assert served(worker) == ("0", "1")


def narrow(bundle: Path, keep: str) -> None:
    """In its place, a model of one feature."""
    version = load_bundle(bundle).version
    shutil.rmtree(bundle)
    features = [f for f in feature_set_of(bundle.parents[1]).features if f.name == keep]
    matrix = np.random.default_rng(1).normal(10, 30, (300, 1)).astype(np.float32)
    booster = fit(matrix, (matrix[:, 0] > 20).astype(np.int64), threads=1, rounds=3)
    write_bundle(bundle, booster, name="payments", version=version, features=features)


def feature_set_of(folder: Path) -> FeatureSet:
    return load_feature_set(folder / "features.yaml")


def catalogue(feature: str) -> dict[str, Any]:
    return {"max": 2, "catalogue": {"ONE": {"features": [feature], "text": "one"}}}


def test_a_model_may_not_take_a_name_that_another_has_served_under(
    folder: Path, location: FolderLocation, worker: Reloader
) -> None:
    write_model(location.folder / "d", folder / "features.yaml", version="0", seed=9)
    location.promote("d")
    with capture_logs() as logs:
        worker.reload_if_changed()
    assert "the model payments 0 has served before" in refused(logs, "model")
    assert served(worker) == ("0", "1")


def test_a_bundle_that_the_settings_name_is_not_looked_at_again(folder: Path) -> None:
    edit(folder / "worker.yaml", lambda v: v.update(model={"bundle": "models/a"}))
    worker = start(folder)
    shutil.rmtree(folder / "models" / "a")
    write_policy(folder, version="2")
    with capture_logs() as logs:
        worker.reload_if_changed()
    assert [line["event"] for line in logs] == ["policy_reloaded"]
    assert served(worker) == ("0", "2")


def test_the_metrics_name_what_serves(location: FolderLocation, worker: Reloader) -> None:
    def versions() -> set[str]:
        (family,) = (f for f in metrics.REGISTRY.collect() if f.name == "fraud_worker_info")
        return {sample.labels["model_version"] for sample in family.samples}

    taken = metric("fraud_worker_swaps_total", what="model", outcome="taken") or 0
    assert versions() == {"0"}
    location.promote("c")
    worker.reload_if_changed()
    assert versions() == {"2"}
    assert metric("fraud_worker_swaps_total", what="model", outcome="taken") == taken + 1


def test_a_reloader_looks_for_changes_until_it_is_stopped(
    folder: Path, location: FolderLocation
) -> None:
    edit(folder / "worker.yaml", lambda v: v.update(reload_s=0.01))
    worker = start(folder)
    worker.start()
    try:
        location.promote("b")
        deadline = time.monotonic() + 30
        while (seen := served(worker)) != ("1", "1"):
            assert time.monotonic() < deadline, seen
    finally:
        worker.stop()
    location.promote("c")
    worker._thread.join(5)
    assert not worker._thread.is_alive()
    assert served(worker) == ("1", "1")
