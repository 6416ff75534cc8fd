"""One suite for all kinds of locations: a folder, S3, Azure and MLflow, on servers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import boto3
import numpy as np
import pytest

from base.errors import BundleRefusedError
from base.object_store import Objects, StoredObject
from models.bundle import FeatureRef, write_bundle
from models.bundle.sums import SUMS_FILE
from models.location import Location, champion, former_champion, open_location
from models.training.fit import fit
from tests.support.object_servers import KINDS, Place, open_place

CONDITIONAL = ("folder", "s3", "azure")
"""Kinds whose champion is changed by one conditional write, or under a lock."""


SLOW_S = 60.0
"""Longest wait for a server of this machine, which may be busy: that is no fault of a location."""


class Named(Protocol):
    """Adds the bundle with this seed, and returns its name in the location."""

    def __call__(self, seed: int) -> str: ...


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("bundles")
    draw = np.random.default_rng(1)
    made = []
    for seed in range(3):
        matrix = draw.normal(size=(60, 2)).astype(np.float32)
        booster = fit(matrix, (matrix[:, 0] > 0).astype(np.int64), threads=1, rounds=2, seed=seed)
        features = [FeatureRef(name=name, fingerprint="0" * 64) for name in ("A", "B")]
        path = folder / f"m{seed}"
        made.append(write_bundle(path, booster, name="m", version=f"{seed}", features=features))
    return made


@pytest.fixture(scope="module", params=KINDS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Place]]:
    with open_place(request.param, tmp_path_factory.mktemp(request.param)) as make:
        yield make


@pytest.fixture
def place(server: Callable[[], Place], monkeypatch: pytest.MonkeyPatch) -> Place:
    made = server()
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def location(place: Place, tmp_path: Path) -> Location:
    return open_location(place.where, cache=tmp_path / "cache", timeout_s=SLOW_S)


@pytest.fixture
def add(location: Location, bundles: list[Path]) -> Named:
    return lambda seed: location.add(bundles[seed], f"m{seed}")


def test_a_promoted_bundle_is_the_champion(location: Location, add: Named) -> None:
    names = [add(seed) for seed in range(2)]
    with pytest.raises(BundleRefusedError, match="has no champion; name one with"):
        champion(location)
    assert location.champions() == (None, ())
    assert location.stamp() is None
    assert location.promote(names[0]) is None
    assert location.promote(names[1]) == names[0]
    assert location.promote(names[1]) == names[1]
    assert location.champions() == (names[1], (names[0],))
    assert location.names() == sorted(names)


def test_rollback_goes_back_one_champion_after_the_other(location: Location, add: Named) -> None:
    a, b, c = (add(seed) for seed in range(3))
    for name in (a, b, c, a):
        location.promote(name)
    assert former_champion(location) == c
    with pytest.raises(BundleRefusedError, match=f"the former champion is {c}, not {b}"):
        location.rollback(b)
    assert [location.rollback(c)] + [location.rollback() for _ in range(2)] == [
        (c, a),
        (b, c),
        (a, b),
    ]
    with pytest.raises(BundleRefusedError, match=f"has no champion before {a}"):
        location.rollback()
    assert location.champions() == (a, ())


def test_a_stamp_changes_with_the_champion_alone(
    place: Place, location: Location, add: Named, tmp_path: Path
) -> None:
    a, b = add(0), add(1)
    location.promote(a)
    stamp = location.stamp()
    add(2)
    assert location.stamp() == stamp
    open_location(place.where, cache=tmp_path / "other").promote(b)
    assert location.stamp() != stamp
    location.rollback()
    assert location.stamp() == stamp


def test_a_bundle_is_whole_in_a_local_folder(
    location: Location, add: Named, bundles: list[Path]
) -> None:
    name = add(1)
    path = location.bundle(name)
    assert contents(path) == contents(bundles[1])
    manifest, sums = location.manifest(name)
    assert (manifest.name, manifest.version) == ("m", "1")
    assert sums == (bundles[1] / SUMS_FILE).read_bytes()
    # A copy that was damaged on this disk is made again; a bundle of a folder is its own.
    if location.where(name) != str(path):
        (path / "model.ubj").write_bytes(b"damaged")
        assert contents(location.bundle(name)) == contents(bundles[1])


def test_a_bundle_that_is_not_there_is_refused(location: Location, add: Named) -> None:
    name = add(0)
    for refused in (location.promote, location.bundle, location.manifest):
        with pytest.raises(BundleRefusedError, match=f"there is no .* 77; there are: {name}"):
            refused("77")
    assert location.champions() == (None, ())


def test_of_promotions_at_once_none_is_lost_without_a_word(
    place: Place, location: Location, add: Named, tmp_path: Path
) -> None:
    names = [add(seed) for seed in range(3)]
    gate = threading.Barrier(len(names))
    told: dict[str, str] = {}

    def promote(name: str) -> None:
        own = open_location(place.where, cache=tmp_path / f"cache-{name}", timeout_s=SLOW_S)
        gate.wait()
        try:
            own.promote(name)
            told[name] = "promoted"
        except Exception as error:  # noqa: BLE001 - the assertions below show it
            told[name] = f"{type(error).__name__}: {error}"

    threads = [threading.Thread(target=promote, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last, former = location.champions()
    taken = sorted(name for name, words in told.items() if words == "promoted")
    if place.kind in CONDITIONAL:
        # Who was not told that it failed is the champion, or was.
        assert sorted([*former, str(last)]) == taken, told
        assert all("meanwhile" in words for words in told.values() if words != "promoted"), told
    assert last in taken, told


# A version of MLflow is registered when its artifacts are complete.
@pytest.mark.parametrize("server", [kind for kind in KINDS if kind != "mlflow"], indirect=True)
def test_a_bundle_without_its_sums_is_no_bundle_yet(
    place: Place, location: Location, bundles: list[Path]
) -> None:
    assert place.put is not None
    for file in bundles[0].iterdir():
        if file.name != SUMS_FILE:
            place.put(f"half/{file.name}", file.read_bytes())
    with pytest.raises(BundleRefusedError, match=SUMS_FILE):
        location.promote("half")
    place.put(f"half/{SUMS_FILE}", (bundles[0] / SUMS_FILE).read_bytes())
    location.promote("half")
    assert contents(location.bundle("half")) == contents(bundles[0])


# The loading of a bundle in a folder checks its sums.
@pytest.mark.parametrize("server", ["s3", "azure"], indirect=True)
def test_a_bundle_with_a_changed_or_an_added_file_is_refused(
    place: Place, location: Location, add: Named
) -> None:
    assert place.put is not None
    name = add(0)
    place.put(f"{name}/model.ubj", b"another")
    with pytest.raises(BundleRefusedError, match=r"model\.ubj: has the SHA-256") as caught:
        location.bundle(name)
    # The message names the bundle as the user knows it, not a copy of it.
    assert str(caught.value).startswith(f"{place.where}/{name}/model.ubj")
    place.put(f"{name}/more", b"more")
    with pytest.raises(BundleRefusedError, match=r"more not named in SHA256SUMS"):
        location.bundle(name)


# Pages of providers mark a folder with an object, which has the key of the folder itself.
@pytest.mark.parametrize("server", ["s3"], indirect=True)
def test_the_mark_of_a_folder_is_no_file_of_its_bundle(
    place: Place, location: Location, add: Named, bundles: list[Path]
) -> None:
    name = add(0)
    bucket, _, prefix = str(place.where).removeprefix("s3://").partition("/")
    client = boto3.client(
        "s3",
        endpoint_url=place.environment["AWS_ENDPOINT_URL"],
        region_name=place.environment["AWS_REGION"],
        aws_access_key_id=place.environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=place.environment["AWS_SECRET_ACCESS_KEY"],
    )
    for key in (f"{prefix}/", f"{prefix}/{name}/"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    assert contents(location.bundle(name)) == contents(bundles[0])
    assert location.names() == [name]


@pytest.mark.parametrize("server", ["s3", "azure"], indirect=True)
def test_of_two_promotions_the_later_is_told_of_the_earlier(
    place: Place, location: Location, bundles: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the earlier one has written a longer text than the later one would."""
    for seed, name in enumerate(("a", "a-longer-name")):
        location.add(bundles[seed], name)
    write = Objects.write

    def write_second(
        self: Objects, key: str, content: bytes, expected: StoredObject | None
    ) -> None:
        write(self, key, b"a-longer-name\n", expected)
        write(self, key, content, expected)

    monkeypatch.setattr(Objects, "write", write_second)
    with pytest.raises(BundleRefusedError, match="another bundle was promoted or rolled back mean"):
        location.promote("a")
    assert location.champions() == ("a-longer-name", ())


@pytest.mark.parametrize("server", ["s3"], indirect=True)
@pytest.mark.parametrize("file", ["CHAMPION", SUMS_FILE, "manifest.json"])
def test_a_large_object_in_place_of_a_small_one_is_refused(
    place: Place, location: Location, add: Named, file: str
) -> None:
    assert place.put is not None
    name = add(0)
    location.promote(name)
    place.put(file if file == "CHAMPION" else f"{name}/{file}", bytes(20_000_000))
    with pytest.raises(BundleRefusedError, match=f"{file}: has 20,000,000 bytes, at most"):
        location.manifest(champion(location))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
