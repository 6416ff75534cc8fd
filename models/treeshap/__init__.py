"""Table-based TreeSHAP: the values of XGBoost's `pred_contribs`, several times as fast.

XGBoost computes the Shapley values of every leaf again for every row. But the value of a leaf for a
row depends only on the outcomes of the splits above the leaf: a few bits. So trees are cut into
subtrees that have few splits, counting the splits above them. When the model is loaded, the values
of all leaves of a subtree are added up for each combination of outcomes, and stored in a table. To
explain a row, one line of the table is looked up for each subtree.
"""

from __future__ import annotations

from models.treeshap.contributions import MAX_NUMBERS, TreeShap
from models.treeshap.node_paths import trees_of

__all__ = ["MAX_NUMBERS", "TreeShap", "trees_of"]
