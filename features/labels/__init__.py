"""Labels as they come: from files and topics, whole or to be completed from their events."""

from __future__ import annotations

from features.labels.file import LabelFile
from features.labels.known import KnownLabels
from features.labels.rows import LabelRows
from features.labels.whole import whole_labels

__all__ = ["KnownLabels", "LabelFile", "LabelRows", "whole_labels"]
