"""Compiled functions, and loads and stores of little-endian numbers at any byte position."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function, without fast-math, so that its floats are those of Python and numpy."""
    made: F = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return made


def leaf(function: F) -> F:
    """Compile a function that kernels alone call, and that makes no array.

    It borrows its arrays: to count their references took three times as long as to decode.
    """
    options: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False}
    made: F = numba.njit(nogil=True, error_model="numpy", **options)(function)
    return made


if numba.config.DISABLE_JIT:

    def load32(data: Any, at: int) -> Any:
        return np.int64(struct.unpack_from("<i", data, at)[0])

    def load64(data: Any, at: int) -> Any:
        return np.int64(struct.unpack_from("<q", data, at)[0])

    def load_float(data: Any, at: int) -> Any:
        return struct.unpack_from("<f", data, at)[0]

    def store32(data: Any, at: int, value: int) -> None:
        struct.pack_into("<i", data, at, value)

    def store64(data: Any, at: int, value: int) -> None:
        struct.pack_into("<q", data, at, value)

else:

    def _place(context: Any, builder: Any, signature: Any, args: Any, item: ir.Type) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        byte = builder.gep(array.data, [args[1]])
        return builder.bitcast(byte, item.as_pointer())

    def _pointer(context: Any, builder: Any, signature: Any, args: Any, bits: int) -> Any:
        return _place(context, builder, signature, args, ir.IntType(bits))

    @intrinsic
    def load64(_typing: Any, data: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.load(_pointer(context, builder, signature, args, 64), align=1)

        return types.int64(data, types.int64), generate

    @intrinsic
    def load32(_typing: Any, data: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = builder.load(_pointer(context, builder, signature, args, 32), align=1)
            return builder.sext(value, ir.IntType(64))

        return types.int64(data, types.int64), generate

    @intrinsic
    def load_float(_typing: Any, data: Any, at: Any) -> Any:
        """Load a float of four bytes as one of eight."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            place = _place(context, builder, signature, args, ir.FloatType())
            return builder.fpext(builder.load(place, align=1), ir.DoubleType())

        return types.float64(data, types.int64), generate

    @intrinsic
    def store64(_typing: Any, data: Any, at: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.store(args[2], _pointer(context, builder, signature, args, 64), align=1)
            return context.get_dummy_value()

        return types.void(data, types.int64, types.int64), generate

    @intrinsic
    def store32(_typing: Any, data: Any, at: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = builder.trunc(args[2], ir.IntType(32))
            builder.store(value, _pointer(context, builder, signature, args, 32), align=1)
            return context.get_dummy_value()

        return types.void(data, types.int64, types.int64), generate
