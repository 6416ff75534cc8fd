"""Text of the section ``lookups`` of features.yaml, for the views of a Feast repository."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from base.times import SECOND
from features.inspect.describe import duration
from tools.feast_repo.registry import RegistryView, TypedName
from tools.feast_repo.repository import Repository
from tools.init.yaml_text import commented, scalar

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_MOST_VALUES = 256
# Feast's types of keys, numbers, other single values and arrays, by their numbers in `ValueType`.
_KEY_TYPES = {2: "string", 3: "int32", 4: "int64"}
_UNIX_TIMESTAMP = 8
_NUMBERS = frozenset({3, 4, 5, 6, 7, _UNIX_TIMESTAMP})
_OTHERS = {1: "bytes", 2: "text"}
_ARRAYS = {
    11: "bytes",
    12: "text",
    13: "int32",
    14: "int64",
    15: "double",
    16: "float",
    17: "bool",
    18: "times",
}


def lookups_yaml(repository: Repository, entities: Mapping[str, str]) -> str:
    """Text of the section, with a comment for each thing that a lookup cannot serve.

    Args:
        repository: The repository.
        entities: Names of entities in features.yaml, by every name of their key.
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
    if len(view.join_keys) != 1:
        keys = ", ".join(scalar(key.name) for key in view.join_keys)
        return (
            f"it has {len(view.join_keys)} join keys ({keys}), a lookup has one"
            if keys
            else ("it has no entity, and a lookup has one")
        )
    if view.join_keys[0].type not in _KEY_TYPES:
        return f"its join key is neither text nor a whole number (type {view.join_keys[0].type})"
    if not any(not _why_no_value(feature) for feature in view.features):
        reasons = "; ".join(f"{scalar(f.name)}: {_why_no_value(f)}" for f in view.features)
        return f"none of its features can be a value ({reasons})"
    return ""


def _lookup(
    repository: Repository, view: RegistryView, entities: Mapping[str, str]
) -> Iterator[str]:
    key = view.join_keys[0]
    name = _word(view.name)
    entity = entities.get(key.name)
    yield f"  {name}:"
    remark = "" if entity else f"the name of your entity whose key is {scalar(key.name)}"
    yield commented(f"    by: {entity or _word(key.name)}", remark)
    if view.ttl:
        yield commented(f"    max_age: {_max_age(view.ttl)}", "its ttl")
    parts = {
        "project": repository.project,
        "feature_view": view.name,
        "join_key": key.name,
        "key_type": _KEY_TYPES[key.type],
    }
    text = ", ".join(f"{part}: {scalar(value)}" for part, value in parts.items())
    remark = (
        "with versions of online views, Feast calls version N of it NAME_vN in the store"
        if repository.versioned
        else ""
    )
    yield commented(f"    feast: {{{text}}}", remark)
    yield "    values:"
    yield from _values(view.features)


def _values(features: Sequence[TypedName]) -> Iterator[str]:
    served = [feature for feature in features if not _why_no_value(feature)]
    late = {feature.name for feature in served[_MOST_VALUES:]}
    for feature in features:
        why = _why_no_value(feature)
        if feature.name in late:
            why = f"a lookup has at most {_MOST_VALUES} values: write another one of this view"
        if why:
            yield commented(f"      # {scalar(feature.name)}:", why)
        else:
            remark = "seconds since 1970" if feature.type == _UNIX_TIMESTAMP else ""
            yield commented(f"      {feature.name}:", remark)


def _why_no_value(feature: TypedName) -> str:
    """Reason why a feature cannot be a value of a lookup; "" for none."""
    if feature.type in _ARRAYS:
        length = f" of {feature.vector_length}" if feature.vector_length else ""
        return f"an array{length} ({_ARRAYS[feature.type]}), and a value is a number"
    if feature.type not in _NUMBERS:
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


def entity_names(features: Mapping[str, Any]) -> dict[str, str]:
    """Entities of the content of a features.yaml, by their names, fields and aliases of these."""
    entities = features.get("entities")
    events = features.get("events")
    aliases = events.get("aliases") if isinstance(events, dict) else {}
    fields = entities if isinstance(entities, dict) else {}
    names = {name: name for name in fields}
    for name, field in fields.items():
        if isinstance(field, str):
            names.setdefault(field, name)
            names.setdefault((aliases or {}).get(field, name), name)
    return names
