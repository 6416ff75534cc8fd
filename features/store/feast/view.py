"""A feature view of Feast as the source of a lookup."""

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
        """Key of each entity's hash; None for an entity that Feast cannot have."""
        return redis_keys({self.join_key: (self.key_type, entity_keys)}, self.project)

    def fields(self, features: Sequence[str]) -> tuple[bytes, ...]:
        """Fields of a hash: one for each feature, then the time of the values."""
        names = (hash_field(self.feature_view, feature) for feature in features)
        return (*names, timestamp_field(self.feature_view))

    def canonical(self) -> dict[str, str]:
        """The parts of the view that change numbers."""
        return {
            "project": self.project,
            "feature_view": self.feature_view,
            "join_key": self.join_key,
            "key_type": self.key_type.name.lower(),
        }
