"""Compiled functions, and loads and stores of little-endian integers at any byte position.

A kernel is a loop that numba compiles. Kernels lie in folders named ``kernel``, and import each
other, this module, numpy and types of arrays alone: the cache of compiled kernels is named by these
files. Compiled code checks no bounds: a kernel reads a byte only where it has compared the position
with the end. With NUMBA_DISABLE_JIT=1 all of it is Python, and computes the same bits.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar, TypeVar

from base.arrays import Bytes
from base.errors import ConfigurationError
from base.kernel_cache import cpu_name, kernel_folder

# Before numba is imported, which reads them then. Features are part of the name of a processor.
if "NUMBA_CPU_NAME" not in os.environ:
    os.environ |= {"NUMBA_CPU_NAME": cpu_name(), "NUMBA_CPU_FEATURES": ""}

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.extending import intrinsic

FOLDER = kernel_folder(os.environ["NUMBA_CPU_NAME"])
"""Folder of compiled kernels; None without a place for it, or without compilation."""

F = TypeVar("F", bound=Callable[..., Any])


class _Locator(_CacheLocator):  # type: ignore[misc]
    """Place of compiled kernels. Numba's own locators ask for a folder that can be written to."""

    def __init__(self, function: Any, file: str) -> None:
        self._module, self._py_file = function.__module__, file

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> _Locator:
        return cls(py_func, py_file)

    def ensure_cache_path(self) -> None:
        pass

    def get_cache_path(self) -> str:
        return str(FOLDER)

    def get_source_stamp(self) -> str:
        return ""  # the folder's name has it

    def get_disambiguator(self) -> str:
        return str(self._module)


class _CacheFiles(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes: ClassVar[list[type]] = [_Locator]


class _KernelCache(FunctionCache):  # type: ignore[misc]
    _impl_class = _CacheFiles

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # noqa: BLE001 - a damaged pickle may raise anything; it is written anew
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        # A folder of an image, or a full disk: each process compiles it.
        with suppress(OSError):
            super().save_overload(sig, data)


def compiled(function: F) -> F:
    """Compile a kernel that Python calls; without fast-math, so that floats are those of Python."""
    made: Any
    if numba.config.DISABLE_JIT:
        # As compiled: sums of 64 bits wrap around, and division by zero is not told.
        made = np.errstate(all="ignore")(function)
    else:
        made = numba.njit(nogil=True, error_model="numpy")(function)
        if FOLDER is not None:
            made._cache = _KernelCache(function)  # noqa: SLF001 - numba offers no other way
    return made  # type: ignore[no-any-return]


def inner(function: F) -> F:
    """Compile a function that kernels alone call: a fifth less to compile than with `compiled`."""
    made: F = numba.njit(
        nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True
    )(function)
    return made


def leaf(function: F) -> F:
    """Compile a function that kernels alone call, and that makes no array.

    It borrows its arrays: to count their references took three times as long as to decode. It
    becomes a part of its callers: an array is seven words of arguments, and a call with ten arrays
    took longer than what it did.
    """
    options: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False}
    options |= {"forceinline": True}
    made: F = numba.njit(nogil=True, error_model="numpy", **options)(function)
    return made


def prove(kernel: str, results: bytes, expected: str) -> None:
    """Compare the results of a kernel on fixed inputs with known ones.

    Args:
        kernel: Name of the kernel in the message.
        results: Bytes of all results.
        expected: Their SHA-256 sum.

    Raises:
        ConfigurationError: They differ.
    """
    if hashlib.sha256(results).hexdigest() != expected:
        raise ConfigurationError(
            f"the compiled kernel {kernel} computes wrong results on this machine: delete the "
            f"folder {FOLDER} and start again, so that it is compiled anew"
            if FOLDER
            else f"the compiled kernel {kernel} computes wrong results on this machine: set "
            "NUMBA_DISABLE_JIT=1 and report it with the model of the processor"
        )


def _load(bits: int) -> Any:
    """Make a function that loads a little-endian integer from a byte position, as int64."""
    if numba.config.DISABLE_JIT:
        form = struct.Struct(_FORMATS[bits])
        return lambda data, at: np.int64(form.unpack_from(data, at)[0])

    @intrinsic  # type: ignore[untyped-decorator]
    def load(_typing: Any, data: Any, _at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = _pointer(context, builder, signature, args, bits)
            value = builder.load(pointer, align=1)
            return value if bits == 64 else builder.sext(value, ir.IntType(64))

        return types.int64(data, types.int64), generate

    return load


def _store(bits: int) -> Any:
    """Make a function that stores an int64 at a byte position, as a little-endian integer."""
    if numba.config.DISABLE_JIT:
        return struct.Struct(_FORMATS[bits]).pack_into

    @intrinsic  # type: ignore[untyped-decorator]
    def store(_typing: Any, data: Any, _at: Any, _value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = args[2] if bits == 64 else builder.trunc(args[2], ir.IntType(bits))
            pointer = _pointer(context, builder, signature, args, bits)
            builder.store(value, pointer, align=1)
            return context.get_dummy_value()

        return types.void(data, types.int64, types.int64), generate

    return store


def _pointer(context: Any, builder: Any, signature: Any, args: Any, bits: int) -> Any:
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return builder.bitcast(builder.gep(array.data, [args[1]]), ir.IntType(bits).as_pointer())


_FORMATS = {16: "<h", 32: "<i", 64: "<q"}
load16, load32, load64 = _load(16), _load(32), _load(64)
store32, store64 = _store(32), _store(64)


@leaf
def copy_bytes(source: Bytes, begin: int, end: int, out: Bytes, at: int) -> int:
    """Copy the bytes [begin, end) of ``source`` to ``at``; return the place behind them."""
    while begin + 8 <= end:
        store64(out, at, load64(source, begin))
        begin += 8
        at += 8
    while begin < end:
        out[at] = source[begin]
        begin += 1
        at += 1
    return at
