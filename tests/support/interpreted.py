"""Kernels as Python, beside the compiled ones: both give the same bits."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import numba
import pytest


def interpreted(module: ModuleType) -> ModuleType:
    """A copy of a module of kernels that is not compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba.config, "DISABLE_JIT", 1)
        patch.setitem(sys.modules, "base.compiled", _copy("base.compiled"))
        return _copy(module.__name__)


def _copy(name: str) -> ModuleType:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    return copy
