r"""Texts of entity keys that have several parts.

The parts are joined by ``|``. In a part ``\`` stands before each ``\`` and ``|``, and ``\N`` is a
part without text, so that no two keys have one text: `decode` gives the parts back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from base.arrays import Mask, text_parts
from features.values.kernel.key_parts import add_part_sizes, append_parts

MAX_KEY_BYTES = 1024
"""Maximum length of an event id or entity key, in UTF-8 bytes."""
PART = r"(?:[^\\|]|\\[\\|])+"
"""Regular expression (RE2) of a part with text."""
NO_PART = r"\\N"
"""That of a part without."""
_ABSENT = b"\\N"
_PART = re.compile(rb"(?:[^\\|]|\\.)+", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


def encode(parts: Sequence[pa.StringArray]) -> tuple[pa.StringArray, Mask]:
    """Join the parts of N keys.

    Args:
        parts: StringArray[N] of each part, "" where it has no text.

    Returns:
        StringArray[N], and bool[N], True for a key that is longer than MAX_KEY_BYTES; its text is
        "".
    """
    rows = len(parts[0])
    sizes = np.full(rows, len(parts) - 1, np.int64)
    texts = [text_parts(part) for part in parts]
    for ends, data in texts:
        add_part_sizes(ends, data, sizes)
    too_long = sizes > MAX_KEY_BYTES
    sizes[too_long] = 0
    key_ends = np.zeros(rows + 1, np.int32)
    np.cumsum(sizes, out=key_ends[1:])
    keys, places = np.empty(key_ends[-1], np.uint8), key_ends[:-1].copy()
    for ends, data in texts:
        append_parts(ends, data, key_ends, places, keys)
    return pa.StringArray.from_buffers(rows, pa.py_buffer(key_ends), pa.py_buffer(keys)), too_long


def decode(key: bytes) -> list[bytes | None]:
    """The parts of a key that `encode` made; None for a part without text."""
    if b"\\" not in key:
        return [*key.split(b"|")]
    return [None if part == _ABSENT else _ESCAPED.sub(rb"\1", part) for part in _PART.findall(key)]


def are_keys(texts: pa.StringArray, parts: Sequence[str]) -> Mask:
    """bool[N], True for the texts that `encode` makes of parts, given their patterns (RE2)."""
    pattern = r"\A(?:" + r"\|".join(parts) + r")\z"
    matched: Mask = pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False)
    return matched
