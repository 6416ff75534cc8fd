"""Labels of events, stored beside the histories of their entities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from base.arrays import Longs, Mask
from features.history.layout import cut
from features.history.namespace import Namespace
from features.values.grouping import grouped, order_of
from features.values.hash64 import hash_ids

LABEL = np.dtype(
    [
        ("partition", "<i4"),
        ("offset", "<i8"),
        ("time", "<i8"),
        ("event_id", "<u8"),
        ("label_time", "<i8"),
        ("fraud", "?"),
    ]
)
"""Dtype of one label in the store; ``time`` is the event time of its event."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelBatch:
    """N labels, each identified by its own position in the labels topic or file.

    Attributes:
        event_id: StringArray[N].
        event_time: int64[N], microseconds since 1970-01-01 UTC.
        entity_keys: StringArray[N] by entity.
        fraud: bool[N].
        label_time: int64[N], microseconds since 1970-01-01 UTC.
        partitions: int32[N].
        offsets: int64[N].
    """

    event_id: pa.StringArray
    event_time: Longs
    entity_keys: Mapping[str, pa.StringArray]
    fraud: Mask
    label_time: Longs
    partitions: npt.NDArray[np.int32]
    offsets: Longs

    def __len__(self) -> int:
        return len(self.event_time)


def label_appends(
    labels: LabelBatch, entities: Iterable[str], namespace: Namespace
) -> list[tuple[bytes, bytes]]:
    """Appends to an online store that make N labels known to windows.

    Args:
        labels: N labels.
        entities: Entities with windows that count frauds.
        namespace: Namespace of the labels.

    Returns:
        Pairs of a key and the bytes to append.
    """
    packed = np.empty(len(labels), LABEL)
    packed["partition"] = labels.partitions
    packed["offset"] = labels.offsets
    packed["time"] = labels.event_time
    packed["event_id"] = hash_ids(labels.event_id, namespace.key)
    packed["label_time"] = labels.label_time
    packed["fraud"] = labels.fraud
    appends: list[tuple[bytes, bytes]] = []
    for entity in entities:
        prefix = namespace.label_prefix(entity)
        keys, codes = grouped(labels.entity_keys[entity])
        rows = order_of(codes, len(keys))
        appends += appended(keys.behind(prefix).to_list(), codes[rows], packed.take(rows))
    return appends


def appended(
    keys: Sequence[bytes], codes: Longs, members: npt.NDArray[np.void]
) -> list[tuple[bytes, bytes]]:
    """Each key that has members, with their bytes.

    Args:
        keys: Keys in the store.
        codes: int64[N], non-decreasing, the index in ``keys`` of each member.
        members: N members.
    """
    runs = cut(members, np.bincount(codes, minlength=len(keys)))
    return [(key, run) for key, run in zip(keys, runs, strict=True) if run]
