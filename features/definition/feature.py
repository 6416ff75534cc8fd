"""Features: compile each entry of ``features:`` to a function that computes its column."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from base.errors import ConfigurationError
from base.suggest import unknown
from base.yaml_document import Location, YamlDocument
from features.compute.frame import Floats, Frame
from features.definition.category import category_codes
from features.definition.event_fields import Bindings, path_type
from features.definition.fields import SchemaFields
from features.definition.fingerprint import canonical_number, fingerprint
from features.definition.python_feature import PythonCompiler
from features.definition.spec import CategorySpec, FeatureSpec
from features.definition.window_feature import WindowCompiler
from features.expression import Expression, ExpressionError, compile_expression
from features.expression.functions import Sort, Term
from features.lookups.lookup import Lookup
from features.windows.window import Across, HistoryRules, Window
from schemas.batch import Kind


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the matrix.

    Attributes:
        name: Name of the feature.
        fingerprint: Fingerprint of its definition.
        compute: Function from a frame to float64[N] (0-d for a constant), NaN where missing.
        term: Term of the feature in later expressions.
        paths: Fields that it reads, directly or through other features.
        of_event: True if it reads the event alone, without lookups and windows.
        irreproducible: True if it needs a lookup or a best-effort window, whose values cannot be
            computed again from the log alone.
        entities: Entities whose histories it needs, directly or through other features.
    """

    name: str
    fingerprint: str
    compute: Callable[[Frame], Floats]
    term: Term
    paths: frozenset[str]
    of_event: bool
    irreproducible: bool
    entities: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Part:
    """Result of compiling one kind of feature; fields as in ``Feature``."""

    definition: Any
    compute: Callable[[Frame], Floats]
    paths: frozenset[str] = frozenset()
    sort: Sort = Sort.NUMBER
    of_event: bool = True
    irreproducible: bool = False
    entities: frozenset[str] = frozenset()


