"""Location in an object store: bundles below a prefix, and one object with all names of champions.

`CHAMPION` has the champion's name on its first line and the former champions below it, the latest
first, so that one conditional write changes both. A file `CHAMPION` of a folder is valid here, too.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from hashlib import sha256
from pathlib import Path
from shlex import quote

from base.errors import (
    BundleRefusedError,
    ConfigurationError,
    ObjectChangedError,
    StoreRefusedError,
)
from base.object_store import BUCKETS, Objects, StoredObject
from models.bundle.load import MAX_MANIFEST_BYTES
from models.bundle.manifest import MANIFEST_FILE, Manifest, parse_manifest
from models.bundle.sums import MAX_FILES, MAX_SUMS_BYTES, SUMS_FILE, check_size, parse_sums
from models.location.cache import BundleCache
from models.location.champions import (
    CHAMPION_FILE,
    MAX_BYTES,
    Champions,
    format_names,
    is_name,
    parse_names,
    require_name,
)


class BucketLocation:
    """A location of bundles, below a URL; see `models.location.Location`.

    Args:
        url: URL of the prefix.
        cache: Copies of the bundles.
        timeout_s: Longest wait for an answer, in seconds.
    """

    def __init__(self, url: str, cache: BundleCache, timeout_s: float) -> None:
        if not url.startswith(tuple(f"{scheme}://" for scheme in BUCKETS)):
            raise ConfigurationError(
                f"{url}: is no location of bundles; name a folder, "
                f"{', '.join(f'{scheme}://BUCKET/PREFIX' for scheme in BUCKETS)} or mlflow:NAME"
            )
        self._objects = Objects(url, timeout_s=timeout_s)
        # A look is repeated soon anyway.
        self._polled = Objects(url, timeout_s=timeout_s, retries=0, answer_s=timeout_s)
        self.cache = cache
        self._champion: StoredObject | None = None
        self._sums: tuple[str, StoredObject | None] = ("", None)

    def __str__(self) -> str:
        return self._objects.url

    def stamp(self) -> Hashable:
        self._champion = _read_small(self._polled, CHAMPION_FILE, MAX_BYTES, self._champion)
        name = self._parsed(self._champion).champion
        if name is None:
            return None
        known = self._sums[1] if self._sums[0] == name else None
        sums = _read_small(self._polled, f"{name}/{SUMS_FILE}", MAX_SUMS_BYTES, known)
        self._sums = (name, sums)
        return (name, None if sums is None else sums.content)

    def champions(self) -> Champions:
        return self._parsed(self._read())

    def names(self) -> list[str]:
        return [name for name in self._objects.folders() if is_name(name)]

    def where(self, name: str) -> str:
        return self._objects.at(name)

    def bundle(self, name: str) -> Path:
        require_name(name, str(self))
        sums = _read_small(self._objects, f"{name}/{SUMS_FILE}", MAX_SUMS_BYTES)
        if sums is None:
            raise BundleRefusedError(self._why_none(name))
        return self.cache.keep(sums.content, self.where(name), partial(self._fill, name))

    def manifest(self, name: str) -> tuple[Manifest, bytes]:
        require_name(name, str(self))
        sums = _read_small(self._objects, f"{name}/{SUMS_FILE}", MAX_SUMS_BYTES)
        if sums is None:
            raise BundleRefusedError(self._why_none(name))
        text = _read_small(self._objects, f"{name}/{MANIFEST_FILE}", MAX_MANIFEST_BYTES)
        content = None if text is None else text.content
        return checked_manifest(sums.content, content, self.where(name)), sums.content

    def add(self, bundle: Path, name: str) -> str:
        require_name(name, str(self))
        if self._objects.sizes(name, 1):
            raise BundleRefusedError(
                f"{self.where(name)}: exists already; bundles never change: give another name"
            )
        # The sums come last: without them it is no bundle yet.
        for path in sorted(bundle.iterdir(), key=lambda path: path.name == SUMS_FILE):
            self._objects.upload(f"{name}/{path.name}", path)
        return name

    def promote(self, name: str) -> str | None:
        require_name(name, str(self))
        if _read_small(self._objects, f"{name}/{SUMS_FILE}", MAX_SUMS_BYTES) is None:
            raise BundleRefusedError(self._why_none(name))
        stored = self._read()
        now = self._parsed(stored)
        then = now.promoted(name)
        if then is not now:
            self._write(then, stored)
        return now.champion

    def rollback(self, to: str | None = None) -> tuple[str, str]:
        stored = self._read()
        now = self._parsed(stored)
        then = now.rolled_back(str(self), to)
        self._write(then, stored)
        return str(then.champion), str(now.champion)

    def _read(self) -> StoredObject | None:
        return _read_small(self._objects, CHAMPION_FILE, MAX_BYTES)

    def _write(self, champions: Champions, expected: StoredObject | None) -> None:
        names = (str(champions.champion), *reversed(champions.former))
        try:
            self._objects.write(CHAMPION_FILE, format_names(names), expected)
        except ObjectChangedError as error:
            raise BundleRefusedError(
                f"{self}: another bundle was promoted or rolled back meanwhile, so nothing was "
                f"changed; see `fraud-worker model show {quote(str(self))}`"
            ) from error

    def _parsed(self, stored: StoredObject | None) -> Champions:
        if stored is None:
            return Champions()
        where = self.where(CHAMPION_FILE)
        names = parse_names(stored.content, where)
        if not names:
            raise BundleRefusedError(f"{where}: is empty; it must hold the name of a bundle")
        return Champions(names[0], names[:0:-1])

    def _fill(self, name: str, folder: Path) -> None:
        """Copy the files of a bundle into a folder."""
        sizes = self._objects.sizes(name, MAX_FILES + 1)
        if len(sizes) > MAX_FILES:
            raise BundleRefusedError(
                f"{folder}: holds more than {MAX_FILES} files; it is not a model bundle"
            )
        check_size(sizes, folder)
        for file in sizes:
            if "/" in file:
                raise BundleRefusedError(f"{folder}: holds {file}; a bundle holds plain files only")
            with (folder / file).open("wb") as copied:
                try:
                    copied.writelines(self._objects.chunks(f"{name}/{file}"))
                except FileNotFoundError as error:
                    raise BundleRefusedError(
                        f"{folder}: {file} was removed while it was copied; upload the bundle again"
                    ) from error

    def _why_none(self, name: str) -> str:
        """Message for a bundle without sums."""
        if self._objects.sizes(name, 1):
            return (
                f"{self.where(name)}: has no {SUMS_FILE}; its upload is not complete, or it is no "
                "bundle: upload it again, the sums last"
            )
        known = ", ".join(self.names()) or "none"
        return f"{self}: there is no bundle {name}; there are: {known}"


def _read_small(
    objects: Objects, key: str, bound: int, last: StoredObject | None = None
) -> StoredObject | None:
    """Read a small object as `Objects.read` does. Raises BundleRefusedError if it is too large."""
    try:
        return objects.read(key, bound, last)
    except StoreRefusedError:
        raise
    except ConfigurationError as error:
        raise BundleRefusedError(str(error)) from error


def checked_manifest(sums: bytes, text: bytes | None, where: str) -> Manifest:
    """Parse the manifest of a bundle that is not copied.

    Args:
        sums: Content of its SHA256SUMS.
        text: Content of its manifest; None if there is none.
        where: URL of the bundle, for messages.

    Raises:
        BundleRefusedError: if there is no manifest, or it is not the one of the sums.
    """
    expected = parse_sums(sums, f"{where}/{SUMS_FILE}").get(MANIFEST_FILE)
    if text is None or sha256(text).hexdigest() != expected:
        state = "has no" if text is None else "has another"
        raise BundleRefusedError(
            f"{where}: {state} {MANIFEST_FILE} than {SUMS_FILE} says; upload the bundle again"
        )
    return parse_manifest(text, f"{where}/{MANIFEST_FILE}")
