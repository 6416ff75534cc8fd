"""A feature view of Feast, as a source of a lookup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from features.store.feast.keys import KeyType, hash_field, redis_keys, timestamp_field


@dataclass(frozen=True, slots=True)
class FeastView:
    """A feature view by Feast's own names; its entity has one join key."""

    project: str
    feature_view: str
    join_key: str
    key_type: KeyType

    def keys(self, entity_keys: Sequence[bytes]) -> list[bytes | None]:
        """The key of each entity's hash; None where Feast can have none."""
        return redis_keys({self.join_key: (self.key_type, entity_keys)}, self.project)

    def fields(self, features: Sequence[str]) -> tuple[bytes, ...]:
        """The fields of a hash: of each feature, then of the values' time."""
        names = (hash_field(self.feature_view, feature) for feature in features)
        return (*names, timestamp_field(self.feature_view))

    def canonical(self) -> dict[str, str]:
        """What of it changes numbers."""
        return {
            "project": self.project,
            "feature_view": self.feature_view,
            "join_key": self.join_key,
            "key_type": self.key_type.name.lower(),
        }
