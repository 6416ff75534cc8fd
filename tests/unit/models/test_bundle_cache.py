"""Copies of bundles: which are kept, for processes that share their folder, and which are trusted."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest

from base.errors import ConfigurationError
from models.bundle.sums import SUMS_FILE, format_sums
from models.location.cache import KEPT, BundleCache

URL = "s3://models/m"


def keep(cache: BundleCache, name: str) -> Path:
    """Get the copy of a bundle with one file."""
    return cache.keep(sums_of(name), f"{URL}/{name}", lambda folder: fill(folder, name))


def sums_of(name: str) -> bytes:
    return format_sums({"file": name.encode()})


def fill(folder: Path, name: str) -> None:
    (folder / "file").write_bytes(name.encode())
    (folder / SUMS_FILE).write_bytes(sums_of(name))


def copies(cache: BundleCache) -> set[str]:
    digests = {path.parent.name for path in cache._folder.glob("[!.]*/file")}
    return {name for name in "abcdefgh" if sha256(sums_of(name)).hexdigest() in digests}


def use_in_turn(cache: BundleCache, names: str) -> None:
    for number, name in enumerate(names):
        os.utime(keep(cache, name), (number, number))


def test_the_copies_that_were_used_last_stay(tmp_path: Path) -> None:
    cache = BundleCache.open(tmp_path)
    (cache._folder / ".copy-left").mkdir()
    os.utime(cache._folder / ".copy-left", (0, 0))
    use_in_turn(cache, "abcdaef")
    assert KEPT == 4
    assert copies(cache) == set("daef")
    assert not (cache._folder / ".copy-left").exists()


def test_a_champion_that_a_start_may_need_stays(tmp_path: Path) -> None:
    cache = BundleCache.open(tmp_path)
    cache.remember(URL, "a", keep(cache, "a"))
    use_in_turn(cache, "abcdefgh")
    last = cache.last(URL)
    assert last is not None
    assert (last.name, (last.path / "file").read_bytes()) == ("a", b"a")
    cache.remember(URL, "h", keep(cache, "h"))
    keep(cache, "b")
    assert "a" not in copies(cache)


def test_a_whole_copy_of_another_process_is_not_replaced(tmp_path: Path) -> None:
    """Two workers that start at once copy the same champion: the first may be loading its copy."""
    cache = BundleCache.open(tmp_path)
    first: list[int] = []

    def fill_later(folder: Path) -> None:
        fill(folder, "a")
        first.append((keep(BundleCache.open(tmp_path), "a") / "file").stat().st_ino)

    path = cache.keep(sums_of("a"), f"{URL}/a", fill_later)
    assert (path / "file").stat().st_ino == first[0]
    assert not list(cache._folder.glob(".copy-*"))


def test_a_damaged_copy_is_made_again(tmp_path: Path) -> None:
    cache = BundleCache.open(tmp_path)
    (keep(cache, "a") / "file").write_bytes(b"damaged")
    assert (keep(cache, "a") / "file").read_bytes() == b"a"


def test_a_folder_that_all_may_write_to_holds_one_of_this_user(tmp_path: Path) -> None:
    """The root of an emptyDir has the mode 0777."""
    tmp_path.chmod(0o777)
    keep(BundleCache.open(tmp_path), "a")
    (own,) = tmp_path.iterdir()
    assert own.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("made", ["writable", "sticky", "link", "foreign"])
def test_a_folder_that_another_user_may_have_made_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str
) -> None:
    own = BundleCache.open(tmp_path)._folder
    if made == "link":
        own.rename(tmp_path / "elsewhere")
        own.symlink_to(tmp_path / "elsewhere")
    elif made == "foreign":
        user = os.geteuid()
        own.rename(own.with_name(own.name.replace(str(user), str(user + 1))))
        monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    else:
        own.chmod(0o777 if made == "writable" else 0o1777)
    with pytest.raises(ConfigurationError, match="belongs to another user, is a link, or others"):
        BundleCache.open(tmp_path)
