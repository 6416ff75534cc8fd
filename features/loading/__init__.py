"""Load labels and lookup values for an online store or a training table."""

from __future__ import annotations

from features.loading.known_labels import KnownLabels
from features.loading.label_files import LabelFile
from features.loading.label_rows import LabelRows, whole_labels
from features.loading.past_lookups import NO_PAST_LOOKUPS, PastLookup

__all__ = [
    "NO_PAST_LOOKUPS",
    "KnownLabels",
    "LabelFile",
    "LabelRows",
    "PastLookup",
    "whole_labels",
]
