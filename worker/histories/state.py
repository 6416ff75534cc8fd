"""Which topic a state in the online store belongs to, as the store itself remembers it.

A member is named by its position in the log, so that histories of another topic, or of another
number of partitions, mean nothing. The record makes a worker refuse them instead.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from features.history.namespace import Namespace
from features.store.protocol import OnlineStore
from schemas.errors import ConfigurationError
from worker.topics import InputTopic

_ANEW = "name another store.state, whose histories start empty"


@dataclass(frozen=True, slots=True)
class StateRecord:
    """The topic that the histories of a state come from."""

    topic: str
    topic_id: str
    partitions: int

    def __str__(self) -> str:
        return f"topic {self.topic} (id {self.topic_id}, partitions {self.partitions})"


def find_namespace(store: OnlineStore, feature_set: str, state: str) -> Namespace | None:
    """Where the store keeps a state's histories; None where no worker has begun any.

    Raises DependencyUnavailableError, and ConfigurationError where the record is damaged.
    """
    record = read_record(store, feature_set, state)
    if record is None:
        return None
    return Namespace(feature_set, state, record.topic_id, record.partitions)


def claim(
    store: OnlineStore, feature_set: str, state: str, topic: InputTopic, *, accepted: bool = False
) -> Namespace:
    """The namespace of a state for ``topic``, which the store remembers from now on.

    accepted: the topic may take the place of an earlier one of its name. Its histories start empty,
    as the topic's id is part of their keys.

    Raises ConfigurationError where the store remembers another topic, DependencyUnavailableError.
    """
    own = StateRecord(topic.name, topic.topic_id, topic.partitions)
    namespace = Namespace(feature_set, state, topic.topic_id, topic.partitions)
    record = read_record(store, feature_set, state)
    if record is None or (
        accepted and record.topic == topic.name and record.topic_id != topic.topic_id
    ):
        store.write([(namespace.record_key, json.dumps(asdict(own)).encode())])
    # Read again: of two workers that begin at once with different topics one has to give way.
    refuse_other(state, read_record(store, feature_set, state), topic)
    return namespace


def refuse_other(state: str, record: StateRecord | None, topic: InputTopic) -> None:
    """Raises ConfigurationError where ``record`` is of another topic, or of another size of it."""
    if record is None or (record.topic_id, record.partitions) == (topic.topic_id, topic.partitions):
        return
    found = StateRecord(topic.name, topic.topic_id, topic.partitions)
    if record.topic != topic.name:
        why, remedy = "another topic", f"set kafka.input_topic to {record.topic}"
    elif record.topic_id != topic.topic_id:
        why = "the topic was made anew"
        remedy = f"set kafka.accept_topic: {topic.topic_id} to read it from its beginning"
    else:
        why = "its partitions changed, and with them the keys in each"
        remedy = f"restore a topic of {record.partitions}"
    raise ConfigurationError(
        f"store.state: {state} holds histories of {record}, the input is {found}: {why}; {_ANEW}, "
        f"or {remedy}"
    )


def read_record(store: OnlineStore, feature_set: str, state: str) -> StateRecord | None:
    """What the store remembers of a state. Raises as `find_namespace` does."""
    key = Namespace(feature_set, state, "", 0).record_key
    (value,) = store.read([key])
    if value is None:
        return None
    try:
        return StateRecord(**json.loads(value))
    except (ValueError, TypeError, RecursionError):
        raise ConfigurationError(
            f"store.state: the value at {key.decode()} is no record of a state; {_ANEW}, or delete "
            "the key if no worker uses this one"
        ) from None
