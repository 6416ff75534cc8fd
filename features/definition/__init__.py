"""Definitions: features.yaml, read strictly and compiled."""

from features.compute.matrix import Enriched
from features.definition.feature import Feature
from features.definition.feature_set import FeatureSet, load_feature_set

__all__ = ["Enriched", "Feature", "FeatureSet", "load_feature_set"]
