"""Definitions: features.yaml, read strictly and compiled."""

from features.definition.feature import Feature
from features.definition.feature_set import FeatureSet, load_feature_set
from features.matrix import Enriched

__all__ = ["Enriched", "Feature", "FeatureSet", "load_feature_set"]
