"""Distinct entity keys of a batch, and rows and members grouped by key."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def grouped(entity_keys: pa.StringArray) -> tuple[list[bytes], npt.NDArray[np.int64]]:
    """The distinct keys in UTF-8, and int64[N], the index of each row's key."""
    encoded = entity_keys.dictionary_encode()
    keys: list[bytes] = encoded.dictionary.cast(pa.binary()).to_pylist()
    return keys, encoded.indices.to_numpy().astype(np.int64)


def order_of(codes: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Sort rows by code, stable within one code; codes lie in [0, count)."""
    # numpy sorts 16 bits by radix, several times as fast.
    narrow = codes.astype(np.uint16) if count <= 2**16 else codes
    return np.argsort(narrow, kind="stable")


def cut(members: npt.NDArray[np.void], counts: npt.NDArray[np.int64]) -> list[bytes]:
    """Cut concatenated members into the bytes of each run.

    Args:
        members: Members of U runs, concatenated.
        counts: int64[U], the number of members of each run.
    """
    data = members.tobytes()
    ends = (np.cumsum(counts) * members.dtype.itemsize).tolist()
    return [data[begin:end] for begin, end in pairwise((0, *ends))]
