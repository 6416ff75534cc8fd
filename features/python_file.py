"""Python files beside features.yaml: read once, held to be alone, and run as they were read."""

from __future__ import annotations

import ast
import hashlib
import importlib.abc
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from features.suggest import unknown

_REFERENCE = re.compile(r"(?P<file>.+\.py):(?P<function>[A-Za-z_][A-Za-z0-9_]*)")
RAISED = (Exception, SystemExit)
"""What may come out of code that is not ours: a SystemExit must not end the worker either."""


class HookError(Exception):
    """A hook that does not hold. of_arguments: it is their number that does not."""

    def __init__(self, message: str, *, of_arguments: bool = False) -> None:
        super().__init__(message)
        self.of_arguments = of_arguments


class PythonFiles:
    """The functions of the files beside one features.yaml; each file is read and run once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[Path, tuple[ModuleType, str]] = {}

    def function(
        self, reference: str, arguments: Sequence[str]
    ) -> tuple[Path, Callable[..., Any], str]:
        """What ``reference`` (``./geo.py:haversine_km``) names.

        Its file, itself, and the SHA-256 of the bytes of its file. Raises HookError where there is
        none, or it does not take so many ``arguments``.
        """
        matched = _REFERENCE.fullmatch(reference)
        if matched is None:
            raise HookError(
                f"{reference!r} names no function; write its file and name: ./geo.py:haversine_km"
            )
        path, name = self._folder / matched["file"], matched["function"]
        if path not in self._loaded:
            self._loaded[path] = _load(path)
        module, digest = self._loaded[path]
        own = [key for key, value in vars(module).items() if _is_own_function(module, key, value)]
        if name not in own:
            found = getattr(module, name, None)
            if not callable(found):
                other = "" if found is None else f" ({name} is {_a(found)})"
                raise HookError(f"{path.name}: {unknown('function', name, own)}{other}")
        function: Callable[..., Any] = getattr(module, name)
        _check_arguments(name, function, len(arguments))
        return path, function, digest


def raised(error: BaseException, file: Path) -> str:
    """An exception in words, with the line of ``file`` that it came through last."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(file)]
    where = f" ({file.name}, line {lines[-1]})" if lines else ""
    said = f": {error}" if str(error) else ""
    return f"{type(error).__name__}{said}{where}"


def _is_own_function(module: ModuleType, name: str, value: Any) -> bool:
    return not name.startswith("_") and getattr(value, "__module__", None) == module.__name__


def _a(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


class _Loader(importlib.abc.SourceLoader):
    """Runs the very bytes that were read: no second read, no cached bytecode."""

    def __init__(self, path: Path, source: bytes) -> None:
        self._path = path
        self._source = source

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002  (importlib's signature)
        return str(self._path)

    def get_data(self, path: str) -> bytes:  # noqa: ARG002  (importlib's signature)
        return self._source


def _load(path: Path) -> tuple[ModuleType, str]:
    """The module of the file at ``path``, and the SHA-256 of its bytes."""
    try:
        source = path.read_bytes()
    except OSError as error:
        raise HookError(
            f"{path} cannot be read: {error.strerror}; put the file beside features.yaml"
        ) from error
    digest = hashlib.sha256(source).hexdigest()
    _check_imports(path, source)
    loader = _Loader(path, source)
    spec = ModuleSpec(f"fraud_worker_hook_{digest[:16]}", loader, origin=str(path))
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and typing look their module up there
    try:
        loader.exec_module(module)
    except RAISED as error:
        del sys.modules[spec.name]
        raise HookError(f"{path.name} cannot be loaded: it raises {raised(error, path)}") from error
    return module, digest


def _check_imports(path: Path, source: bytes) -> None:
    """HookError for code that does not parse, or that imports a file beside it.

    What such a file holds would change numbers without changing a fingerprint.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise HookError(
            f"{path.name}:{error.lineno or 1}:{error.offset or 1}: this is not Python: {error.msg}"
        ) from error
    except (ValueError, MemoryError, RecursionError) as error:
        raise HookError(f"{path.name}: this is not Python: {error}") from error
    for node, name in _imports(tree):
        beside = (path.parent / f"{name}.py", path.parent / name / "__init__.py")
        if not name or any(found.exists() for found in beside):
            raise HookError(
                f"{path.name}:{node.lineno}:{node.col_offset + 1}: imports a file beside it, "
                f"which no fingerprint covers; put what it needs into {path.name}"
            )


def _imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Each import and the top of what it names; "" for a relative one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            yield node, "" if node.level else (node.module or "").partition(".")[0]


def _check_arguments(name: str, function: Callable[..., Any], count: int) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # written in C: the proof calls it
    try:
        signature.bind(*range(count))
    except TypeError as error:
        given = f"{count} argument{'s' if count != 1 else ''}"
        raise HookError(
            f"{name}{signature} does not take {given}: {error}; correct args", of_arguments=True
        ) from error
