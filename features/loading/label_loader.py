"""Load labels into an online store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from features.definition import FeatureSet
from features.history.labels import LABEL, label_appends
from features.history.namespace import Namespace
from features.loading.label_rows import LabelRows, whole_labels
from features.store.protocol import OnlineStore
from schemas.batch import Refusal, refusals

_SHOWN = 5


@dataclass(slots=True)
class LoadedLabels:
    """Counts of a load.

    Attributes:
        labels: Number of valid labels in the source.
        frauds: Number of valid labels that say fraud.
        added: Number of labels added, counted for each key.
        refused: Number of refused rows.
        examples: The first refused rows.
    """

    labels: int = 0
    frauds: int = 0
    added: int = 0
    refused: int = 0
    examples: list[Refusal] = field(default_factory=list)

    def refuse(self, refusals: list[Refusal]) -> None:
        self.refused += len(refusals)
        self.examples += refusals[: _SHOWN - len(self.examples)]


class LabelLoader:
    """Loader of labels; a label that the store already has at the same position is not added again.

    ``expire_ms`` is the time in milliseconds from the last write of a key's labels until they
    expire; None for never.
    """

    def __init__(
        self,
        feature_set: FeatureSet,
        store: OnlineStore,
        namespace: Namespace,
        expire_ms: int | None,
    ) -> None:
        self.loaded = LoadedLabels()
        self._feature_set = feature_set
        self._store = store
        self._namespace = namespace
        self._expire_ms = expire_ms

    def load(self, rows: LabelRows, refused: Iterable[Refusal], source: str) -> None:
        """Add labels to the store.

        Raises:
            DependencyUnavailableError: The store does not answer; the load can be repeated from its
                start.
        """
        whole = whole_labels(self._feature_set, rows)
        incomplete = refusals(whole.errors, lambda row: f"{source}, {_place(rows, row)}")
        self.loaded.refuse([*refused, *incomplete])
        self.loaded.labels += len(rows) - len(whole.errors)
        self.loaded.frauds += int(whole.labels.fraud.sum())
        entities = self._feature_set.labelled_entities
        new = new_labels(self._store, label_appends(whole.labels, entities, self._namespace))
        self.loaded.added += sum(len(added) for _, added in new) // LABEL.itemsize
        self._store.append(new, (), self._expire_ms)


def new_labels(
    store: OnlineStore, appends: Sequence[tuple[bytes, bytes]]
) -> list[tuple[bytes, bytes]]:
    """The part of ``appends`` that the store does not have; a key without new labels is left out.

    Raises:
        DependencyUnavailableError: The store does not answer.
    """
    stored = store.read([key for key, _ in appends])
    return [
        (key, added)
        for (key, labels), value in zip(appends, stored, strict=True)
        if (added := _not_stored(labels, value))
    ]


def _not_stored(labels: bytes, stored: bytes | None) -> bytes:
    if not stored:
        return labels
    size = LABEL.itemsize
    known = {stored[i : i + size] for i in range(0, len(stored), size)}
    each = (labels[i : i + size] for i in range(0, len(labels), size))
    return b"".join(label for label in each if label not in known)


def _place(rows: LabelRows, row: int) -> str:
    partition, offset = int(rows.partitions[row]), int(rows.offsets[row])
    return f"row {offset}" if partition < 0 else f"partition {partition}, offset {offset}"
