"""Compiled reading of the frames of a micro-batch."""

from __future__ import annotations

from typing import Final

import numpy as np

from base.arrays import Bytes, Longs
from base.compiled import compiled

OTHER: Final = -1
"""Id of a value whose frame has another form."""


@compiled
def read_ids(
    data: Bytes,
    lengths: Longs,
    prefix: int,
    max_bytes: int,
    starts: Longs,
    ends: Longs,
    ids: Longs,
) -> int:
    """Store the bounds of the bodies and their schema ids, where a value begins with magic 0.

    Without a prefix, the id is 0. A value that ``unframe`` has to look at has the id OTHER.

    Returns:
        The number of values with the first one's id.
    """
    alike, begin = 0, 0
    for row in range(len(lengths)):
        length = lengths[row]
        starts[row], ends[row] = begin + prefix, begin + length
        ids[row] = OTHER
        if prefix <= length <= max_bytes and length > 0:
            if prefix == 0:
                ids[row] = 0
            elif data[begin] == 0:
                schema_id = np.int64(0)
                for place in range(begin + 1, begin + prefix):
                    schema_id = (schema_id << 8) | np.int64(data[place])
                ids[row] = schema_id
        if ids[row] == ids[0] != OTHER:
            alike += 1
        begin += length
    return alike
