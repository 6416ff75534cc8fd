"""Text of the section ``lookups`` of features.yaml, for the views of a Feast repository."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from base.times import SECOND
from features.definition.spec import MAX_WIDTH, FeaturesFile
from features.inspect.describe import duration
from tools.feast_repo.registry import RegistryView, TypedName
from tools.feast_repo.repository import Repository
from tools.init.yaml_text import commented, scalar

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_MOST_VALUES = 256
# Feast's types of keys, numbers, other single values, vectors and other arrays, by their numbers in
# `ValueType`.
_KEY_TYPES = {2: "string", 3: "int32", 4: "int64"}
_UNIX_TIMESTAMP = 8
_NUMBERS = frozenset({3, 4, 5, 6, 7, _UNIX_TIMESTAMP})
_OTHERS = {1: "bytes", 2: "text"}
_VECTORS = frozenset({15, 16})
_ARRAYS = {11: "bytes", 12: "text", 13: "int32", 14: "int64", 17: "bool", 18: "times"}


@dataclass(frozen=True, slots=True)
class KnownEntity:
    """An entity of features.yaml.

    Attributes:
        name: Its name.
        parts: Names of each field of its key: the field's own, and its alias in files; for a key of
            one field also that of the entity.
    """

    name: str
    parts: tuple[frozenset[str], ...]


def known_entities(file: FeaturesFile) -> list[KnownEntity]:
    """Entities of a features.yaml."""
    aliases = file.events.aliases
    known = []
    for name, key in file.entities.items():
        own = [name] if len(key.parts) == 1 else []
        parts = (frozenset([p.field, aliases.get(p.field, p.field), *own]) for p in key.parts)
        known.append(KnownEntity(name, tuple(parts)))
    return known


def lookups_yaml(repository: Repository, entities: Sequence[KnownEntity]) -> str:
    """Text of the section, with a comment for each thing that a lookup cannot serve.

    Args:
        repository: The repository.
        entities: Entities of the pipeline's features.yaml.
    """
    lines = [
        f"# Views of the Feast project {scalar(repository.project)}; Feast writes their values."
    ]
    blocks: list[str] = []
    absent: list[str] = []
    for view in repository.registry.views:
        reason = _why_not(view)
        if reason:
            absent.append(commented(f"#   {scalar(view.name)}", reason))
        else:
            blocks += _lookup(repository, view, entities)
    for name in repository.registry.on_demand:
        reason = "Feast computes it when it is asked: write it as an expr or a python feature"
        absent.append(commented(f"#   {scalar(name)}", reason))
    lines += ["lookups:", *blocks] if blocks else ["# No view can be a lookup.", "lookups: {}"]
    if absent:
        lines += ["", "# Views that no lookup can serve:", *absent]
    return "\n".join([*lines, "", *_store(repository), ""])


def _why_not(view: RegistryView) -> str:
    """Reason why no lookup can serve a view; "" for none."""
    if not view.online:
        return "it is not online"
    if not view.join_keys:
        return "it has no entity, and a lookup has one"
    for key in view.join_keys:
        if key.type not in _KEY_TYPES:
            return f"join key {scalar(key.name)} is of type {key.type}: no text and no whole number"
    if not any(not _why_no_value(feature) for feature in view.features):
        reasons = "; ".join(f"{scalar(f.name)}: {_why_no_value(f)}" for f in view.features)
        return f"none of its features can be a value ({reasons})"
    return ""


def _lookup(
    repository: Repository, view: RegistryView, entities: Sequence[KnownEntity]
) -> Iterator[str]:
    entity, keys = _entity_of(view, entities)
    yield f"  {_word(view.name)}:"
    names = [scalar(key.name) for key in keys]
    remark = "" if entity else f"the name of your entity whose key is {', '.join(names)}"
    yield commented(f"    by: {entity or _word('_'.join(key.name for key in keys))}", remark)
    if view.ttl:
        yield commented(f"    max_age: {_max_age(view.ttl)}", "its ttl")
    parts = {
        "project": scalar(repository.project),
        "feature_view": scalar(view.name),
        "join_key": _one_or_list(names),
        "key_type": _one_or_list([_KEY_TYPES[key.type] for key in keys]),
    }
    text = ", ".join(f"{part}: {value}" for part, value in parts.items())
    remark = (
        "with versions of online views, Feast calls version N of it NAME_vN in the store"
        if repository.versioned
        else ""
    )
    yield commented(f"    feast: {{{text}}}", remark)
    yield "    values:"
    yield from _values(view.features)


def _entity_of(
    view: RegistryView, entities: Sequence[KnownEntity]
) -> tuple[str | None, Sequence[TypedName]]:
    """Name of the entity whose key has the view's join keys, None without one; and the join keys.

    The join keys are in the order of the fields of the entity's key.
    """
    for entity in entities:
        keys = [key for part in entity.parts for key in view.join_keys if key.name in part]
        if len(entity.parts) == len(keys) == len(view.join_keys) == len(set(keys)):
            return entity.name, keys
    return None, view.join_keys


def _one_or_list(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"[{', '.join(values)}]"


def _values(features: Sequence[TypedName]) -> Iterator[str]:
    served = [feature for feature in features if not _why_no_value(feature)]
    late = {feature.name for feature in served[_MOST_VALUES:]}
    for feature in features:
        why = _why_no_value(feature)
        if feature.name in late:
            why = f"a lookup has at most {_MOST_VALUES} values: write another one of this view"
        if why:
            yield commented(f"      # {scalar(feature.name)}:", why)
        elif feature.type in _VECTORS:
            yield f"      {feature.name}: {{vector: {feature.vector_length}}}"
        else:
            remark = "seconds since 1970" if feature.type == _UNIX_TIMESTAMP else ""
            yield commented(f"      {feature.name}:", remark)


def _why_no_value(feature: TypedName) -> str:
    """Reason why a feature cannot be a value of a lookup; "" for none."""
    if feature.type in _ARRAYS:
        return f"an array ({_ARRAYS[feature.type]}), and a value is a number or a vector of floats"
    if feature.type in _VECTORS and not 0 < feature.vector_length <= MAX_WIDTH:
        found = (
            f"of {feature.vector_length}" if feature.vector_length else "whose length is unknown"
        )
        return f"a vector {found}: write {{vector: N}} with N of at most {MAX_WIDTH:,}"
    if feature.type not in _NUMBERS | _VECTORS:
        return f"{_OTHERS.get(feature.type, f'of type {feature.type}')}, and a value is a number"
    if not _WORD.fullmatch(feature.name):
        return "rename it: a value's name has letters, digits and underscores"
    return ""


def _word(name: str) -> str:
    word = re.sub(r"[^A-Za-z0-9_]+", "_", name)[:128]
    return word if _WORD.fullmatch(word) else f"_{word}"


def _max_age(ttl: int) -> str:
    """The time to live in whole seconds, rounded up: 0 is no duration."""
    return duration(-(-ttl // SECOND) * SECOND)


def _store(repository: Repository) -> Iterator[str]:
    """Comments that say what the connection string means for worker.yaml."""
    address, *settings = (part.strip() for part in repository.connection.split(","))
    options = dict(part.partition("=")[::2] for part in settings)
    scheme = "rediss" if options.get("ssl", "").lower() == "true" else "redis"
    database = f"/{options['db']}" if options.get("db", "0") != "0" else ""
    yield "# The worker reads them from its store; in worker.yaml, by Feast's connection string:"
    if repository.redis_type == "redis_sentinel":
        yield "# (the addresses are those of sentinels: name that of the server itself)"
    yield "# store:"
    yield f"#   url: {scheme}://{address}{database}"
    if "username" in options:
        yield f"#   username: {scalar(options['username'])}"
    if "password" in options:
        yield commented("#   password_file: FILE", "a file with the password of the string")
