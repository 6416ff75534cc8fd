"""Layout of the feature views that Feast stores in Redis (entity keys of version 3)."""

from features.store.feast.keys import FeastView, KeyType
from features.store.feast.protobuf_lists import Lists, lists
from features.store.feast.protobuf_values import FeastTimes, Numbers, numbers, timestamps

__all__ = [
    "FeastTimes",
    "FeastView",
    "KeyType",
    "Lists",
    "Numbers",
    "lists",
    "numbers",
    "timestamps",
]
