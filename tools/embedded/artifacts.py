"""Fixed lists of files in Maven repositories, with SHA-256 sums, downloaded once into the cache.

A list holds one file a line: its sum, its size in bytes, and ``group:artifact:version``, followed
by ``:packaging:classifier`` where it is not a plain jar.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from base.errors import ConfigurationError, DependencyUnavailableError
from base.user_folders import cache_dir, locked
from tools.progress import fetching

_STAMP = "verified.json"
# One file at a time leaves the connection idle between files; more than a few are no faster.
_PARALLEL = 4
_ANSWER_S = 30

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of a list; ``size`` in bytes, ``sha256`` as hex."""

    sha256: str
    size: int
    group: str
    name: str
    version: str
    packaging: str = "jar"
    classifier: str = ""

    @property
    def filename(self) -> str:
        """Name of the file in Maven repositories."""
        suffix = f"-{self.classifier}" if self.classifier else ""
        return f"{self.name}-{self.version}{suffix}.{self.packaging}"


def read_list(path: Path) -> list[Artifact]:
    """Read the files that the list ``path`` names."""
    lines = [line.split() for line in path.read_text().splitlines()]
    return [Artifact(sha256, int(size), *names.split(":")) for sha256, size, names in lines]


def fetched(manifest: Path, title: str) -> Path:
    """Cached folder with exactly the files of the list ``manifest``, each with its sum.

    Absent files are downloaded, with a progress display that names ``title``. A file whose size and
    modification time have not changed since its sum was checked is not read again.

    Raises:
        ConfigurationError: A file has another sum than the list says; or files are absent and the
            extra ``embedded`` is not installed.
        DependencyUnavailableError: The repository does not answer.
    """
    artifacts = read_list(manifest)
    folder = cache_dir() / manifest.stem
    with locked(folder.with_name(f"{folder.name}.lock")):
        folder.mkdir(exist_ok=True)
        if _stamp_of(folder, artifacts) == _read_stamp(folder):
            return folder
        absent = [one for one in artifacts if not (folder / one.filename).exists()]
        if absent:
            _fetch(absent, folder, title)
        for artifact in artifacts:
            _check(artifact, folder / artifact.filename)
        (folder / _STAMP).write_text(json.dumps(_stamp_of(folder, artifacts)))
    return folder


def _stamp_of(folder: Path, artifacts: Sequence[Artifact]) -> dict[str, list[str | int]] | None:
    """Sizes, modification times and expected sums of the files; None when some are absent.

    An equal stamp shows, without reading the files, that they are the ones that were checked.
    """
    stamp: dict[str, list[str | int]] = {}
    for artifact in artifacts:
        try:
            stat = (folder / artifact.filename).stat()
        except FileNotFoundError:
            return None
        stamp[artifact.filename] = [artifact.sha256, stat.st_size, stat.st_mtime_ns]
    return stamp


def _read_stamp(folder: Path) -> object:
    try:
        return json.loads((folder / _STAMP).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return False


def _check(artifact: Artifact, path: Path) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != artifact.sha256:
        raise ConfigurationError(
            f"{path}: its SHA-256 is {digest}, {artifact.sha256} is expected; delete the file and "
            "try again. If the sum stays wrong, the repository serves another file: do not use it"
        )


def _fetch(artifacts: Sequence[Artifact], folder: Path, title: str) -> None:
    total = sum(artifact.size for artifact in artifacts)
    # Next to the folder: a rename within one file system leaves no half-written file behind.
    with (
        fetching(f"{title} once ({len(artifacts)} file(s)) into {folder}", total) as advance,
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.") as scratch,
        ThreadPoolExecutor(_PARALLEL) as pool,
    ):
        download = _downloader(Path(scratch), advance)

        def one(artifact: Artifact) -> None:
            part = download(artifact)
            _check(artifact, part)
            part.replace(folder / artifact.filename)

        for done in [pool.submit(one, artifact) for artifact in artifacts]:
            done.result()


def _reporting(advance: Advance) -> Callable[[str, int], AbstractContextManager[Advance]]:
    """Wrap ``advance`` in the form of jgo's progress callbacks."""
    return lambda _filename, _size: nullcontext(advance)


def _downloader(scratch: Path, advance: Advance) -> Callable[[Artifact], Path]:
    """Make a function that downloads one artifact into ``scratch``; jgo knows the repositories."""
    try:
        import requests  # noqa: PLC0415 - jgo's; absent without the extra
        from jgo.constants import default_maven_repo  # noqa: PLC0415 - likewise
        from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise ConfigurationError(
            f"embedded servers: the package {error.name} is not installed; "
            "run pip install 'fraud-worker[embedded]'"
        ) from None
    context = MavenContext(
        resolver=PythonResolver(progress_callback=_reporting(advance)),
        repo_cache=scratch,
        local_repos=[default_maven_repo()],
        timeout=_ANSWER_S,
    )

    def download(artifact: Artifact) -> Path:
        component = context.project(artifact.group, artifact.name).at_version(artifact.version)
        try:
            resolved = component.artifact(artifact.classifier, artifact.packaging).resolve()
        except (requests.RequestException, RuntimeError) as error:
            raise DependencyUnavailableError(
                f"{artifact.filename} could not be fetched: {error}; try again when the Maven "
                "repository answers, or put the file into the local Maven repository"
            ) from error
        return Path(shutil.copyfile(resolved, scratch / artifact.filename))

    return download
