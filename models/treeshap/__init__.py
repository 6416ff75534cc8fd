"""TreeSHAP from tables: what XGBoost's `pred_contribs` gives, several times as fast.

XGBoost computes the Shapley values of every leaf for every row anew. But a leaf knows a row only
by the outcomes of the splits above it: a few bits. So trees are cut into *pieces*, subtrees that
with the splits above them have few splits; for each combination of their outcomes the values of
all their leaves are added up once, when the model is loaded. A row is explained by looking up one
line of each piece.
"""

from __future__ import annotations

from models.treeshap.contributions import TreeShap

__all__ = ["TreeShap"]
