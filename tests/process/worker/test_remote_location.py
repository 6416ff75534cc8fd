"""A model location that is away, slow, refused or broken changes nothing but what is said of it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from base.errors import BundleRefusedError, DependencyUnavailableError, StoreRefusedError
from base.object_store import Objects
from features.store.memory import MemoryStore
from models.bundle.sums import SUMS_FILE
from models.location import Location, open_location
from tests.support.fault_proxy import FaultProxy
from tests.support.healthy import edit
from tests.support.object_servers import S3
from tests.support.payments import write_model, write_pipeline
from tools.checks import model as model_checks
from tools.checks.files import read_files
from tools.checks.finding import Finding, State
from worker.delivery.publish import SizeLimits
from worker.pipeline import load_pipeline, make_stages
from worker.process import metrics
from worker.reload import Reloader

pytestmark = pytest.mark.usefixtures("verified_here")

ROOMY = SizeLimits(2**20, 2**20)
TIMEOUT_S = 0.5


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_pipeline(tmp_path_factory.mktemp("remote") / "pipeline", {})
    for seed, name in enumerate("abc"):
        path = folder.parent / name
        write_model(path, folder / "features.yaml", version=f"{seed}", seed=seed)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with S3(tmp_path_factory.mktemp("s3")) as started:
        started.make_bucket()
        yield started


@pytest.fixture
def proxy(server: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with FaultProxy(server.port) as proxy:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        yield proxy


@pytest.fixture
def where(proxy: FaultProxy, made: Path, tmp_path: Path) -> str:
    """A location with three bundles, of which ``a`` is the champion."""
    where = f"s3://models/{tmp_path.name}"
    location = open_location(where, cache=tmp_path / "promoter")
    for name in "abc":
        location.add(made.parent / name, name)
    location.promote("a")
    return where


@pytest.fixture
def location(where: str, tmp_path: Path) -> Location:
    return open_location(where, cache=tmp_path / "promoter")


@pytest.fixture
def folder(made: Path, where: str, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(made, tmp_path / "pipeline"))
    configure(folder, location=where, cache=str(tmp_path / "cache"))
    return folder


def configure(folder: Path, **settings: Any) -> None:
    model = {"device": "cpu", "location_timeout_s": TIMEOUT_S, **settings}
    edit(folder / "worker.yaml", lambda values: values.update(model=model))


def start(folder: Path, clock: Callable[[], float] = time.monotonic) -> Reloader:
    pipeline = load_pipeline(folder)
    stages = make_stages(pipeline, pipeline.decoder(), MemoryStore(), b"", lambda: ROOMY)
    return Reloader(
        pipeline.settings,
        pipeline.source,
        pipeline.feature_set,
        stages,
        pipeline.fingerprints,
        clock=clock,
    )


def served(worker: Reloader) -> str:
    return worker._stages.serving.model.bundle.version


def metric(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(f"fraud_worker_{name}", labels) or 0.0


def reload(worker: Reloader) -> list[Any]:
    with capture_logs() as logs:
        worker.reload_if_changed()
    return logs


def names(logs: list[Any]) -> list[str]:
    return [line["event"] for line in logs]


def findings_of(folder: Path) -> list[Finding]:
    files = read_files(folder)
    assert files.settings is not None, files.findings
    return model_checks.check_model(files.settings, files.feature_set)


def test_a_champion_takes_over_and_goes_back(folder: Path, location: Location) -> None:
    worker = start(folder)
    assert served(worker) == "0"
    assert reload(worker) == []
    location.promote("b")
    assert names(reload(worker)) == ["model_swapped"]
    assert served(worker) == "1"
    location.rollback()
    reload(worker)
    assert served(worker) == "0"
    assert metric("model_from_cache") == 0
    finding = findings_of(folder)[0]
    assert finding.state is State.OK
    assert finding.found.startswith(f"champion a of {location}, payments 0")


@pytest.mark.parametrize("fault", ["away", "silent"])
def test_a_server_that_is_away_leaves_the_model_serving(
    folder: Path, location: Location, proxy: FaultProxy, fault: Any
) -> None:
    worker = start(folder)
    location.promote("b")
    failures = metric("location_failures_total", state="away")
    proxy.fault = fault
    began = time.monotonic()
    logs = reload(worker)
    assert time.monotonic() - began < 10 * TIMEOUT_S
    assert names(logs) == ["location_away"]
    assert logs[0]["state"] == "away"
    assert str(location) in logs[0]["location"]
    assert names(reload(worker)) == []  # said once
    assert metric("location_failures_total", state="away") == failures + 2
    assert metric("refused", what="model") == 0
    assert metric("location_age_seconds") > 0
    assert served(worker) == "0"
    proxy.fault = "none"
    assert names(reload(worker)) == ["location_back", "model_swapped"]
    assert served(worker) == "1"
    assert metric("location_age_seconds") < 5


def test_a_server_that_goes_away_during_a_swap_is_asked_again(
    folder: Path, location: Location, proxy: FaultProxy
) -> None:
    worker = start(folder)
    location.promote("b")
    proxy.only, proxy.fault = b"model.ubj", "away"
    failures = metric("location_failures_total", state="away")
    began = time.monotonic()
    logs = reload(worker)
    assert names(logs) == ["location_away"]
    assert metric("location_failures_total", state="away") == failures + 1
    assert names(reload(worker)) == []  # said once
    # CHAMPION is readable, but what it names is not served: the age grows.
    away_s = time.monotonic() - began
    assert metric("location_age_seconds") > away_s
    assert metric("refused", what="model") == 0
    assert served(worker) == "0"
    proxy.fault = "none"
    assert names(reload(worker)) == ["location_back", "model_swapped"]
    assert served(worker) == "1"


def test_a_start_without_the_server_serves_the_champion_that_was_verified_last(
    folder: Path, location: Location, proxy: FaultProxy
) -> None:
    start(folder)
    location.promote("b")
    proxy.fault = "away"
    with capture_logs() as logs:
        worker = start(folder)
    assert names(logs) == ["location_away", "model_from_cache"]
    assert logs[1]["bundle"] == "a"
    assert served(worker) == "0"
    assert metric("model_from_cache") == 1
    finding = findings_of(folder)[0]
    assert finding.state is State.WARNING
    assert "the copy of its champion a, verified at 20" in finding.found
    proxy.fault = "none"
    assert names(reload(worker)) == ["location_back", "model_swapped"]
    assert served(worker) == "1"
    assert metric("model_from_cache") == 0


def test_a_start_that_could_not_copy_the_champion_takes_it_over_later(
    folder: Path, location: Location, proxy: FaultProxy
) -> None:
    start(folder)
    location.promote("b")
    proxy.only, proxy.fault = b"model.ubj", "away"
    worker = start(folder)
    assert served(worker) == "0"
    assert metric("model_from_cache") == 1
    proxy.fault = "none"
    assert "model_swapped" in names(reload(worker))
    assert served(worker) == "1"
    assert metric("model_from_cache") == 0


def test_a_start_without_the_server_and_without_a_copy_is_refused(
    folder: Path, proxy: FaultProxy
) -> None:
    proxy.fault = "away"
    with pytest.raises(DependencyUnavailableError, match="no usable answer"):
        load_pipeline(folder)
    assert findings_of(folder)[0].state is State.FAILED


def test_a_copy_that_is_damaged_is_not_started_with(
    folder: Path, proxy: FaultProxy, tmp_path: Path
) -> None:
    start(folder)
    (model,) = (tmp_path / "cache").glob("*/*/model.ubj")
    model.write_bytes(b"damaged")
    proxy.fault = "away"
    with pytest.raises(DependencyUnavailableError):
        load_pipeline(folder)


def test_half_a_bundle_is_refused_until_it_is_whole(
    folder: Path, location: Location, made: Path, where: str
) -> None:
    worker = start(folder)
    objects = Objects(where)
    for file in ("manifest.json", "model.ubj"):
        objects.upload(f"half/{file}", made.parent / "b" / file)
    with pytest.raises(BundleRefusedError, match=f"has no {SUMS_FILE}; its upload is not complete"):
        location.promote("half")
    objects.write("CHAMPION", b"half\na\n", objects.read("CHAMPION", 100))
    logs = reload(worker)
    assert names(logs) == ["refused"]
    assert f"half: has no {SUMS_FILE}" in logs[0]["reason"]
    assert metric("refused", what="model") == 1
    assert served(worker) == "0"
    assert findings_of(folder)[0].state is State.FAILED
    for path in (made.parent / "b").iterdir():
        objects.upload(f"half/{path.name}", path)
    assert names(reload(worker)) == ["model_swapped"]
    assert served(worker) == "1"
    assert metric("refused", what="model") == 0


def test_a_bundle_that_is_replaced_in_place_is_refused(
    folder: Path, location: Location, made: Path, where: str, tmp_path: Path
) -> None:
    worker = start(folder)
    other = tmp_path / "other"
    write_model(other, folder / "features.yaml", version="0", seed=7)
    objects = Objects(where)
    for path in other.iterdir():
        objects.upload(f"a/{path.name}", path)
    logs = reload(worker)
    assert names(logs) == ["refused"]
    assert f"{where}/a: the model payments 0 has served before with other" in logs[0]["reason"]
    assert served(worker) == "0"
    # Only some files: a start finds it, by the sums.
    objects.upload("a/model.ubj", made.parent / "c" / "model.ubj")
    configure(folder, location=where, cache=str(tmp_path / "empty"))
    with pytest.raises(BundleRefusedError, match=f"{where}/a/model.ubj: has the SHA-256"):
        load_pipeline(folder)


def test_a_missing_bucket_is_refused_with_its_name(folder: Path, tmp_path: Path) -> None:
    configure(folder, location="s3://nobody-made-it/models", cache=str(tmp_path / "cache"))
    with pytest.raises(StoreRefusedError, match="there is no bucket nobody-made-it; correct"):
        load_pipeline(folder)
    finding = findings_of(folder)[0]
    assert (finding.state, finding.remedy) == (State.FAILED, "correct its name, or create it")


def test_wrong_credentials_are_refused_and_the_model_serves_on(
    folder: Path, location: Location, server: S3
) -> None:
    worker = start(folder)
    reset = f"{server.endpoint}/moto-api/reset-auth"
    httpx2.post(reset, content=b"0").raise_for_status()  # from now on keys are checked
    try:
        logs = reload(worker)
        assert names(logs) == ["location_away"]
        assert logs[0]["state"] == "refused"
        assert "access is refused" in logs[0]["reason"]
        assert "AWS_ACCESS_KEY_ID" in logs[0]["reason"]
        assert "test-secret" not in str(logs)
        assert served(worker) == "0"
        configure(folder, location=str(location), cache=str(folder / "empty"))
        with pytest.raises(StoreRefusedError, match="access is refused"):
            load_pipeline(folder)
    finally:
        httpx2.post(reset, content=b"inf").raise_for_status()
    assert names(reload(worker)) == ["location_back"]


def test_the_sums_are_uploaded_last(
    where: str, location: Location, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploaded: list[str] = []
    upload = Objects.upload

    def noted(self: Objects, key: str, path: Path) -> None:
        uploaded.append(key)
        upload(self, key, path)

    monkeypatch.setattr(Objects, "upload", noted)
    location.add(made.parent / "b", "again")
    assert uploaded[-1] == f"again/{SUMS_FILE}"
    assert len(uploaded) == len(list((made.parent / "b").iterdir()))


def test_a_server_that_sends_byte_by_byte_is_slow(
    proxy: FaultProxy, location: Location, folder: Path
) -> None:
    worker = start(folder)
    location.promote("b")
    proxy.fault = "drips"
    began = time.monotonic()
    assert names(reload(worker)) == ["location_away"]
    assert time.monotonic() - began < 10 * TIMEOUT_S
