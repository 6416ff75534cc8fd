"""A location has one champion at every moment, remembers those before, and names nothing else."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from base.errors import BundleRefusedError
from models.location import FolderLocation, champion, champions, folder, former_champion


@pytest.fixture
def place(tmp_path: Path) -> FolderLocation:
    """A location with three bundles; whether they hold is not its business."""
    for name in ("a", "b", "c"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "SHA256SUMS").write_text("")
    return FolderLocation(tmp_path / "models")


def test_a_promoted_bundle_is_the_champion(place: FolderLocation) -> None:
    with pytest.raises(BundleRefusedError, match="has no champion; name one with"):
        place.bundle(champion(place))
    assert place.champions().champion is None
    assert place.promote("a") is None
    assert place.bundle(champion(place)) == place.folder / "a"
    assert (place.folder / "CHAMPION").read_bytes() == b"a\n"
    assert place.promote("b") == "a"
    assert place.champions().champion == "b"
    assert place.champions().former == ("a",)


def test_rollback_goes_back_one_champion_after_the_other(place: FolderLocation) -> None:
    for name in ("a", "b", "c", "a"):
        place.promote(name)
    assert [place.rollback() for _ in range(3)] == [("c", "a"), ("b", "c"), ("a", "b")]
    with pytest.raises(BundleRefusedError, match="has no champion before a; name one"):
        place.rollback()
    assert place.champions().champion == "a"
    with pytest.raises(BundleRefusedError, match="has no champion before the first"):
        FolderLocation(place.folder.parent).rollback()


def test_a_rollback_to_another_than_was_looked_at_is_none(place: FolderLocation) -> None:
    for name in ("a", "b"):
        place.promote(name)
    looked_at = former_champion(place)
    assert looked_at == "a"
    place.promote("c")
    with pytest.raises(BundleRefusedError, match="meanwhile, and the former champion is b, not a"):
        place.rollback(looked_at)
    assert place.champions().champion == "c"
    assert place.rollback("b") == ("b", "c")


def test_promoting_the_champion_again_changes_nothing(place: FolderLocation) -> None:
    for name in ("a", "b", "b"):
        place.promote(name)
    assert place.rollback() == ("a", "b")


def test_after_a_crash_between_the_two_files_rollback_still_goes_back(
    place: FolderLocation,
) -> None:
    for name in ("a", "b"):
        place.promote(name)
    # promote(c) had noted b as the champion before, and came no further
    (place.folder / "PREVIOUS").write_text("a\nb\n")
    assert place.rollback() == ("a", "b")
    # rollback had named a the champion, and came no further
    (place.folder / "PREVIOUS").write_text("a\n")
    with pytest.raises(BundleRefusedError, match="has no champion before a"):
        place.rollback()


def test_a_champion_before_that_is_gone_is_not_gone_back_to(place: FolderLocation) -> None:
    for name in ("a", "b"):
        place.promote(name)
    shutil.rmtree(place.folder / "a")
    with pytest.raises(BundleRefusedError, match="there is no bundle a; there are: b, c"):
        place.rollback()
    assert place.champions().champion == "b"
    assert place.champions().former == ("a",)


def test_a_location_remembers_a_bounded_number_of_champions(
    place: FolderLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(champions, "_REMEMBERED", 3)
    for name in "abcabc":
        place.promote(name)
    assert place.champions().former == ("c", "a", "b")


@pytest.mark.parametrize(
    "name",
    ["../a", "a/../b", "/a", "a/", ".", "..", "", ".hidden", "a\n", "a b", "ä", "x" * 201, "a\0"],
)
def test_a_name_that_is_a_path_is_refused(place: FolderLocation, name: str) -> None:
    with pytest.raises(BundleRefusedError, match="is not the name of a bundle"):
        place.promote(name)
    assert not (place.folder / "CHAMPION").exists()


def link(folder: Path) -> None:
    folder.symlink_to("a", target_is_directory=True)


def empty_folder(folder: Path) -> None:
    folder.mkdir()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _: None, "there is no bundle x; there are: a, b, c"),
        (link, "x: is a link; copy a whole bundle there"),
        (Path.touch, "x: is not a folder with a SHA256SUMS"),
        (empty_folder, "x: is not a folder with a SHA256SUMS"),
    ],
)
def test_a_folder_that_is_no_bundle_is_not_promoted(
    place: FolderLocation, make: Callable[[Path], None], said: str
) -> None:
    place.promote("a")
    make(place.folder / "x")
    with pytest.raises(BundleRefusedError, match=said):
        place.promote("x")
    assert place.champions().champion == "a"
    assert place.champions().former == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "CHAMPION: holds 0 lines"),
        (b"a\nb\n", "CHAMPION: holds 2 lines"),
        (b"a", "last line is cut off"),
        (b"../a\n", "'../a' is not the name of a bundle"),
        (b"\xff\n", "is not the name of a bundle"),
        (b"a\r\n\n", "is not the name of a bundle"),
        (b"gone\n", "there is no bundle gone"),
    ],
)
def test_a_champion_that_names_no_bundle_is_refused(
    place: FolderLocation, content: bytes, said: str
) -> None:
    (place.folder / "CHAMPION").write_bytes(content)
    with pytest.raises(BundleRefusedError, match=said):
        place.bundle(champion(place))


def test_a_champion_file_that_is_a_link_or_a_pipe_is_refused(place: FolderLocation) -> None:
    (place.folder / "other").write_text("a\n")
    (place.folder / "CHAMPION").symlink_to("other")
    with pytest.raises(BundleRefusedError, match="CHAMPION: cannot be read"):
        place.bundle(champion(place))
    (place.folder / "CHAMPION").unlink()
    os.mkfifo(place.folder / "CHAMPION")
    with pytest.raises(BundleRefusedError, match="CHAMPION: is not a plain file"):
        place.bundle(champion(place))


def test_a_lock_that_is_a_link_or_a_pipe_is_neither_followed_nor_waited_for(
    place: FolderLocation, tmp_path: Path
) -> None:
    kept, lock = tmp_path / "kept", place.folder / folder.LOCK_FILE
    kept.write_text("kept")
    lock.symlink_to(kept)
    with pytest.raises(BundleRefusedError, match=r"promote\.lock: cannot be written"):
        place.promote("a")
    assert kept.read_text() == "kept"
    lock.unlink()
    os.mkfifo(lock)
    with pytest.raises(BundleRefusedError, match=r"promote\.lock: cannot be written"):
        place.promote("a")


def test_a_location_that_is_not_there_is_refused(tmp_path: Path) -> None:
    place = FolderLocation(tmp_path / "nowhere")
    with pytest.raises(BundleRefusedError, match="cannot be read as a location of bundles"):
        place.promote("a")
    with pytest.raises(BundleRefusedError, match="has no champion"):
        place.bundle(champion(place))


def test_promoters_at_once_leave_one_champion_and_forget_none(place: FolderLocation) -> None:
    names = [f"m{i}" for i in range(12)]
    for name in names:
        shutil.copytree(place.folder / "a", place.folder / name)
    gate = threading.Barrier(len(names) + 1)
    done = threading.Event()
    torn: list[Exception] = []

    def promote(name: str) -> None:
        gate.wait()
        FolderLocation(place.folder).promote(name)

    def read() -> None:
        gate.wait()
        while not done.is_set():
            try:
                place.bundle(champion(place))
            except BundleRefusedError as error:
                torn.append(error)

    place.promote("a")
    threads = [threading.Thread(target=promote, args=(name,)) for name in names]
    reader = threading.Thread(target=read)
    for thread in (*threads, reader):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    reader.join()
    assert torn == []
    last = place.champions().champion
    assert sorted([*place.champions().former, str(last)]) == sorted(["a", *names])
    assert {p.name for p in place.folder.iterdir() if p.name.startswith(".")} == {".promote.lock"}


def test_a_lock_that_is_held_is_not_waited_for_for_ever(
    place: FolderLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "_LOCK_S", 0.05)
    with (
        place._locked(),
        pytest.raises(BundleRefusedError, match=r"another process has held the lock for 0\.05 s"),
    ):
        FolderLocation(place.folder).promote("a")
    assert place.promote("a") is None


def test_a_write_that_fails_leaves_the_champion(
    place: FolderLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.promote("a")

    def fails(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(BundleRefusedError, match=r"cannot be written \(No space left"):
        place.promote("b")
    assert place.champions().champion == "a"
    assert sorted(p.name for p in place.folder.iterdir()) == [
        ".promote.lock",
        "CHAMPION",
        "a",
        "b",
        "c",
    ]


def test_commands_in_messages_take_any_folder(place: FolderLocation) -> None:
    place = FolderLocation(place.folder.rename(place.folder.parent / "all models"))
    said = f"`fraud-worker model promote '{place.folder}' NAME`"
    with pytest.raises(BundleRefusedError) as caught:
        champion(place)
    assert said in str(caught.value)
    with pytest.raises(BundleRefusedError) as caught:
        former_champion(place)
    assert said in str(caught.value)
    for name in ("a", "b", "c"):
        place.promote(name)
    with pytest.raises(BundleRefusedError) as caught:
        place.rollback("a")
    assert f"`fraud-worker model show '{place.folder}'`" in str(caught.value)
