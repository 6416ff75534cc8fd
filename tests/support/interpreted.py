"""Kernels as Python runs them, beside the compiled ones."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from unittest import mock

import numba


def interpreted(package: str) -> dict[str, ModuleType]:
    """Import the kernels of ``package`` once more, without compilation.

    Args:
        package: Package whose folder ``kernel`` is imported.

    Returns:
        The modules of the folder, by name; a test may patch their functions.
    """
    kernels = f"{package}.kernel"
    names = [n for n in sys.modules if n == "base.compiled" or n.startswith(f"{kernels}.")]
    with mock.patch.dict(sys.modules), mock.patch.object(numba.config, "DISABLE_JIT", 1):
        for name in names:
            del sys.modules[name]
        for name in names:
            importlib.import_module(name)
        return {name.rsplit(".", 1)[1]: sys.modules[name] for name in names}
