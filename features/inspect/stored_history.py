"""Human-readable form of a stored history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from base.errors import ConfigurationError
from base.suggest import unknown
from features.definition import FeatureSet
from features.history.labels import LABEL
from features.history.layout import MISSING, Members, StoredColumn, StoredKind, read_members
from features.history.namespace import Namespace
from features.store.protocol import OnlineStore
from features.windows.entity_windows import EntityWindows


@dataclass(frozen=True, slots=True)
class ShownLabel:
    """A stored label.

    Attributes:
        fraud: True for a fraud.
        label_time: Microseconds.
        partition: Partition of the label; -1 for a file.
        offset: Offset of the label.
    """

    fraud: bool
    label_time: int
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class ShownMember:
    """A stored member.

    Attributes:
        partition: Partition of the event.
        offset: Offset of the event.
        time: Event time in microseconds.
        event_id_hash: 64-bit hash of the event id, in hexadecimal.
        values: Stored values by ``StoredColumn.key``.
        labels: Labels of the event.
    """

    partition: int
    offset: int
    time: int
    event_id_hash: str
    values: Mapping[str, float | bool | str | None]
    labels: tuple[ShownLabel, ...]


@dataclass(frozen=True, slots=True)
class ShownHistory:
    """A stored history.

    Attributes:
        members: Members in order, each once.
        stored: Number of stored members, repeated ones included.
        bytes: Size of the history.
        labels: Number of labels for this key.
    """

    members: list[ShownMember]
    stored: int
    bytes: int
    labels: int


def windows_of(feature_set: FeatureSet, entity: str) -> EntityWindows:
    """The windows of an entity. Raises ConfigurationError if there are none."""
    entities = feature_set.bindings.entities
    if entity not in entities:
        raise ConfigurationError(unknown("entity", entity, entities))
    for windows in feature_set.histories.entities:
        if windows.entity == entity:
            return windows
    raise ConfigurationError(f"entity {entity} has no windows, and so no histories")


def key_text(feature_set: FeatureSet, entity: str, given: Sequence[str]) -> str:
    """The text of a key that is given as this text, or by its parts; an empty part has no text.

    Parts are real values; where they have tokens, a single one may also be a token.

    Raises:
        ConfigurationError: The text or the parts are not those of a key of the entity.
    """
    key = feature_set.bindings.entities[entity]
    fields = ", ".join(key.paths)
    if len(given) not in {1, len(key.parts)}:
        raise ConfigurationError(
            f"the key of {entity} is made of {fields}: give {len(key.parts)} values for it, not "
            f"{len(given)}"
        )
    texts = [pa.array([part], pa.string()) for part in given]
    if key.is_made and len(given) == 1 and key.are_keys(texts[0]).all():
        return given[0]
    if len(given) == len(key.parts):
        tokens = [part.tokens for part in key.parts]
        made = zip(texts, tokens, strict=True)
        joined, _ = key.join([one if of is None else of.tokens(one) for one, of in made])
        if not key.is_made or key.are_keys(joined).all():
            return str(joined[0].as_py())
    # The values may be secret.
    raise ConfigurationError(
        f"this is not a key of {entity}: give the values of {fields}, or {key.form} (see Entities "
        "in docs/reference/features.md)"
    )


def column_names(feature_set: FeatureSet) -> dict[str, str]:
    """Names in features.yaml for the values that members keep, by ``StoredColumn.key``."""
    names: dict[str, str] = {}
    for feature in feature_set.features:
        spec, window = feature.spec, feature.window
        if window is not None and window.value is not None and spec.of is not None:
            names.setdefault(window.value.key, spec.of)
        if window is not None and window.where is not None and spec.where is not None:
            names.setdefault(window.where.key, " ".join(spec.where.split()))
        if window is not None and window.same is not None and spec.same is not None:
            names.setdefault(window.same.key, spec.same)
    return names


def read_history(
    windows: EntityWindows, key: str, store: OnlineStore, namespace: Namespace
) -> ShownHistory:
    """Read the history of one entity key from the store.

    Raises:
        DependencyUnavailableError: The store does not answer.
        ConfigurationError: The store holds a value that is not a history.
    """
    request = [
        namespace.history_prefix(windows.entity, windows.layout.digest) + key.encode(),
        namespace.label_prefix(windows.entity) + key.encode(),
    ]
    history, labels = store.read(request)
    members = read_members(history, windows.layout.dtype, "a history")
    order = np.lexsort((members["offset"], members["partition"], members["time"]))
    known = _labels(read_members(labels, LABEL, "labels"))
    shown: dict[tuple[int, int], ShownMember] = {}
    for member in members[order]:
        place = int(member["partition"]), int(member["offset"])
        shown[place] = ShownMember(
            *place,
            int(member["time"]),
            f"{int(member['event_id']):016x}",
            {column.key: _value(column, member[column.key]) for column in windows.layout.columns},
            tuple(known.get(int(member["event_id"]), ())),
        )
    count = sum(map(len, known.values()))
    return ShownHistory(list(shown.values()), len(members), len(history or b""), count)


def _labels(labels: Members) -> dict[int, list[ShownLabel]]:
    """Labels by hash of the event id; the one that counts is last."""
    by_event: dict[int, list[ShownLabel]] = {}
    for label in labels[
        np.lexsort((labels["fraud"], labels["offset"], labels["partition"], labels["label_time"]))
    ]:
        shown = ShownLabel(
            bool(label["fraud"]),
            int(label["label_time"]),
            int(label["partition"]),
            int(label["offset"]),
        )
        by_event.setdefault(int(label["event_id"]), []).append(shown)
    return by_event


def _value(column: StoredColumn, value: Any) -> float | bool | str | None:
    if column.kind is StoredKind.CONDITION:
        return bool(value)
    if value == MISSING:
        return None
    if column.kind is StoredKind.HASH:
        return f"{int(value) & 2**64 - 1:016x}"
    return int(value) if column.scale == 0 else float(value / 10.0**column.scale)
