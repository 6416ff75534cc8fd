"""The Pythons that the project names, those that it is tested on, and the one of the image."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.commands import pythons

ROOT = Path(__file__).parents[2]


def interpreter(folder: Path, version: str, status: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"python{version}"
    path.write_text(f"#!/usr/bin/env bash\necho {version}\nexit {status}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with no other Python; each command of `make` is written down as an argument."""
    (tmp_path / "bin").mkdir()
    make = tmp_path / "bin" / "make"
    make.write_text('#!/usr/bin/env bash\necho "$2" >> "$LOG"\n[[ "$2" != *3.81 ]]\n')
    make.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.defpath}")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    # In their place, servers would be started.
    monkeypatch.setenv("FRAUD_WORKER_TEST_KAFKA", "localhost:1")
    monkeypatch.setenv("FRAUD_WORKER_TEST_REDIS", "redis://localhost:1")
    return tmp_path


def test_the_image_has_a_python_that_is_tested() -> None:
    images = re.findall(
        r"^FROM python:(\d+\.\d+)-", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    assert len(images) == 2
    assert len(set(images)) == 1
    assert images[0] in pythons.named()


def test_the_oldest_that_is_asked_for_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={pythons.named()[0]}"


def test_ci_runs_every_python_that_the_classifiers_name() -> None:
    commands = (ROOT / ".ci" / "run").read_text().splitlines()
    assert "make test" in commands
    assert "make pythons ALL=1" in commands


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_the_documentation_names_the_pythons_that_are_tested(name: str) -> None:
    *others, last = pythons.named()
    assert f"Python {', '.join(others)} or {last}" in (ROOT / name).read_text()


def test_the_short_tests_are_there() -> None:
    for path in pythons.SHORT:
        assert (ROOT / path).is_file(), path


def test_an_interpreter_is_found_on_the_path_and_among_those_of_pyenv(machine: Path) -> None:
    assert pythons.find("3.80") is None
    built = interpreter(machine / "pyenv" / "versions" / "3.80.2" / "bin", "3.80")
    assert pythons.find("3.80") == built
    on_path = interpreter(machine / "bin", "3.80")
    assert pythons.find("3.80") == on_path


def test_a_shim_that_does_not_run_is_no_interpreter(machine: Path) -> None:
    shim = interpreter(machine / "bin", "3.80")
    shim.write_text(
        "#!/usr/bin/env bash\necho 'pyenv: python3.80: command not found' >&2; exit 127\n"
    )
    built = interpreter(machine / "pyenv" / "versions" / "3.80.2" / "bin", "3.80")
    assert pythons.find("3.80") == built


def run(monkeypatch: pytest.MonkeyPatch, versions: list[str], *arguments: str) -> int:
    monkeypatch.setattr(pythons, "named", lambda: versions)
    return pythons.main(arguments)


def test_each_other_version_that_is_found_is_tested(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    own = ".".join(map(str, sys.version_info[:2]))
    found = interpreter(machine / "bin", "3.80")
    assert run(monkeypatch, [own, "3.80", "3.82"]) == 0
    assert (machine / "log").read_text() == f"PYTHON={found}\n"
    last = capfd.readouterr().out.splitlines()[-1]
    assert last == (f"make test is for Python {own}; short tests: passed on 3.80; not found: 3.82")
    assert run(monkeypatch, [own, "3.80", "3.82"], "--all") == 1
    assert run(monkeypatch, [own, "3.80"], "--all") == 0


def test_a_version_that_fails_is_told_after_the_others_ran(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for version in ("3.80", "3.81", "3.82"):
        interpreter(machine / "bin", version)
    assert run(monkeypatch, ["3.81", "3.80", "3.82"]) == 1
    assert "passed on 3.80, 3.82; FAILED on 3.81" in capfd.readouterr().out


def test_the_command_says_what_it_takes() -> None:
    told = subprocess.run(
        [sys.executable, "tests/commands/pythons.py", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--all" in told.stdout
