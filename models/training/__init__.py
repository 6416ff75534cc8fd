"""Training: a model from a matrix and labels, and what it is worth."""

from __future__ import annotations

from models.training.fit import fit
from models.training.metrics import average_precision

__all__ = ["average_precision", "fit"]
