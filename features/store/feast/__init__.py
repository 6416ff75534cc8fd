"""The layout in which Feast keeps feature views in Redis (entity keys of version 3)."""

from features.store.feast.keys import KeyType
from features.store.feast.protobuf_values import FeastTimes, Numbers, numbers, timestamps
from features.store.feast.view import FeastView

__all__ = ["FeastTimes", "FeastView", "KeyType", "Numbers", "numbers", "timestamps"]
