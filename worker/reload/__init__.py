"""Reload of models and policies between two micro-batches."""

from __future__ import annotations

from worker.reload.load_serving import FileFingerprints, load_model, load_rules, proven_bundle
from worker.reload.model_source import ModelSource
from worker.reload.reloader import Reloader

__all__ = [
    "FileFingerprints",
    "ModelSource",
    "Reloader",
    "load_model",
    "load_rules",
    "proven_bundle",
]
