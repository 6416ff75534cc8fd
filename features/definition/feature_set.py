"""The feature set: features.yaml, checked against the reader schema and compiled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from base.errors import ConfigurationError, RecordError
from base.suggest import unknown
from base.yaml_document import Location, YamlDocument
from features.compute import bind
from features.compute.condition import Condition, compile_condition
from features.compute.enrich import Enriching, compute
from features.compute.frame import Frame
from features.compute.matrix import Enriched
from features.definition.event_fields import Bindings, FieldBinding, resolve_bindings
from features.definition.feature import Feature, FeatureCompiler
from features.definition.fields import SchemaFields
from features.definition.fingerprint import set_fingerprint
from features.definition.spec import FeaturesFile, LookupSpec
from features.expression.functions import Term
from features.history.labels import LabelBatch, label_appends
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.lookups.lookup import Lookup, flag_names
from features.store.feast import FeastView, KeyType
from features.store.protocol import OnlineStore
from features.windows.plan import WindowPlan
from features.windows.portions import Each
from features.windows.trace import Traced, trace
from features.windows.window import HistoryRules, Window
from schemas.batch import Decoded, EventBatch, Kind, Records

_FLAG_BITS = 64
_EMPTY_LOG = LogState()


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSet:
    """What a features.yaml says, ready to be computed.

    paths: the fields that decoding must give, of bindings and features (not the label's, which
        only files carry). flag_names: the meaning of bit i of ``Enriched.flags``.
    hooks: the python features, each with a flag of its own behind all others.
    irreproducible: indexes of the columns that the log alone cannot give back. fields: of the
        schema, as expressions see them.
    accept_empty: entities whose histories may begin empty under a model that uses them.
    """

    name: str
    fingerprint: str
    features: tuple[Feature, ...]
    bindings: Bindings
    bounded: bind.Bounded
    lookups: Mapping[str, Lookup]
    histories: WindowPlan
    aliases: Mapping[str, str]
    schema_path: Path
    reader_schema: dict[str, Any]
    paths: frozenset[str]
    names: tuple[str, ...]
    flag_names: tuple[str, ...]
    hooks: tuple[str, ...]
    irreproducible: tuple[int, ...]
    fields: Mapping[str, Term]
    accept_empty: frozenset[str]

    @property
    def windows(self) -> tuple[Window, ...]:
        return self.histories.windows

    @property
    def horizons(self) -> Mapping[str, int]:
        return self.histories.horizons

    @property
    def allowed_lateness(self) -> int:
        return self.histories.rules.allowed_lateness

    @property
    def has_histories(self) -> bool:
        return bool(self.histories.windows)

    def bind(self, records: Records, decoded: Decoded) -> tuple[EventBatch, dict[int, RecordError]]:
        """The events among N records, in order, and the errors of the others by row.

        Raises ConfigurationError where a column is of a kind that no binding reads.
        """
        return bind.bind(self.bindings, records, decoded, self.bounded)

    def begin(
        self, batch: EventBatch, log: LogState = _EMPTY_LOG, namespace: Namespace | None = None
    ) -> Enriching:
        """The first step of ``enrich``, for who has something to do before the next."""
        return Enriching(self, batch, log, namespace or Namespace.local(self.name))

    def enrich(
        self,
        batch: EventBatch,
        store: OnlineStore,
        log: LogState = _EMPTY_LOG,
        namespace: Namespace | None = None,
        each: Each = map,
    ) -> Enriched:
        """The matrix of N events: a function of the batch, the log before it and the store.

        A row's values are the same bits alone and in any batch. namespace: of the histories; that of
        a store of this run alone by default. each: ``map``, or that of a pool of threads. Reads the store only: what it has to take before the
        next batch is in ``writes``. Raises DependencyUnavailableError, and ConfigurationError where
        the store holds something else than histories.
        """
        return self.begin(batch, log, namespace).read(store, each).finish()

    def trace(
        self,
        feature: str,
        row: int,
        batch: EventBatch,
        stored: tuple[OnlineStore, LogState, Namespace],
    ) -> Traced:
        """What the window feature counts for the event at ``row``. Raises as ``enrich``.

        stored: the store, the state of the log before the batch, and the namespace.
        """
        frame = Frame(batch, stored[2].key)
        with np.errstate(all="ignore"):
            compute(self.features, frame, of_event=True)
        window = next(window for window in self.windows if window.name == feature)
        return trace(self.histories, window, row, batch, frame, stored)

    def flags_of(self, mask: int) -> list[str]:
        """The flags of an event, by their bits."""
        return [name for bit, name in enumerate(self.flag_names) if mask >> bit & 1]

    def label_appends(
        self, labels: LabelBatch, namespace: Namespace | None = None
    ) -> list[tuple[bytes, bytes]]:
        """What the online store has to append so that windows know of N labels."""
        where = namespace or Namespace.local(self.name)
        return label_appends(
            labels,
            where.key,
            {e.entity: where.label_prefix(e.entity) for e in self.histories.entities if e.labelled},
        )

    def entities_of(self, features: Iterable[str]) -> frozenset[str]:
        """The entities whose histories the named features need; others than its own need none."""
        named = set(features)
        used = (feature.entities for feature in self.features if feature.name in named)
        return frozenset().union(*used)

    def condition(self, source: str) -> Condition:
        """``source`` as a condition on fields and features. Raises ExpressionError."""
        return compile_condition(source, self.fields, {f.name: f.term for f in self.features})


def load_feature_set(path: Path) -> FeatureSet:
    """The feature set of the features.yaml at ``path``.

    Raises ConfigurationError with file, line, column and remedy for all that does not hold.
    """
    document = YamlDocument.read(path)
    file = document.validate(FeaturesFile)
    schema_path = (path.parent / file.events.schema_).resolve()
    try:
        fields = SchemaFields.read(schema_path)
    except ConfigurationError as error:
        raise document.refuse(("events", "schema"), str(error)) from error
    bindings = resolve_bindings(document, file, fields)
    lookups = _lookups(document, file, bindings)
    history = file.history
    rules = HistoryRules(
        history.allowed_lateness,
        history.duplicates,
        history.cap,
        history.watermark_support,
        history.max_ahead,
    )
    compiler = FeatureCompiler(document, fields, bindings, lookups, rules)
    features = compiler.compile(file.features)
    plan = WindowPlan(compiler.windows, rules)
    hooks = tuple(spec.name for spec in file.features if spec.python is not None)
    flags = _flags(document, lookups, plan, hooks)
    _check_accepted(document, file, plan)
    return FeatureSet(
        name=file.name,
        fingerprint=set_fingerprint((feature.name, feature.fingerprint) for feature in features),
        features=features,
        bindings=bindings,
        bounded=bind.Bounded(compiler.bounded, rules.largest_value),
        lookups=lookups,
        histories=plan,
        aliases=file.events.aliases,
        schema_path=schema_path,
        reader_schema=fields.schema,
        paths=bindings.paths().union(*(feature.paths for feature in features)),
        names=tuple(feature.name for feature in features),
        flag_names=flags,
        hooks=hooks,
        irreproducible=tuple(i for i, feature in enumerate(features) if feature.irreproducible),
        fields=compiler.leaves,
        accept_empty=frozenset(history.accept_empty),
    )


def _flags(
    document: YamlDocument, lookups: Mapping[str, Lookup], plan: WindowPlan, hooks: tuple[str, ...]
) -> tuple[str, ...]:
    found = (
        *flag_names(tuple(lookups.values())),
        *plan.flag_names,
        *(f"python_failed:{name}" for name in hooks),
    )
    if len(found) > _FLAG_BITS:
        where: Location = ("lookups",) if lookups else ("features",)
        raise document.refuse(
            where,
            f"lookups, windows and python features have {len(found)} flags, {_FLAG_BITS} at most: "
            "merge some lookups, or functions",
        )
    return found


def _check_accepted(document: YamlDocument, file: FeaturesFile, plan: WindowPlan) -> None:
    """Raises ConfigurationError for an accepted entity that has no windows."""
    for place, entity in enumerate(file.history.accept_empty):
        if entity not in plan.horizons:
            where: Location = ("history", "accept_empty", place)
            raise document.refuse(where, unknown("entity with windows", entity, plan.horizons))


def _lookups(document: YamlDocument, file: FeaturesFile, bindings: Bindings) -> dict[str, Lookup]:
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
            feast=_feast_view(spec, bindings.entities[spec.by]),
        )
        for name, spec in file.lookups.items()
    }


def _feast_view(spec: LookupSpec, key: FieldBinding) -> FeastView | None:
    if spec.feast is None:
        return None
    feast = spec.feast
    own = "int64" if key.kind is Kind.LONG else "string"
    return FeastView(
        project=feast.project,
        feature_view=feast.feature_view,
        join_key=feast.join_key,
        key_type=KeyType[(feast.key_type or own).upper()],
    )
