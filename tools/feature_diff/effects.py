"""Effects of the differences of two feature sets on events, histories, labels and lookups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from features.definition import FeatureSet
from features.definition.bindings import Bindings, EntityBinding, FieldBinding, KeyPart
from features.inspect.describe import duration, number
from features.lookups.lookup import Lookup
from features.windows.entity_windows import EntityWindows
from tools.feature_diff.features import key_fields


@dataclass(frozen=True, slots=True)
class Change:
    """A binding of the events, or a lookup, that differs.

    Attributes:
        name: Its place in features.yaml.
        before: The old value in words, "" without one.
        after: The new value in words, "" without one.
        effect: The consequence.
    """

    name: str
    before: str
    after: str
    effect: str


@dataclass(frozen=True, slots=True)
class HistoryChange:
    """Change of the histories of an entity.

    Attributes:
        entity: The entity.
        reasons: Reasons why they begin anew; empty if they do not.
        fill: Distance back from now that a fill has to read, in microseconds; None without a fill.
        ready: New and changed windows that need no fill.
        unused: True if no window needs the histories any longer.
    """

    entity: str
    reasons: tuple[str, ...]
    fill: int | None
    ready: tuple[str, ...]
    unused: bool = False


_ORIGIN = (
    "the key is of other fields",
    "the event id is of other fields",
    "the event time is of other fields",
    "tokens are of another key",
    "other events are valid",
)
_ANEW = "histories begin anew"
_LABELS = "labels in the store keep the old {}: load them again, under another store.state"


def diff_bindings(old: FeatureSet, new: FeatureSet) -> list[Change]:
    """Compare the bindings of the events, the entities and the schema."""
    one, other = old.bindings, new.bindings
    changes = [
        Change(
            "name",
            old.name,
            new.name,
            "part of all keys in the store: histories, labels and lookups begin anew",
        ),
        Change(
            "events.id",
            one.event_id.path,
            other.event_id.path,
            f"duplicates are found by it: {_ANEW}; {_LABELS.format('ids')}",
        ),
        Change("events.time", _time(one), _time(other), f"all windows depend on it: {_ANEW}"),
        Change("events.amount", _amount(one), _amount(other), "features of the amount change"),
        Change(
            "events.partition_key",
            _path(one.partition_key),
            _path(other.partition_key),
            "producers have to key records by it first",
        ),
        Change(
            "events.label",
            _label(one),
            _label(other),
            "other labels of files: build training tables again",
        ),
        *_entities(one.entities, other.entities),
        Change("events.aliases", _aliases(old), _aliases(new), "names of columns in files only"),
        *_fields(old, new),
    ]
    return [change for change in changes if change.before != change.after]


def _entities(
    old: Mapping[str, EntityBinding], new: Mapping[str, EntityBinding]
) -> Iterator[Change]:
    for name in dict.fromkeys([*old, *new]):
        before, after = old.get(name), new.get(name)
        effect = "an event in which its key is null becomes a dead letter"
        if after is None:
            effect = "events may have null there from now on"
        elif before is not None:
            effect = f"other keys under the same name: {_ANEW}; {_LABELS.format('keys')}"
            if _required(before) == _required(after):
                effect = f"other events are valid: {_ANEW}"
            elif before.has_tokens or after.has_tokens:
                effect = f"other tokens: {_ANEW}, and labels and lookups have to be loaded again"
        texts = ["" if key is None else key_fields(key) for key in (before, after)]
        yield Change(f"entities.{name}", texts[0], texts[1], effect)


def _required(key: EntityBinding) -> list[KeyPart]:
    return [part._replace(nullable=False) for part in key.parts]


def _fields(old: FeatureSet, new: FeatureSet) -> Iterator[Change]:
    """Yield fields that came, went or have another type, of those that features can use."""
    for path in dict.fromkeys([*old.fields, *new.fields]):
        before, after = old.fields.get(path), new.fields.get(path)
        used = path in (old.paths if after is None else new.paths)
        effect = "used" if used else "not used by any feature or binding"
        texts = ["" if term is None else term.sort.name.lower() for term in (before, after)]
        if before is not None and after is not None and before.canonical != after.canonical:
            texts = [
                f"{text} ({term.canonical})"
                for text, term in zip(texts, (before, after), strict=True)
            ]
        yield Change(f"field {path}", texts[0], texts[1], effect)


def diff_histories(old: FeatureSet, new: FeatureSet) -> list[HistoryChange]:
    """Compare what the histories of each entity keep; only changes are returned."""
    before = {plan.entity: plan for plan in old.histories.entities}
    after = {plan.entity: plan for plan in new.histories.entities}
    known = {feature.name: feature.fingerprint for feature in old.features}
    known_now = {feature.name: feature.fingerprint for feature in new.features}
    changes = []
    for entity in dict.fromkeys([*before, *after]):
        plan, earlier = after.get(entity), before.get(entity)
        if plan is None:
            changes.append(HistoryChange(entity, (), None, (), unused=True))
            continue
        reasons = tuple(_reasons(earlier, plan, same_name=old.name == new.name))
        fresh = tuple(
            window.name
            for window in plan.windows
            if known.get(window.name) != known_now[window.name]
        )
        if reasons:
            fill = plan.back + plan.rules.duplicates
            changes.append(HistoryChange(entity, reasons, fill, ()))
        elif fresh:
            changes.append(HistoryChange(entity, (), None, fresh))
    return changes


def _reasons(
    before: EntityWindows | None, after: EntityWindows, *, same_name: bool
) -> Iterator[str]:
    """Yield the reasons why a worker with new windows cannot use the histories of the old ones."""
    if before is None:
        yield "the entity had no windows"
        return
    if not same_name:
        yield "the feature set has another name"
    kept = {column.key for column in before.layout.columns}
    wanted = {column.key for column in after.layout.columns}
    if kept != wanted:
        parts = [f"{len(wanted - kept)} more"] if wanted - kept else []
        parts += [f"{len(kept - wanted)} fewer"] if kept - wanted else []
        yield f"members keep other values ({' and '.join(parts)})"
    (of_event, *rules), (of_event_now, *rules_now) = before.layout.origin, after.layout.origin
    for what, one, other in zip(_ORIGIN, of_event, of_event_now, strict=True):
        if one != other:
            yield what
    if rules != rules_now:
        yield "other events are members, by partition_key or the rules of history"
    if after.back > before.back:
        yield f"windows look back {duration(after.back)}, before {duration(before.back)}"
    if after.rules.cap > before.rules.cap:
        yield f"history.cap is {after.rules.cap:,}, before {before.rules.cap:,}"


def diff_labels(old: FeatureSet, new: FeatureSet) -> list[str]:
    """Entities by whose keys labels have to be loaded, which they were not before."""
    known = old.label_sets.values() if old.name == new.name else ()
    return [entity for entity, name in new.label_sets.items() if name not in known]


def diff_lookups(old: FeatureSet, new: FeatureSet) -> list[Change]:
    """Compare the lookups."""
    changes = []
    for name in dict.fromkeys([*old.lookups, *new.lookups]):
        before, after = old.lookups.get(name), new.lookups.get(name)
        texts = [_lookup(lookup) for lookup in (before, after)]
        keys = [None if lookup is None else lookup.prefix for lookup in (before, after)]
        if texts[0] != texts[1] or keys[0] != keys[1]:
            changes.append(Change(f"lookups.{name}", texts[0], texts[1], _effect(before, after)))
    return changes


def _effect(before: Lookup | None, after: Lookup | None) -> str:
    if after is None:
        return "its values stay in the store and are not read"
    if after.feast is not None:
        return "Feast has to have materialized the view before the rollout"
    if before is None or before.feast is not None or before.prefix != after.prefix:
        return "its values have other keys in the store: load them before the rollout"
    if before.entity != after.entity:
        return "its keys are those of another entity: load its values before the rollout"
    return "the values in the store stay"


def _lookup(lookup: Lookup | None) -> str:
    if lookup is None:
        return ""
    named = [
        *zip(lookup.names, lookup.defaults, strict=True),
        *((f"{v.name} {v.dtype}[{v.width}]", v.default) for v in lookup.vectors),
    ]
    values = ", ".join(
        name if default != default else f"{name} (default {number(default)})"  # noqa: PLR0124
        for name, default in named
    )
    age = "" if lookup.max_age is None else f", max_age {duration(lookup.max_age)}"
    feast = "" if lookup.feast is None else f", Feast view {lookup.feast.canonical()}"
    return f"{values} by {lookup.entity}{age}{feast}"


def _path(binding: FieldBinding | None) -> str:
    return "" if binding is None else binding.path


def _time(bindings: Bindings) -> str:
    time = bindings.event_time
    return time.path if time.unit is None else f"{time.path} in {time.unit}"


def _amount(bindings: Bindings) -> str:
    amount = bindings.amount
    if amount is None:
        return ""
    least = "" if amount.minimum is None else f", at least {amount.minimum} minor units"
    return f"{amount.source.path} with scale {amount.scale}{least}"


def _label(bindings: Bindings) -> str:
    label = bindings.label
    return "" if label is None else f"{label.field}, known after {duration(label.delay)}"


def _aliases(feature_set: FeatureSet) -> str:
    return ", ".join(f"{path}: {alias}" for path, alias in sorted(feature_set.aliases.items()))
