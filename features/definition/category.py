"""Categories: texts and whole numbers as codes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.compute.frame import Floats, Frame


def category_codes(path: str, values: list[str], *, other: bool) -> Callable[[Frame], Floats]:
    """Codes 0, 1, 2 ... in the order of ``values``; NaN where missing.

    Args:
        path: Path of the field.
        values: Listed values.
        other: True: values that are not listed share the next code. False: they are missing.
    """
    members = pa.array(values, pa.string())
    unlisted = float(len(values)) if other else np.nan

    def compute(frame: Frame) -> Floats:
        text = frame.text(path)
        codes = pc.fill_null(pc.index_in(text.values, value_set=members), -1)
        found = codes.to_numpy(zero_copy_only=False).astype(np.float64)
        found = np.where(found < 0, unlisted, found)
        return found if text.valid.all() else np.where(text.valid, found, np.nan)

    return compute
