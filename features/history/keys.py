"""Keys of the online store from entity keys, each once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def grouped(
    entity_keys: pa.StringArray, prefix: bytes
) -> tuple[list[bytes], npt.NDArray[np.int64]]:
    """The distinct keys behind ``prefix``, and int64[N], which of them each row has."""
    encoded = entity_keys.dictionary_encode()
    keys = [prefix + key for key in encoded.dictionary.cast(pa.binary()).to_pylist()]
    return keys, encoded.indices.to_numpy().astype(np.int64)
