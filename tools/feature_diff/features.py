"""Features that differ between two feature sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from features.definition import Feature, FeatureSet
from features.definition.bindings import EntityBinding, KeyPart
from features.inspect.describe import Described, describe, number
from features.inspect.explanation import names_in


@dataclass(frozen=True, slots=True)
class Changed:
    """A feature of one name with two definitions.

    Attributes:
        before: The old feature.
        after: The new feature.
        parts: The parts that differ, in words.
    """

    before: Described
    after: Described
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FeatureDiff:
    """Differences of the features.

    Attributes:
        added: New features.
        removed: Old features that are gone.
        renamed: Old and new feature with one definition under two names.
        changed: Features with another definition.
        reordered: True if features that stay are in another order.
        unchanged: Number of features that stay as they are.
    """

    added: tuple[Described, ...]
    removed: tuple[Described, ...]
    renamed: tuple[tuple[Described, Described], ...]
    changed: tuple[Changed, ...]
    reordered: bool
    unchanged: int


def diff_features(old: FeatureSet, new: FeatureSet) -> FeatureDiff:
    """Compare the features by name and fingerprint."""
    before = {feature.name: feature for feature in describe(old)}
    after = {feature.name: feature for feature in describe(new)}
    gone = [feature for name, feature in before.items() if name not in after]
    fresh = [feature for name, feature in after.items() if name not in before]
    renamed = []
    for feature in [*gone]:
        same = next((one for one in fresh if one.fingerprint == feature.fingerprint), None)
        if same is not None:
            renamed.append((feature, same))
            gone.remove(feature)
            fresh.remove(same)
    both = [name for name in before if name in after]
    differ = {name for name in both if before[name].fingerprint != after[name].fingerprint}
    features = (
        {feature.name: feature for feature in old.features},
        {feature.name: feature for feature in new.features},
    )
    causes = _Causes(old, new, differ)
    changed = [
        Changed(
            before[name],
            after[name],
            tuple(causes.of(before[name], after[name], *(part[name] for part in features))),
        )
        for name in both
        if name in differ
    ]
    order = [name for name in after if name in before]
    return FeatureDiff(
        tuple(fresh),
        tuple(gone),
        tuple(renamed),
        tuple(changed),
        order != both,
        len(both) - len(differ),
    )


class _Causes:
    """Reasons why a feature has another fingerprint; ``differ`` are the names of all such."""

    def __init__(self, old: FeatureSet, new: FeatureSet, differ: set[str]) -> None:
        self._old, self._new, self._differ = old, new, differ

    def of(self, before: Described, after: Described, old: Feature, new: Feature) -> Iterator[str]:
        """Yield the parts that differ: those of the definition, else what the feature uses."""
        own = [*_own_parts(before, after, old, new)]
        yield from own
        used = [*self._used(old, new)]
        yield from used
        if not own and not used:
            yield (
                "the content of its Python file"
                if new.spec.python is not None
                else "what the fingerprint adds to its definition"
            )

    def _used(self, old: Feature, new: Feature) -> Iterator[str]:
        for name in sorted(_names(new) & self._differ):
            yield f"it uses {name}, which changed"
        for path in sorted(old.paths & new.paths):
            one, other = self._old.fields.get(path), self._new.fields.get(path)
            if one and other and one.canonical != other.canonical:
                yield f"type or binding of the field {path}"
        if old.window is None or new.window is None:
            return
        bound = self._old.bindings, self._new.bindings
        before = bound[0].entities[old.window.entity]
        after = bound[1].entities[new.window.entity]
        if before != after:
            yield f"key of {new.window.entity}: {key_fields(before)} → {key_fields(after)}"
        if bound[0].event_id != bound[1].event_id:
            yield "binding of the event id"
        if bound[0].event_time != bound[1].event_time:
            yield "binding of the event time"
        if self._old.histories.rules != self._new.histories.rules:
            yield "settings of history"


def key_fields(key: EntityBinding) -> str:
    """Fields of an entity's key."""
    return ", ".join(map(_key_field, key.parts))


def _key_field(part: KeyPart) -> str:
    notes = ["may be null"] if part.nullable else []
    notes += [f"token of key {part.tokens.id}"] if part.tokens else []
    return f"{part.field.path} ({', '.join(notes)})" if notes else part.field.path


def _own_parts(before: Described, after: Described, old: Feature, new: Feature) -> Iterator[str]:
    if before.kind != after.kind:
        yield f"kind: {before.kind} → {after.kind}"
    if before.definition != after.definition:
        yield f"`{before.definition}` → `{after.definition}`"
    if number(before.default) != number(after.default):
        yield f"default: {number(before.default) or 'none'} → {number(after.default) or 'none'}"
    if before.across != after.across:
        yield f"across: {before.across or 'none'} → {after.across or 'none'}"
    one, other = old.categories, new.categories
    if one is not None and other is not None and one.values != other.values:
        lost = [repr(value) for value in one.values if value not in other.values]
        found = [repr(value) for value in other.values if value not in one.values]
        listed = [f"values removed: {', '.join(lost)}"] if lost else []
        listed += [f"values added: {', '.join(found)}"] if found else []
        yield "; ".join(listed) or "order of the values"


def _names(feature: Feature) -> set[str]:
    """Names in the expressions of a feature, and the feature that it aggregates."""
    spec = feature.spec
    texts = [text for text in (spec.expr, spec.where, *(spec.args or ())) if isinstance(text, str)]
    names = {name for text in texts for name in names_in(text)}
    return names | ({spec.of} if spec.of else set())
