"""Train a model on a matrix and labels, and measure its quality."""

from __future__ import annotations

from models.training.fit import fit
from models.training.metrics import average_precision

__all__ = ["average_precision", "fit"]
