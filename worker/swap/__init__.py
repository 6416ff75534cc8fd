"""Models and policies that take over while the worker runs."""

from __future__ import annotations

from worker.swap.load import load_model, load_rules, proven_bundle
from worker.swap.named import Named, named_in
from worker.swap.succession import Succession

__all__ = ["Named", "Succession", "load_model", "load_rules", "named_in", "proven_bundle"]
