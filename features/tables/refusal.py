"""What an input holds that is not what was asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row or record that is no event, or no label. where: as its reader finds it."""

    where: str
    code: str
    message: str
