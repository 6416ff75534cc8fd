"""The keys of histories in an online store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from features.values.hash64 import PROCESS_KEY, fingerprint

LABEL_LAYOUT = "l2"


def record_key(feature_set: str, state: str) -> bytes:
    """The key of a state's record in the store."""
    return f"fw:{feature_set}:{state}:topic".encode()


@dataclass(frozen=True, slots=True)
class Namespace:
    """Keeps apart what must not be mixed: states, topics, partition counts, hash keys and layouts.

    topic_id: Kafka's own id of the input topic, which changes when a topic is made anew. key: of the
    hashes of event ids and texts. marks: for entities whose histories began empty under a state that
    there was already, what tells them from those before. recounted: by entity, how often the
    time that its histories reach back to began anew although they did not.
    """

    feature_set: str
    state: str
    topic_id: str
    partitions: int
    key: bytes = field(repr=False)
    marks: Mapping[str, str] = field(default_factory=dict)
    recounted: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def local(cls, feature_set: str) -> Self:
        """Of a store that serves one run over files."""
        return cls(feature_set, "local", "files", 1, PROCESS_KEY)

    def history_digest(self, entity: str, layout: str) -> str:
        """Names an entity's histories; another one where these are empty, and those before are not.

        layout: the digest of their members' fields.
        """
        log = self.topic_id, self.partitions, layout, entity
        return _digest(*log, self.marks.get(entity), fingerprint(self.key))

    def reach_digest(self, entity: str, layout: str) -> str:
        """Names how far back an entity's histories reach; another name where that begins anew.

        layout: as `history_digest`.
        """
        own, times = self.history_digest(entity, layout), self.recounted.get(entity, 0)
        return _digest(own, times) if times else own

    def history_prefix(self, entity: str, layout: str) -> bytes:
        """What the keys of an entity's histories begin with; ``layout``: as `history_digest`."""
        digest = self.history_digest(entity, layout)
        return f"fw:{self.feature_set}:{self.state}:history:{entity}:{digest}:".encode()

    def label_prefix(self, entity: str) -> bytes:
        """What the keys of an entity's labels begin with: those of any topic and layout."""
        digest = _digest(LABEL_LAYOUT, fingerprint(self.key))
        return f"fw:{self.feature_set}:{self.state}:labels:{entity}:{digest}:".encode()


def _digest(*values: str | int | None) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:12]
