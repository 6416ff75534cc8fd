"""The feature set: features.yaml, checked against the reader schema and compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from features import bind
from features.definition.binding import Bindings, resolve_bindings
from features.definition.document import Document
from features.definition.feature import Feature, FeatureCompiler
from features.definition.fields import SchemaFields
from features.definition.fingerprint import set_fingerprint
from features.definition.spec import FeaturesFile
from features.frame import Frame
from features.lookup import STATES, Lookup, flag_names, read_lookups
from features.matrix import Enriched, assemble
from features.store.protocol import OnlineStore
from features.suggest import unknown
from schemas.batch import Decoded, EventBatch, Records
from schemas.errors import ConfigurationError, RecordError

_FLAG_BITS = 32


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSet:
    """What a features.yaml says, ready to be computed.

    paths: the fields that decoding must give, of bindings and features (not the label's, which
        only files carry). flag_names: the meaning of bit i of ``Enriched.flags``.
    irreproducible: indexes of the columns that the log alone cannot give back.
    """

    name: str
    fingerprint: str
    features: tuple[Feature, ...]
    bindings: Bindings
    lookups: Mapping[str, Lookup]
    aliases: Mapping[str, str]
    schema_path: Path
    reader_schema: dict[str, Any]
    paths: frozenset[str]
    names: tuple[str, ...]
    flag_names: tuple[str, ...]
    irreproducible: tuple[int, ...]

    def bind(self, records: Records, decoded: Decoded) -> tuple[EventBatch, dict[int, RecordError]]:
        """The events among N records, in order, and the errors of the others by row.

        Raises ConfigurationError where a column is of a kind that no binding reads.
        """
        return bind.bind(self.bindings, records, decoded)

    def enrich(self, batch: EventBatch, store: OnlineStore) -> Enriched:
        """The matrix of N events: a function of the batch and of what the store holds.

        A row's values are the same bits alone and in any batch. Raises
        DependencyUnavailableError.
        """
        looked_up = read_lookups(tuple(self.lookups.values()), batch, store)
        frame = Frame(batch, looked_up.values)
        # Division by zero, overflow and the like have a meaning here: missing.
        with np.errstate(all="ignore"):
            for feature in self.features:
                frame.features[feature.name] = feature.compute(frame)
            matrix = assemble(len(batch), list(frame.features.values()))
        return Enriched(matrix, looked_up.flags)


def load_feature_set(path: Path) -> FeatureSet:
    """The feature set of the features.yaml at ``path``.

    Raises ConfigurationError with file, line, column and remedy for all that does not hold.
    """
    document = Document.read(path)
    file = document.validate(FeaturesFile)
    schema_path = (path.parent / file.events.schema_).resolve()
    try:
        fields = SchemaFields.read(schema_path)
    except ConfigurationError as error:
        raise document.refuse(("events", "schema"), str(error)) from error
    bindings = resolve_bindings(document, file, fields)
    lookups = _lookups(document, file)
    compiler = FeatureCompiler(document, fields, bindings, lookups)
    features = compiler.compile(file.features)
    return FeatureSet(
        name=file.name,
        fingerprint=set_fingerprint((feature.name, feature.fingerprint) for feature in features),
        features=features,
        bindings=bindings,
        lookups=lookups,
        aliases=file.events.aliases,
        schema_path=schema_path,
        reader_schema=fields.schema,
        paths=bindings.paths().union(*(feature.paths for feature in features)),
        names=tuple(feature.name for feature in features),
        flag_names=flag_names(tuple(lookups.values())),
        irreproducible=tuple(i for i, feature in enumerate(features) if feature.irreproducible),
    )


def _lookups(document: Document, file: FeaturesFile) -> dict[str, Lookup]:
    most = _FLAG_BITS // len(STATES)
    if len(file.lookups) > most:
        raise document.refuse(("lookups",), f"more than {most} lookups: merge some")
    for name, spec in file.lookups.items():
        if spec.by not in file.entities:
            where = ("lookups", name, "by")
            raise document.refuse(where, unknown("entity", spec.by, file.entities))
    return {
        name: Lookup(
            name=name,
            feature_set=file.name,
            entity=spec.by,
            names=tuple(spec.values),
            defaults=tuple(value.default for value in spec.values.values()),
            max_age=spec.max_age,
        )
        for name, spec in file.lookups.items()
    }
