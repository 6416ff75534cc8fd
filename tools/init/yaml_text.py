"""Text of YAML files: scalars, comments, and placeholders for a person to fill in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

OPEN = "<open>"
"""Placeholder for a value to fill in; no field of a schema can have this name."""
_COLUMN = 44
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
# Words that YAML 1.1 or 1.2 does not read as text.
_RESERVED = frozenset(
    {"null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf", "_"}
)


def scalar(text: str) -> str:
    """Text as a YAML scalar: plain where every reader takes it for text, else in quotes."""
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    # JSON writes a character beyond 16 bits as two, which YAML does not join.
    code = ord(character)
    return json.dumps(character)[1:-1] if code < 1 << 16 else f"\\U{code:08x}"


def commented(line: str, *remarks: str) -> str:
    """Line with its remarks as a comment, which begins at the same column where there is room."""
    remark = " ".join("; ".join(filter(None, remarks)).split())
    return f"{line:<{_COLUMN}}  # {remark}" if remark else line


def open_places(values: Any, place: str = "") -> Iterator[str]:
    """Yield the dotted places of the placeholders in a YAML file's plain values."""
    if values == OPEN:
        yield place
    elif isinstance(values, dict):
        for key, value in values.items():
            yield from open_places(value, f"{place}.{key}" if place else key)
    elif isinstance(values, list):
        for index, value in enumerate(values):
            yield from open_places(value, f"{place}[{index}]")
