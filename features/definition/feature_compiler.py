"""Compile each entry of ``features:`` to a feature, with the function that computes its column."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from base.errors import ConfigurationError
from base.suggest import unknown
from base.yaml_document import Location, YamlDocument
from features.definition.bindings import Bindings
from features.definition.entry_names import EntryNames
from features.definition.event_fields import SchemaFields, path_type
from features.definition.feature import Feature, canonical_number, column_name, fingerprint
from features.definition.python_feature import PythonCompiler
from features.definition.spec import MAX_FEATURES, CategorySpec, FeatureSpec
from features.definition.window_columns import ColumnCompiler
from features.definition.window_feature import WindowCompiler
from features.expression import Expression, ExpressionError, compile_expression
from features.expression.expression_program import ConstantNode, Input, Listed, Node
from features.expression.functions import Sort, Term
from features.lookups.lookup import Lookup
from features.windows.window import Across, HistoryRules, Window
from schemas.batch import Kind


@dataclass(frozen=True, slots=True)
class _Compiled:
    """Result of compiling one kind of feature; fields as in ``Feature``."""

    definition: Any
    node: Node
    paths: frozenset[str] = frozenset()
    sort: Sort = Sort.NUMBER
    of_event: bool = True
    irreproducible: bool = False
    lookups: frozenset[str] = frozenset()
    window: Window | None = None


class FeatureCompiler:
    """Compiler of features, in their order; an expression may use the features before it.

    Attributes:
        bounded: Fields whose values windows store, with the decimal digits of a field that has no
            scale of its own.
        leaves: Terms of the fields.
        used: Names that expressions use.
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
        self._vectors = {
            k: v for lookup in lookups.values() for k, v in lookup.vectors_by_name.items()
        }
        self._features: dict[str, Feature] = {}
        self._names = EntryNames(document, fields.known, self._vectors)
        self.used: set[str] = set()
        self.leaves = {path: self._leaf(path) for path in fields.known}
        self._columns = ColumnCompiler(document, fields, bindings, rules, self.leaves)
        self._windows = WindowCompiler(document, bindings, rules, self._columns)
        self._python = PythonCompiler(document)

    @property
    def bounded(self) -> Mapping[str, int | None]:
        return self._columns.bounded

    def compile(self, specs: list[FeatureSpec]) -> tuple[Feature, ...]:
        """Compile the features; ConfigurationError lists every invalid entry with its place."""
        refusals: list[str] = []
        refused: set[str] = set()
        for index, spec in enumerate(specs):
            try:
                made = self._entry(spec, ("features", index))
            except ConfigurationError as error:
                # An entry that names an invalid feature cannot be checked.
                if not refused & _words(spec):
                    refusals.append(str(error))
                refused.update(self._names.of(spec))
            else:
                self._features |= {feature.name: feature for feature in made}
        if refusals:
            raise ConfigurationError("\n".join(refusals))
        return tuple(self._features.values())

    def _entry(self, spec: FeatureSpec, location: Location) -> list[Feature]:
        """Compile an entry to its feature, or to that of each element of its vector."""
        self._names.add(spec, location)
        vector = self._names.vector(spec)
        if vector is None:
            return [_feature(spec, None, self._compile(spec, location))]
        columns = len(self._features) + vector.width
        if columns > MAX_FEATURES:
            raise self._document.refuse(
                (*location, "lookup"),
                f"with the {vector.width} columns of {spec.name} there are {columns:,} features; "
                f"at most {MAX_FEATURES:,} are allowed",
            )
        return [
            _feature(spec, element, self._lookup(spec.lookup or "", location, element))
            for element in range(vector.width)
        ]

    def _compile(self, spec: FeatureSpec, location: Location) -> _Compiled:
        if spec.field is not None:
            return self._field(spec.field, (*location, "field"))
        if spec.category is not None:
            return self._category(spec.category, (*location, "category"))
        if spec.lookup is not None:
            return self._lookup(spec.lookup, (*location, "lookup"))
        if spec.window is not None:
            return self._window(spec, location)
        if spec.python is not None:
            return self._python_feature(spec, location)
        return self._expression(spec.expr or "", (*location, "expr"))

    def _field(self, path: str, location: Location) -> _Compiled:
        kind = path_type(self._document, location, path, self._fields).kind
        leaf = self.leaves[path]
        self._refuse_token(path, location)
        if leaf.sort is Sort.TEXT:
            raise self._document.refuse(
                location, f"{path} is text: use category: {{field: {path}, values: [...]}}"
            )
        if leaf.sort is Sort.TIME or kind is Kind.TIME:
            raise self._document.refuse(
                location, f"{path} is a time: use an expr such as hour({path})"
            )
        return _Compiled({"field": leaf.canonical}, leaf.node, frozenset({path}), leaf.sort)

    def _refuse_token(self, path: str, location: Location) -> None:
        if path in self._bindings.tokens:
            raise self._document.refuse(
                location,
                f"{path} has a token (entities.{self._bindings.tokens[path]}), which stands for a "
                "value that is not there: use it as a key, in `same`, or in `of` of `distinct`",
            )

    def _category(self, spec: CategorySpec, location: Location) -> _Compiled:
        path = spec.field
        kind = path_type(self._document, (*location, "field"), path, self._fields).kind
        self._refuse_token(path, (*location, "field"))
        wanted = {Kind.STRING: str, Kind.LONG: int}.get(kind)
        if wanted is None:
            raise self._document.refuse(
                (*location, "field"), f"{path} is {kind.value}; a category is text or long"
            )
        for index, value in enumerate(spec.values):
            if not isinstance(value, wanted):
                raise self._document.refuse(
                    (*location, "values", index),
                    f"{value!r} is not {'text: quote it' if wanted is str else 'a whole number'}, "
                    f"and {path} is {kind.value}",
                )
        definition = {
            "category": self.leaves[path].canonical,
            "values": list(spec.values),
            "other": spec.other,
        }
        unlisted = float(len(spec.values)) if spec.other else np.nan
        codes = {str(value): float(code) for code, value in enumerate(spec.values)}
        return _Compiled(definition, Listed(_text(path), codes, unlisted), frozenset({path}))

    def _lookup(self, name: str, location: Location, element: int | None = None) -> _Compiled:
        """Compile a looked-up number, or an element of a vector."""
        known = {f"{k}.{value}": k for k, v in self._lookups.items() for value in v.value_names}
        if name not in known:
            raise self._document.refuse(location, unknown("looked-up value", name, known))
        lookup = self._lookups[known[name]]
        definition = {
            "lookup": lookup.name,
            "value": name.removeprefix(f"{lookup.name}."),
            "default": canonical_number(lookup.default(name)),
            "max_age": lookup.max_age,
            "by": self._bindings.entities[lookup.entity].canonical(),
        }
        if lookup.feast is not None:
            definition["feast"] = lookup.feast.canonical()
        if element is None:
            node = Input(f"lookup {name}", lambda frame: frame.lookups[name])
        else:
            vector = self._vectors[name]
            definition |= {"width": vector.width, "dtype": vector.dtype, "element": element}
            node = Input(f"lookup {name} {element}", lambda frame: frame.vectors[name][:, element])
        return _Compiled(
            definition,
            node,
            frozenset(self._bindings.entities[lookup.entity].paths),
            of_event=False,
            irreproducible=True,
            lookups=frozenset({lookup.name}),
        )

    def _window(self, spec: FeatureSpec, location: Location) -> _Compiled:
        alone = {name: f.term for name, f in self._features.items() if f.of_event}
        window, definition = self._windows.compile(
            spec, location, alone, frozenset(self._features.keys() - alone.keys())
        )
        paths = {*self._bindings.entities[window.entity].paths}
        for used in window.uses:
            paths |= self._features[used].paths if used in self._features else {used}
        return _Compiled(
            definition,
            Input(f"window {window.name}", lambda frame: frame.windows[window.name]),
            frozenset(paths),
            of_event=False,
            irreproducible=window.across is Across.BEST_EFFORT,
            window=window,
        )

    def _python_feature(self, spec: FeatureSpec, location: Location) -> _Compiled:
        arguments = [
            self._compile_expression(str(source), (*location, "args", place))
            for place, source in enumerate(spec.args or ())
        ]
        compute, definition = self._python.compile(spec, location, arguments)
        names = frozenset().union(*(argument.names for argument in arguments))
        node = Input(f"python {spec.name}", compute)
        return self._made_of(names, definition, node, Sort.NUMBER)

    def _expression(self, source: str, location: Location) -> _Compiled:
        compiled = self._compile_expression(source, location)
        term = compiled.term
        return self._made_of(compiled.names, {"expr": term.canonical}, term.node, term.sort)

    def _compile_expression(self, source: str, location: Location) -> Expression:
        scope = {**{k: f.term for k, f in self._features.items()}, **self.leaves}
        try:
            return compile_expression(source, scope)
        except ExpressionError as error:
            message = f"{error}{self._names.hint(source)}"
            raise self._document.refuse_within(location, error.offset, message) from error

    def _made_of(self, names: frozenset[str], definition: Any, node: Node, sort: Sort) -> _Compiled:
        """Compile a feature that reads the fields and earlier features in ``names``."""
        self.used |= names
        earlier = [
            self._features[name]
            for name in names
            if name in self._features and name not in self.leaves
        ]
        paths = names & self.leaves.keys()
        return _Compiled(
            definition,
            node,
            paths.union(*(feature.paths for feature in earlier)),
            sort,
            of_event=all(feature.of_event for feature in earlier),
            irreproducible=any(feature.irreproducible for feature in earlier),
            lookups=frozenset().union(*(feature.lookups for feature in earlier)),
        )

    def _leaf(self, path: str) -> Term:
        """Term of the field at ``path``."""
        amount, time = self._bindings.amount, self._bindings.event_time
        if amount is not None and path == amount.source.path:
            scale = amount.scale
            node = Input(path, lambda frame: frame.amount(scale))
            return Term(Sort.NUMBER, {"amount": amount.canonical()}, node)
        if path == time.path:
            node = Input(path, lambda frame: frame.event_time().view(np.float64))
            return Term(Sort.TIME, {"time": time.canonical()}, node, ConstantNode(1.0))
        kind, scale, _ = self._fields.known[path]
        canonical = {"path": path, "kind": kind.value, "scale": scale}
        number = Input(path, lambda frame: frame.number(path))
        known = Input(f"{path} is known", lambda frame: frame.known(path))
        match kind:
            case Kind.STRING:
                sort = Sort.TOKEN if path in self._bindings.tokens else Sort.TEXT
                return Term(sort, canonical, _text(path), known)
            case Kind.TIME:
                node = Input(path, lambda frame: frame.time(path).view(np.float64))
                return Term(Sort.TIME, canonical, node, known)
            case Kind.BOOL:
                return Term(Sort.BOOLEAN, canonical, number)
            case _:
                return Term(Sort.NUMBER, canonical, number)


def _feature(spec: FeatureSpec, element: int | None, compiled: _Compiled) -> Feature:
    digest = fingerprint(compiled.definition)
    name = column_name(spec.name, element)
    return Feature(
        spec=spec,
        element=element,
        fingerprint=digest,
        node=compiled.node,
        term=Term(compiled.sort, ["feature", digest], _earlier(name)),
        paths=compiled.paths,
        of_event=compiled.of_event,
        irreproducible=compiled.irreproducible,
        lookups=compiled.lookups,
        window=compiled.window,
    )


def _earlier(name: str) -> Input:
    return Input(name, lambda frame: frame.features[name])


def _text(path: str) -> Input:
    return Input(f"{path} as text", lambda frame: frame.text(path))


def _words(spec: FeatureSpec) -> set[str]:
    """Names of earlier features that the entry may use."""
    texts = [spec.expr, spec.of, spec.where, *map(str, spec.args or ())]
    return {word for text in texts if text for word in re.findall(r"\w+", text)}
