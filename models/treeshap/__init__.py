"""Table-based TreeSHAP: the values of XGBoost's `pred_contribs`, several times as fast.

XGBoost computes the Shapley values of every leaf for every row anew. But the value of a leaf for a
row depends only on the outcomes of the splits above it: a few bits. So trees are cut into *pieces*:
subtrees that, with the splits above them, have few splits. For each combination of outcomes the
values of all leaves of a piece are added up once, when the model is loaded. To explain a row is to
look up one line of each piece.
"""

from __future__ import annotations

from models.treeshap.contributions import TreeShap

__all__ = ["TreeShap"]
