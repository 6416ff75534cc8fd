"""Entity keys of a batch, each once, and what is laid out by them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def grouped(entity_keys: pa.StringArray) -> tuple[list[bytes], npt.NDArray[np.int64]]:
    """The distinct keys in UTF-8, and int64[N], which of them each row has."""
    encoded = entity_keys.dictionary_encode()
    keys: list[bytes] = encoded.dictionary.cast(pa.binary()).to_pylist()
    return keys, encoded.indices.to_numpy().astype(np.int64)


def order_of(codes: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """The rows by code, those of one code in their order; codes lie in [0, count)."""
    # numpy sorts 16 bits by radix, several times as fast.
    narrow = codes.astype(np.uint16) if count <= 2**16 else codes
    return np.argsort(narrow, kind="stable")


def cut(members: npt.NDArray[np.void], counts: npt.NDArray[np.int64]) -> list[bytes]:
    """The bytes of runs of members that stand end to end; counts: int64[U], of each run."""
    data = members.tobytes()
    ends = (np.cumsum(counts) * members.dtype.itemsize).tolist()
    return [data[begin:end] for begin, end in pairwise((0, *ends))]
