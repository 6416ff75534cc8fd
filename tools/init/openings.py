"""Placeholders that init leaves for a person to fill in, and a search for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

OPEN = "<open>"
"""Placeholder for a value to fill in; no field of a schema can have this name."""


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
