"""Folder of compiled kernels."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from base import kernel_cache
from base.kernel_cache import kernel_folder, kernel_sources

ROOT = Path(kernel_cache.__file__).parents[1]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRAUD_WORKER_CACHE", str(tmp_path))
    return tmp_path


def test_the_folder_is_the_users_own(cache: Path) -> None:
    folder = kernel_folder("generic")
    assert folder is not None
    assert folder.parent == cache
    assert folder.stat().st_mode & 0o777 == 0o700
    assert kernel_folder("generic") == folder


def test_another_processor_version_or_source_has_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "loop.py"
    source.write_text("one")
    monkeypatch.setattr(kernel_cache, "kernel_sources", lambda: [source])
    folders = [kernel_folder("generic"), kernel_folder("x86-64-v3")]
    source.write_text("two")
    folders.append(kernel_folder("generic"))
    monkeypatch.setattr(kernel_cache, "version", lambda package: f"2 of {package}")
    folders.append(kernel_folder("generic"))
    assert len(set(folders)) == 4
    assert None not in folders


def test_a_folder_that_others_may_write_to_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = kernel_folder("generic")
    assert folder is not None
    folder.chmod(0o770)
    assert kernel_folder("generic") is None
    folder.chmod(0o755)
    assert kernel_folder("generic") == folder
    os_id = os.geteuid()
    os.chown(folder, 12345, -1) if os_id == 0 else monkeypatch.setattr(os, "geteuid", lambda: 54321)
    assert kernel_folder("generic") is None


def test_without_a_place_there_is_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAUD_WORKER_CACHE", str(tmp_path / "file" / "cache"))
    (tmp_path / "file").write_text("")
    assert kernel_folder("generic") is None


def test_kernels_are_made_of_their_own_files_alone() -> None:
    """Else the name of the folder would not change with what they are compiled from."""
    own = {str(path.relative_to(ROOT)) for path in kernel_sources()}
    using = [
        path
        for package in ("base", "schemas", "features", "models", "worker", "tools")
        for path in (ROOT / package).rglob("*.py")
        if {"compiled", "inner", "leaf"} & _imported(path).get("base.compiled", set())
    ]
    assert len(using) > 5
    for path in using:
        assert str(path.relative_to(ROOT)) in own, f"{path}: a kernel lies in a folder `kernel`"
        imported = _imported(path)
        # Types of arrays stand in annotations alone, which are not compiled.
        types = {"Bytes", "Floats", "Floats32", "Ints32", "Longs", "Mask"}
        assert imported.pop("base.arrays", set()) <= types, path
        for module in imported:
            at = module.replace(".", "/")
            # The versions of Python and numpy are part of the name.
            foreign = {"__future__", "math", "numpy", "numpy.typing", "typing"}
            assert {f"{at}.py", f"{at}/__init__.py"} & own or module in foreign, f"{path}: {module}"


def _imported(path: Path) -> dict[str, set[str]]:
    """Names that a file imports, by module."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name: set() for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.setdefault(str(node.module), set()).update(alias.name for alias in node.names)
    return found