class FeatureCompiler:
    """Compiler of features, in their order; an expression may use the features before it.

    Attributes:
        windows: Windows of the features compiled so far.
        bounded: Fields whose values windows keep, with the decimal digits of a field that has no
            scale of its own.
        leaves: Terms of the fields.
    """

    def __init__(
        self,
        document: YamlDocument,
        fields: SchemaFields,
        bindings: Bindings,
        lookups: Mapping[str, Lookup],
        rules: HistoryRules,
    ) -> None:
        self._document = document
        self._fields = fields
        self._bindings = bindings
        self._lookups = lookups
        self._features: dict[str, Feature] = {}
        self.leaves = {path: self._leaf(path) for path in fields.known}
        self._compiler = WindowCompiler(document, fields, bindings, rules, self.leaves)
        self._python_compiler = PythonCompiler(document)
        self.windows: list[Window] = []

    @property
    def bounded(self) -> Mapping[str, int | None]:
        return self._compiler.bounded

    def compile(self, specs: list[FeatureSpec]) -> tuple[Feature, ...]:
        """Compile the features; ConfigurationError lists every invalid entry with its place."""
        refusals: list[str] = []
        refused: set[str] = set()
        for index, spec in enumerate(specs):
            try:
                self._features[spec.name] = self._feature(spec, ("features", index))
            except ConfigurationError as error:
                # An entry that names an invalid feature cannot be checked.
                if not refused & _words(spec):
                    refusals.append(str(error))
                refused.add(spec.name)
        if refusals:
            raise ConfigurationError("\n".join(refusals))
        return tuple(self._features.values())

    def _feature(self, spec: FeatureSpec, location: Location) -> Feature:
        self._check_name(spec, location)
        part = self._part(spec, location)
        digest = fingerprint(part.definition)
        return Feature(
            spec.name,
            digest,
            part.compute,
            Term(part.sort, ["feature", digest], _earlier(spec.name)),
            part.paths,
            part.of_event,
            part.irreproducible,
            part.entities,
        )

    def _check_name(self, spec: FeatureSpec, location: Location) -> None:
        where = (*location, "name")
        if spec.name in self._features:
            raise self._document.refuse(where, f"feature {spec.name} appears twice: rename one")
        if spec.name in self._fields.known and spec.field != spec.name:
            raise self._document.refuse(
                where, f"{spec.name} is a field of the schema: give the feature another name"
            )

    def _part(self, spec: FeatureSpec, location: Location) -> _Part:
        if spec.field is not None:
            return self._field(spec.field, (*location, "field"))
        if spec.category is not None:
            return self._category(spec.category, (*location, "category"))
        if spec.lookup is not None:
            return self._lookup(spec.lookup, (*location, "lookup"))
        if spec.window is not None:
            return self._window(spec, location)
        if spec.python is not None:
            return self._python(spec, location)
        return self._expression(spec.expr or "", (*location, "expr"))

    def _field(self, path: str, location: Location) -> _Part:
        found = path_type(self._document, location, path, self._fields)
        leaf = self.leaves[path]
        if leaf.sort is Sort.TEXT:
            raise self._document.refuse(
                location, f"{path} is text: use category: {{field: {path}, values: [...]}}"
            )
        if leaf.sort is Sort.TIME or found.kind is Kind.TIME:
            raise self._document.refuse(
                location, f"{path} is a time: use an expr such as hour({path})"
            )
        return _Part({"field": leaf.canonical}, leaf.evaluate, frozenset({path}), leaf.sort)

    def _category(self, spec: CategorySpec, location: Location) -> _Part:
        path = spec.field
        found = path_type(self._document, (*location, "field"), path, self._fields)
        wanted = {Kind.STRING: str, Kind.LONG: int}.get(found.kind)
        if wanted is None:
            raise self._document.refuse(
                (*location, "field"), f"{path} is {found.kind.value}; a category is text or long"
            )
        for index, value in enumerate(spec.values):
            if not isinstance(value, wanted):
                raise self._document.refuse(
                    (*location, "values", index),
                    f"{value!r} is no {'text: quote it' if wanted is str else 'whole number'}, "
                    f"and {path} is {found.kind.value}",
                )
        definition = {
            "category": self.leaves[path].canonical,
            "values": list(spec.values),
            "other": spec.other,
        }
        compute = category_codes(path, [str(value) for value in spec.values], other=spec.other)
        return _Part(definition, compute, frozenset({path}))

    def _lookup(self, name: str, location: Location) -> _Part:
        known = {f"{k}.{value}": k for k, v in self._lookups.items() for value in v.names}
        if name not in known:
            raise self._document.refuse(location, unknown("looked-up value", name, known))
        lookup = self._lookups[known[name]]
        value = name.removeprefix(f"{lookup.name}.")
        definition = {
            "lookup": lookup.name,
            "value": value,
            "default": canonical_number(lookup.defaults[lookup.names.index(value)]),
            "max_age": lookup.max_age,
            "by": self._bindings.entities[lookup.entity].canonical(),
        }
        if lookup.feast is not None:
            definition["feast"] = lookup.feast.canonical()
        return _Part(
            definition,
            lambda frame: frame.lookups[name],
            frozenset({self._bindings.entities[lookup.entity].path}),
            of_event=False,
            irreproducible=True,
        )

    def _window(self, spec: FeatureSpec, location: Location) -> _Part:
        alone = {name: f.term for name, f in self._features.items() if f.of_event}
        window, definition = self._compiler.compile(
            spec, location, alone, frozenset(self._features.keys() - alone.keys())
        )
        self.windows.append(window)
        paths = {self._bindings.entities[window.entity].path}
        for used in window.uses:
            paths |= self._features[used].paths if used in self._features else {used}
        return _Part(
            definition,
            lambda frame: frame.windows[window.name],
            frozenset(paths),
            of_event=False,
            irreproducible=window.across is Across.BEST_EFFORT,
            entities=frozenset({window.entity}),
        )

    def _python(self, spec: FeatureSpec, location: Location) -> _Part:
        arguments = [
            self._compiled(str(source), (*location, "args", place))
            for place, source in enumerate(spec.args or ())
        ]
        compute, definition = self._python_compiler.compile(spec, location, arguments)
        names = frozenset().union(*(argument.names for argument in arguments))
        return self._made_of(names, definition, compute, Sort.NUMBER)

    def _expression(self, source: str, location: Location) -> _Part:
        compiled = self._compiled(source, location)
        term = compiled.term
        return self._made_of(compiled.names, {"expr": term.canonical}, term.evaluate, term.sort)

    def _compiled(self, source: str, location: Location) -> Expression:
        scope = {**{k: f.term for k, f in self._features.items()}, **self.leaves}
        try:
            return compile_expression(source, scope)
        except ExpressionError as error:
            raise self._document.refuse_within(location, error.offset, str(error)) from error

    def _made_of(
        self, names: frozenset[str], definition: Any, compute: Callable[[Frame], Floats], sort: Sort
    ) -> _Part:
        """Build the part of a feature that reads the fields and earlier features in ``names``."""
        earlier = [
            self._features[name]
            for name in names
            if name in self._features and name not in self.leaves
        ]
        paths = names & self.leaves.keys()
        return _Part(
            definition,
            compute,
            paths.union(*(feature.paths for feature in earlier)),
            sort,
            of_event=all(feature.of_event for feature in earlier),
            irreproducible=any(feature.irreproducible for feature in earlier),
            entities=frozenset().union(*(feature.entities for feature in earlier)),
        )

    def _leaf(self, path: str) -> Term:
        """Term of the field at ``path``."""
        amount, time = self._bindings.amount, self._bindings.event_time
        if amount is not None and path == amount.source.path:
            scale = amount.scale
            return Term(
                Sort.NUMBER, {"amount": amount.canonical()}, lambda frame: frame.amount(scale)
            )
        if path == time.path:
            return Term(Sort.TIME, {"time": time.canonical()}, lambda frame: frame.event_time())
        kind, scale, _ = self._fields.known[path]
        canonical = {"path": path, "kind": kind.value, "scale": scale}
        match kind:
            case Kind.STRING:
                return Term(Sort.TEXT, canonical, lambda frame: frame.text(path))
            case Kind.TIME:
                return Term(Sort.TIME, canonical, lambda frame: frame.time(path))
            case Kind.BOOL:
                return Term(Sort.BOOLEAN, canonical, lambda frame: frame.number(path))
            case _:
                return Term(Sort.NUMBER, canonical, lambda frame: frame.number(path))


def _earlier(name: str) -> Callable[[Frame], Floats]:
    return lambda frame: frame.features[name]


def _words(spec: FeatureSpec) -> set[str]:
    """Names of earlier features that the entry may use."""
    texts = [spec.expr, spec.of, spec.where, *map(str, spec.args or ())]
    return {word for text in texts if text for word in re.findall(r"\w+", text)}
