"""Load labels and lookup values for an online store or a training table."""

from __future__ import annotations

from features.loading.known_labels import KnownLabels
from features.loading.label_files import LabelFile
from features.loading.label_rows import LabelRows, whole_labels

__all__ = ["KnownLabels", "LabelFile", "LabelRows", "whole_labels"]
