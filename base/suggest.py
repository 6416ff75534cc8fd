"""Error messages for unknown names, with a suggestion."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Message ``unknown <what> 'name'`` with the nearest known name.

    If no known name is near, the message lists the known names, unless they are many.
    """
    choices = sorted(set(known))
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    if close:
        return f"unknown {what} {name!r}; did you mean {close[0]!r}?"
    if 0 < len(choices) <= 30:
        return f"unknown {what} {name!r}; known are: {', '.join(choices)}"
    return f"unknown {what} {name!r}"
