"""Reload of models and policies between two micro-batches."""

from __future__ import annotations

from worker.reload.load_serving import load_model, load_rules, proven_bundle
from worker.reload.named import ServedFiles, named_in
from worker.reload.reloader import Reloader

__all__ = ["Reloader", "ServedFiles", "load_model", "load_rules", "named_in", "proven_bundle"]
