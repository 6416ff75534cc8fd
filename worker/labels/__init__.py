"""Labels of the labels topic, put into the online store while the worker runs."""

from __future__ import annotations

from worker.labels.label_feed import LabelFeed, label_group, make_label_feed

__all__ = ["LabelFeed", "label_group", "make_label_feed"]
