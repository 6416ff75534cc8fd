"""Kernels as Python runs them, beside the compiled ones."""

from __future__ import annotations

import importlib
import os
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
    names = [n for n in sys.modules if n == "base.compiled" or ".kernel." in n]
    with (
        mock.patch.dict(sys.modules),
        # numba reads its variables again when one of them has changed since.
        mock.patch.dict(os.environ, NUMBA_DISABLE_JIT="1"),
        mock.patch("numba.config.DISABLE_JIT", 1),
    ):
        for name in names:
            del sys.modules[name]
        for name in names:
            importlib.import_module(name)
        own = [name for name in names if name.startswith(f"{package}.kernel.")]
        return {name.rsplit(".", 1)[1]: sys.modules[name] for name in own}
