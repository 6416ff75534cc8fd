"""Backends, which compute margins on a CPU or a GPU."""

from __future__ import annotations

from base.errors import NonFiniteFeatureError
from models.backend.open import open_backend
from models.backend.protocol import Backend
from models.backend.threads import available_threads

__all__ = ["Backend", "NonFiniteFeatureError", "available_threads", "open_backend"]
