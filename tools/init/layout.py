"""Lines of YAML with comments."""

from __future__ import annotations

import json
import re

_COLUMN = 44
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
# Words that YAML 1.1 or 1.2 takes for something else than text.
_RESERVED = frozenset(
    {"null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf", "_"}
)


def scalar(text: str) -> str:
    """Text as a YAML scalar: plain where every reader takes it for text, else in quotes."""
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    return json.dumps(text)


def commented(line: str, *remarks: str) -> str:
    """Line with its remarks as a comment, which begins at the same column where there is room."""
    remark = "; ".join(filter(None, remarks))
    return f"{line:<{_COLUMN}}  # {remark}" if remark else line
