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
from features.compute.enrich import FAILED, Enriching, compute
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
from features.lookups.lookup import Lookup
from features.store.feast import FeastView, KeyType
from features.store.protocol import OnlineStore
from features.values.flags import MOST_FLAGS, Flags
from features.windows.plan import WindowPlan
from features.windows.portions import Each
from features.windows.trace import Traced, trace
from features.windows.window import HistoryRules, Window
from schemas.batch import Decoded, EventBatch, Kind, Records

_EMPTY_LOG = LogState()


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSet:
    """A compiled features.yaml.

    Attributes:
        name: Name of the feature set.
        fingerprint: Fingerprint of the names and definitions of its features.
        features: Features, in the order of the matrix.
        bindings: Bindings of the event fields.
        bounded: Fields whose values windows keep, and the bound on these values.
        lookups: Lookups by name.
        histories: Windows by entity.
        aliases: Aliases of fields, by path.
        schema_path: Path of the reader schema.
        reader_schema: The reader schema.
        paths: Fields that decoding must return, for bindings and features (without the label, which
            only files have).
        names: Names of the features.
        flags: Flags of events.
        hooks: Python features; each has a flag of its own, after all other flags.
        irreproducible: Indexes of the columns that cannot be computed again from the log alone.
        fields: Terms of the fields of the schema.
        accept_empty: Entities whose histories may begin empty under a model that uses them.
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
    flags: Flags
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
        """Bind the decoded columns of N records to events.

        Args:
            records: N input records.
            decoded: Their decoded columns and decoding errors.

        Returns:
            The valid events in order, and the error of each invalid row.

        Raises:
            ConfigurationError: A column has a kind that no binding reads.
        """
        return bind.bind(self.bindings, records, decoded, self.bounded)

    def begin(
        self, batch: EventBatch, log: LogState = _EMPTY_LOG, namespace: Namespace | None = None
    ) -> Enriching:
        """First step of ``enrich``, for callers that do other work before the next step."""
        return Enriching(self, batch, log, namespace or Namespace.local(self.name))

    def enrich(
        self,
        batch: EventBatch,
        store: OnlineStore,
        log: LogState = _EMPTY_LOG,
        namespace: Namespace | None = None,
        each: Each = map,
    ) -> Enriched:
        """Compute the matrix of N events, a function of the batch, the log before it and the store.

        The values of a row have the same bits alone and in any batch. The store is only read; the
        writes that it needs before the next batch are in ``writes`` of the result.

        Args:
            batch: N events.
            store: The online store.
            log: State of the log before the batch.
            namespace: Namespace of the histories; by default that of a store for this run alone.
            each: ``map``, or the ``map`` of a thread pool.

        Returns:
            The features of the events.

        Raises:
            DependencyUnavailableError: The store does not answer.
            ConfigurationError: The store holds a value that is not a history.
        """
        return self.begin(batch, log, namespace).read(store, each).finish()

    def trace(
        self,
        feature: str,
        row: int,
        batch: EventBatch,
        stored: tuple[OnlineStore, LogState, Namespace],
    ) -> Traced:
        """List the members that the window feature counts for the event at ``row``.

        Args:
            feature: Name of the window feature.
            row: Row of the event in the batch.
            batch: N events.
            stored: The store, the state of the log before the batch, and the namespace.

        Raises:
            DependencyUnavailableError: The store does not answer.
            ConfigurationError: The store holds a value that is not a history.
        """
        frame = Frame(batch, stored[2].key)
        with np.errstate(all="ignore"):
            compute(self.features, frame, of_event=True)
        window = next(window for window in self.windows if window.name == feature)
        return trace(self.histories, window, row, batch, frame, stored)

    def label_appends(
        self, labels: LabelBatch, namespace: Namespace | None = None
    ) -> list[tuple[bytes, bytes]]:
        """Appends to the online store that make N labels known to windows."""
        where = namespace or Namespace.local(self.name)
        return label_appends(
            labels,
            where.key,
            {e.entity: where.label_prefix(e.entity) for e in self.histories.entities if e.labelled},
        )

    def entities_of(self, features: Iterable[str]) -> frozenset[str]:
        """The entities whose histories the named features need; unknown names need none."""
        named = set(features)
        used = (feature.entities for feature in self.features if feature.name in named)
        return frozenset().union(*used)

    def condition(self, source: str) -> Condition:
        """Compile ``source`` to a condition on fields and features. Raises ExpressionError."""
        return compile_condition(source, self.fields, {f.name: f.term for f in self.features})


def load_feature_set(path: Path) -> FeatureSet:
    """Load the features.yaml at ``path``.

    Raises:
        ConfigurationError: The file is invalid; gives file, line, column and remedy of each error.
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
        flags=flags,
        hooks=hooks,
        irreproducible=tuple(i for i, feature in enumerate(features) if feature.irreproducible),
        fields=compiler.leaves,
        accept_empty=frozenset(history.accept_empty),
    )


def _flags(
    document: YamlDocument, lookups: Mapping[str, Lookup], plan: WindowPlan, hooks: tuple[str, ...]
) -> Flags:
    names = (
        *(flag for lookup in lookups.values() for flag in lookup.flags),
        *plan.flags,
        *(f"{FAILED}:{name}" for name in hooks),
    )
    if len(names) > MOST_FLAGS:
        where: Location = ("lookups",) if lookups else ("features",)
        raise document.refuse(
            where,
            f"lookups, windows and python features have {len(names)} flags, {MOST_FLAGS} at most: "
            "merge some lookups, or functions",
        )
    return Flags(names)


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
