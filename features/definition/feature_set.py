"""The feature set: features.yaml, checked against the reader schema and compiled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base.errors import ConfigurationError
from base.suggest import unknown
from base.yaml_document import Location, YamlDocument
from features.definition.bindings import Bindings, EntityBinding, ValueBounds
from features.definition.event_fields import SchemaFields, resolve_bindings
from features.definition.feature import Feature, programs, set_fingerprint
from features.definition.feature_compiler import FeatureCompiler
from features.definition.spec import FeaturesFile, LookupSpec
from features.expression import ExpressionProgram
from features.expression.functions import Term
from features.lookups.lookup import Lookup, Vector
from features.store.feast import FeastView, KeyType
from features.values.flags import FAILED, MAX_FLAGS, Flags
from features.windows.plan import WindowPlan
from features.windows.window import HistoryRules
from schemas.batch import Kind


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSet:
    """A compiled features.yaml.

    Attributes:
        name: Name of the feature set.
        fingerprint: Fingerprint of the names and definitions of its features.
        features: Features, in the order of the matrix.
        of_event: Computation of the features of the event alone.
        of_store: Computation of the other features, which depend on lookups or windows; without the
            elements of vectors that no expression uses.
        bindings: Bindings of the event fields.
        bounds: Bound on the values of the fields that windows keep.
        lookups: Lookups by name.
        histories: Windows by entity.
        aliases: Aliases of fields, by path.
        schema_path: Path of the reader schema.
        reader_schema: The reader schema.
        paths: Fields that decoding must return, for bindings and features (without the label, which
            only files have).
        names: Names of the features.
        places: Column of the matrix by entry of features.yaml, or slice of columns of a vector.
        vectors: Name of the looked-up vector ("lookup.value"), by entry.
        flags: Flags of events.
        hooks: Python features; each has a flag of its own, after all other flags.
        irreproducible: Indexes of the columns that cannot be computed again from the log alone.
        fields: Terms of the fields of the schema.
    """

    name: str
    fingerprint: str
    features: tuple[Feature, ...]
    of_event: tuple[ExpressionProgram, ...]
    of_store: tuple[ExpressionProgram, ...]
    bindings: Bindings
    bounds: ValueBounds
    lookups: Mapping[str, Lookup]
    histories: WindowPlan
    aliases: Mapping[str, str]
    schema_path: Path
    reader_schema: dict[str, Any]
    paths: frozenset[str]
    names: tuple[str, ...]
    places: Mapping[str, int | slice]
    vectors: Mapping[str, str]
    flags: Flags
    hooks: tuple[str, ...]
    irreproducible: tuple[int, ...]
    fields: Mapping[str, Term]

    @property
    def labelled_entities(self) -> tuple[str, ...]:
        """The entities with windows that count frauds; labels are stored by their keys."""
        return tuple(plan.entity for plan in self.histories.entities if plan.labelled)

    @property
    def label_sets(self) -> dict[str, str]:
        """Name of the labels of each of these entities; another one if keys are made otherwise."""
        names = {}
        for plan in self.histories.entities:
            key = self.bindings.entities[plan.entity]
            if plan.labelled:
                made = json.dumps([key.canonical(), self.bindings.tokens_of])
                digest = hashlib.sha256(made.encode()).hexdigest()[:16]
                names[plan.entity] = f"{plan.entity}:{digest}" if key.is_made else plan.entity
        return names


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
    fields.read_as_text(bindings.tokens)
    lookups = _lookups(document, file, bindings)
    history = file.history
    rules = HistoryRules(
        history.allowed_lateness,
        history.duplicates,
        history.cap,
        history.watermark_support,
        history.max_ahead,
        arrival=history.arrival is not None,
    )
    compiler = FeatureCompiler(document, fields, bindings, lookups, rules)
    features = compiler.compile(file.features)
    windows = [feature.window for feature in features if feature.window]
    plan = WindowPlan(windows, rules, bindings.origins())
    if rules.arrival and plan.aligned_delay is None:
        raise document.refuse(
            ("history", "arrival"),
            "history.arrival: no window is aligned, so it decides nothing; remove it",
        )
    hooks = tuple(feature.name for feature in features if feature.spec.python is not None)
    flags = _flags(document, lookups, plan, hooks)
    return FeatureSet(
        name=file.name,
        fingerprint=set_fingerprint(features),
        features=features,
        of_event=programs(feature for feature in features if feature.of_event),
        of_store=programs(
            feature
            for feature in features
            if not feature.of_event and (feature.element is None or feature.name in compiler.used)
        ),
        bindings=bindings,
        bounds=ValueBounds(compiler.bounded, rules.largest_value),
        lookups=lookups,
        histories=plan,
        aliases=file.events.aliases,
        schema_path=schema_path,
        reader_schema=fields.schema,
        paths=bindings.paths().union(*(feature.paths for feature in features)),
        names=tuple(feature.name for feature in features),
        places=_places(features),
        vectors={
            feature.spec.name: str(feature.spec.lookup)
            for feature in features
            if feature.element is not None
        },
        flags=flags,
        hooks=hooks,
        irreproducible=tuple(i for i, feature in enumerate(features) if feature.irreproducible),
        fields=compiler.leaves,
    )


def _places(features: tuple[Feature, ...]) -> dict[str, int | slice]:
    places: dict[str, int | slice] = {}
    for column, feature in enumerate(features):
        if feature.element is None:
            places[feature.name] = column
        else:
            places[feature.spec.name] = slice(column - feature.element, column + 1)
    return places


def _flags(
    document: YamlDocument, lookups: Mapping[str, Lookup], plan: WindowPlan, hooks: tuple[str, ...]
) -> Flags:
    names = (
        *(flag for lookup in lookups.values() for flag in lookup.flags),
        *plan.flags,
        *(f"{FAILED}:{name}" for name in hooks),
    )
    if len(names) > MAX_FLAGS:
        where: Location = ("lookups",) if lookups else ("features",)
        raise document.refuse(
            where,
            f"lookups, windows and python features have {len(names)} flags, {MAX_FLAGS} at most: "
            "merge some lookups, or functions",
        )
    return Flags(names)


def _lookups(document: YamlDocument, file: FeaturesFile, bindings: Bindings) -> dict[str, Lookup]:
    for name, spec in file.lookups.items():
        if spec.by not in file.entities:
            where = ("lookups", name, "by")
            raise document.refuse(where, unknown("entity", spec.by, file.entities))
    return {
        name: _lookup(document, file, name, bindings.entities[spec.by])
        for name, spec in file.lookups.items()
    }


def _lookup(document: YamlDocument, file: FeaturesFile, name: str, key: EntityBinding) -> Lookup:
    spec = file.lookups[name]
    numbers = {k: value for k, value in spec.values.items() if value.vector is None}
    return Lookup(
        name=name,
        feature_set=file.name,
        entity=spec.by,
        names=tuple(numbers),
        defaults=tuple(value.default for value in numbers.values()),
        max_age=spec.max_age,
        vectors=tuple(
            Vector(k, value.vector, value.dtype or "float32", value.default)
            for k, value in spec.values.items()
            if value.vector is not None
        ),
        feast=_feast_view(document, name, spec, key),
        parts=key.paths if key.is_composite else (),
    )


def _feast_view(
    document: YamlDocument, name: str, spec: LookupSpec, key: EntityBinding
) -> FeastView | None:
    if spec.feast is None:
        return None
    feast, parts = spec.feast, len(key.parts)
    own = [
        "int64" if part.field.kind is Kind.LONG and part.tokens is None else "string"
        for part in key.parts
    ]
    for given, what in ((feast.join_key, "join_key"), (feast.key_type or own, "key_type")):
        if len(given) != parts:
            raise document.refuse(
                ("lookups", name, "feast", what),
                f"{what} has {len(given)} entries, and the key of {spec.by} has {parts} "
                f"({', '.join(key.paths)}): give as many, in this order",
            )
    for part, kind in zip(key.parts, feast.key_type or own, strict=True):
        if part.tokens is not None and kind != "string":
            raise document.refuse(
                ("lookups", name, "feast", "key_type"),
                f"{part.field.path} has a token, which is text: write the view by tokens, and "
                "remove key_type",
            )
    if len(set(feast.join_key)) < parts:
        raise document.refuse(
            ("lookups", name, "feast", "join_key"), "a join key appears twice: keep one"
        )
    return FeastView(
        project=feast.project,
        feature_view=feast.feature_view,
        join_keys=tuple(feast.join_key),
        key_types=tuple(KeyType[kind.upper()] for kind in feast.key_type or own),
    )
