from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from base.errors import ConfigurationError, DependencyUnavailableError
from tests.support import registry_server
from tools.embedded import artifacts
from tools.embedded.artifacts import Artifact, fetched, read_list

CONTENT = {"one-1.0.jar": b"first", "two-2.0-all.tar.gz": b"second"}


class Repository:
    """Serves CONTENT in place of the Maven repository, and counts."""

    def __init__(self) -> None:
        self.served = dict(CONTENT)
        self.asked: list[str] = []

    def downloader(
        self, scratch: Path, advance: Callable[[int], None]
    ) -> Callable[[Artifact], Path]:
        def download(artifact: Artifact) -> Path:
            self.asked.append(artifact.filename)
            path = scratch / artifact.filename
            path.write_bytes(self.served[artifact.filename])
            return path

        return download


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Repository:
    served = Repository()
    monkeypatch.setattr(artifacts, "_downloader", served.downloader)
    monkeypatch.setenv("FRAUD_WORKER_CACHE", str(tmp_path / "cache"))
    return served


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    names = ("group:one:1.0", "group:two:2.0:tar.gz:all")
    path = tmp_path / "server-1.0.sha256"
    path.write_text(
        "".join(
            f"{hashlib.sha256(content).hexdigest()} {len(content)} {name}\n"
            for content, name in zip(CONTENT.values(), names, strict=True)
        )
    )
    return path


def test_the_file_names_are_those_of_maven(manifest: Path) -> None:
    assert [artifact.filename for artifact in read_list(manifest)] == list(CONTENT)


@pytest.mark.parametrize("beside", [artifacts.__file__, registry_server.__file__])
def test_the_lists_are_well_formed(beside: str) -> None:
    (path,) = Path(beside).parent.glob("*.sha256")
    files = read_list(path)
    assert all(len(bytes.fromhex(file.sha256)) == 32 and file.size > 0 for file in files)
    assert len({file.filename for file in files}) == len(files)


def test_files_are_fetched_once(repository: Repository, manifest: Path, tmp_path: Path) -> None:
    folder = fetched(manifest, "a server")
    assert folder == tmp_path / "cache" / "server-1.0"
    assert {name: (folder / name).read_bytes() for name in CONTENT} == CONTENT
    assert fetched(manifest, "a server") == folder
    assert sorted(repository.asked) == sorted(CONTENT)


def test_concurrent_fetches_download_once(repository: Repository, manifest: Path) -> None:
    threads = [threading.Thread(target=fetched, args=(manifest, "a server")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(repository.asked) == sorted(CONTENT)


def test_a_file_with_another_sum_is_refused_and_not_kept(
    repository: Repository, manifest: Path, tmp_path: Path
) -> None:
    repository.served["one-1.0.jar"] = b"forged"
    with pytest.raises(ConfigurationError, match=r"one-1\.0\.jar: its SHA-256 is"):
        fetched(manifest, "a server")
    assert not (tmp_path / "cache" / "server-1.0" / "one-1.0.jar").exists()
    repository.served["one-1.0.jar"] = CONTENT["one-1.0.jar"]
    fetched(manifest, "a server")


def test_a_cached_file_that_changes_is_refused(repository: Repository, manifest: Path) -> None:
    path = fetched(manifest, "a server") / "one-1.0.jar"
    path.write_bytes(b"forge")  # as many bytes as before
    with pytest.raises(ConfigurationError) as caught:
        fetched(manifest, "a server")
    assert str(path) in str(caught.value)
    path.unlink()
    fetched(manifest, "a server")
    assert repository.asked.count("one-1.0.jar") == 2


def test_an_unchanged_file_is_not_read_again(
    repository: Repository, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched(manifest, "a server")
    monkeypatch.setattr(artifacts, "_check", lambda *_: pytest.fail("read again"))
    fetched(manifest, "a server")


def test_a_pipe_gets_one_line(
    repository: Repository, manifest: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fetched(manifest, "a server")
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "a server once (2 file(s))" in err


def test_fetching_without_the_extra_names_the_remedy(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAUD_WORKER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "jgo.maven", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'fraud-worker\[embedded\]'"):
        fetched(manifest, "a server")


def test_a_repository_that_does_not_answer_is_a_dependency(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = pytest.importorskip("jgo.maven").PythonResolver

    def refuse(*_: object) -> None:
        raise RuntimeError("not found")

    monkeypatch.setenv("FRAUD_WORKER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(resolver, "download", refuse)
    with pytest.raises(DependencyUnavailableError, match=r"one-1\.0\.jar could not be fetched"):
        fetched(manifest, "a server")
