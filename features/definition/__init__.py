"""Definitions: features.yaml, read strictly and compiled."""

from features.definition.feature import Feature
from features.definition.feature_set import FeatureSet, load_feature_set

__all__ = ["Feature", "FeatureSet", "load_feature_set"]
