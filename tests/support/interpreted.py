"""Kernels as Python runs them, beside the compiled ones."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from unittest import mock


def interpreted(package: str) -> dict[str, ModuleType]:
    """Import the kernels once more, without compilation.

    Args:
        package: Package whose kernels are wanted; they may use those of other packages.

    Returns:
        The modules of its folder ``kernel``, by name; a test may patch their functions.
    """
    compiled = {n: m for n, m in sys.modules.items() if n == "base.compiled" or ".kernel." in n}
    with mock.patch.dict(sys.modules), mock.patch("numba.config.DISABLE_JIT", 1):
        for name in compiled:
            del sys.modules[name]
        for name in compiled:
            importlib.import_module(name)
        own = [name for name in compiled if name.startswith(f"{package}.kernel.")]
        kernels = {name.rsplit(".", 1)[1]: sys.modules[name] for name in own}
    # An import also binds the module in its package, where ``from package import module`` finds it.
    for name, module in compiled.items():
        parent, _, child = name.rpartition(".")
        setattr(sys.modules[parent], child, module)
    return kernels
