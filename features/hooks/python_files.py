"""Python files beside features.yaml: read once, checked to import no other file, run as read."""

from __future__ import annotations

import ast
import hashlib
import importlib.abc
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from base.errors import HookError, HookRaisedError
from base.suggest import unknown
from features.hooks.calls import HookFile

_REFERENCE = re.compile(r"(?P<file>.+\.py):(?P<function>[A-Za-z_][A-Za-z0-9_]*)")


class PythonFiles:
    """Functions of the files in the folder of one features.yaml; each file is read and run once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[Path, _Loaded] = {}

    def function(
        self, reference: str, arguments: Sequence[str]
    ) -> tuple[HookFile, Callable[..., Any], str]:
        """Find the function that ``reference`` (``./geo.py:haversine_km``) names.

        Args:
            reference: Path of a file and name of a function.
            arguments: Arguments of the function in features.yaml.

        Returns:
            The file, the function, and the SHA-256 of the file's bytes.

        Raises:
            HookError: There is no such function, or it does not take that number of arguments.
        """
        matched = _REFERENCE.fullmatch(reference)
        if matched is None:
            raise HookError(
                f"{reference!r} names no function; write its file and name: ./geo.py:haversine_km"
            )
        path, name = self._folder / matched["file"], matched["function"]
        if path not in self._loaded:
            self._loaded[path] = _load(path, self._folder.resolve())
        file, module, digest = self._loaded[path]
        try:
            function = file.run(_named, module, name, len(arguments))
        except HookRaisedError as raised:
            if isinstance(raised.error, HookError):
                raise raised.error from None
            raise HookError(f"{name} cannot be used: it raises {file.words(raised)}") from None
        return file, function, digest


class _Loaded(NamedTuple):
    """A file that was run.

    Attributes:
        file: The hook file.
        module: Its module.
        digest: SHA-256 of its bytes.
    """

    file: HookFile
    module: ModuleType
    digest: str


def _named(module: ModuleType, name: str, arguments: int) -> Callable[..., Any]:
    """Get a function of a module by its name; runs code of the module if it defines attributes.

    Raises:
        HookError: There is no such function, or it does not take that number of arguments.
    """
    value = getattr(module, name, None)
    if not callable(value):
        own = [key for key, value in vars(module).items() if _is_own_function(module, key, value)]
        other = "" if value is None else f" ({name} is {_with_article(value)})"
        file = Path(str(module.__file__)).name
        raise HookError(f"{file}: {unknown('function', name, own)}{other}")
    function: Callable[..., Any] = value
    _check_arguments(name, function, arguments)
    return function


def _is_own_function(module: ModuleType, name: str, value: Any) -> bool:
    own = getattr(value, "__module__", None) == module.__name__
    return own and not name.startswith("_") and callable(value)


def _with_article(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


class _Loader(importlib.abc.SourceLoader):
    """Loader that runs exactly the bytes that were read: no second read, no cached bytecode."""

    def __init__(self, path: Path, source: bytes) -> None:
        self._path = path
        self._source = source

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002  (importlib's signature)
        return str(self._path)

    def get_data(self, path: str) -> bytes:  # noqa: ARG002  (importlib's signature)
        return self._source


def _load(path: Path, folder: Path) -> _Loaded:
    """Read and run the file at ``path``, which must lie within ``folder`` (resolved)."""
    try:
        resolved = path.resolve(strict=True)
        _check_place(path, resolved, folder)
        source = resolved.read_bytes()
    except (OSError, ValueError, RuntimeError) as error:  # a null byte; a circle of links
        why = getattr(error, "strerror", None) or error
        raise HookError(
            f"{path} cannot be read: {why}; put the file beside features.yaml"
        ) from error
    digest = hashlib.sha256(source).hexdigest()
    _check_imports(path, source, folder)
    file, loader = HookFile(path, folder), _Loader(path, source)
    spec = ModuleSpec(f"fraud_worker_hook_{digest[:16]}", loader, origin=str(path))
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and typing look their module up there
    try:
        file.run(loader.exec_module, module)
    except BaseException as error:
        del sys.modules[spec.name]
        if isinstance(error, HookRaisedError):
            raise HookError(
                f"{path.name} cannot be loaded: it raises {file.words(error)}"
            ) from None
        raise
    return _Loaded(file, module, digest)


def _check_place(path: Path, resolved: Path, folder: Path) -> None:
    """Refuse code from outside the folder: a reader of the folder must see all code that is run."""
    if not resolved.is_relative_to(folder):
        raise HookError(
            f"{path} leads to {resolved}, outside {folder}; put the file itself into the folder of "
            "features.yaml"
        )
    if not resolved.is_file():
        raise HookError(f"{path} is not a plain file; put a Python file there")


def _check_imports(path: Path, source: bytes, folder: Path) -> None:
    """Raise HookError for code that does not parse, or that imports a file beside it.

    A change of such a file would change numbers without changing a fingerprint. Imports that are
    not statements are refused when they run.
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
        beside = (at / file for at in (path.parent, folder) for file in _files_of(name))
        if not name or any(map(Path.exists, beside)):
            raise HookError(
                f"{path.name}:{node.lineno}:{node.col_offset + 1}: imports a file beside it, "
                f"which no fingerprint covers; put what it needs into {path.name}"
            )


def _files_of(module: str) -> tuple[Path, ...]:
    return Path(f"{module}.py"), Path(module, "__init__.py")


def _imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Each import statement and the top-level module that it imports; "" for a relative import."""
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
        return  # written in C: `prove` finds out by calling it
    try:
        signature.bind(*range(count))
    except TypeError as error:
        given = f"{count} argument{'s' if count != 1 else ''}"
        raise HookError(
            f"{name}{signature} does not take {given}: {error}; correct args", of_arguments=True
        ) from error
