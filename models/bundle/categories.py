"""Categories of a model's columns: those of its file, its splits, the manifest and a feature set.

A category is a place in a list: `category` features of features.yaml give these codes, and the
model splits by them. So the lists must be equal, in values and order.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from base.errors import BundleRefusedError
from models.bundle.category_sets import WORD_BITS
from models.bundle.manifest import Categories, CategoryList, FeatureRef, Manifest, NamedFeature
from models.bundle.simplify import ModelCategories, decode_name, is_whole
from models.bundle.trees import Trees

_SHOWN = 5


def category_counts(trees: Trees, columns: int) -> Mapping[int, int]:
    """Columns that the trees split by categories, each with the number of codes that it needs."""
    splits = np.flatnonzero(trees.by_category & (trees.feature >= 0) & (trees.feature < columns))
    last_words = trees.words[trees.set_end[splits] - 1].astype(np.float64)
    _, bits = np.frexp(last_words)
    counts = WORD_BITS * (trees.set_end - trees.set_begin - 1)[splits] + bits
    needed = np.zeros(columns, np.int64)
    np.maximum.at(needed, trees.feature[splits], counts)
    return {int(column): int(needed[column]) for column in np.flatnonzero(needed)}


def references(
    features: Sequence[NamedFeature], named: ModelCategories, where: str
) -> list[FeatureRef]:
    """Features with their categories.

    Args:
        features: Features in the order of the model's columns.
        named: Categories that the model file names, by column.
        where: Name of the model in messages.

    Raises:
        BundleRefusedError: if the model file names other categories than a feature.
    """
    made = []
    for column, feature in enumerate(features):
        categories, own = _as_part(feature.categories), named.get(column)
        if own is not None and not feature.fingerprint and categories is None:
            if is_whole(own):
                categories = Categories(values=own, other=False)
        elif own is not None:
            _check_same(feature.name, own, categories, where)
        made.append(
            FeatureRef(name=feature.name, fingerprint=feature.fingerprint, categories=categories)
        )
    return made


def describe_unconfirmed(
    features: Sequence[FeatureRef], named: ModelCategories, trees: Trees
) -> list[str]:
    """Notes about the categories that a model file does not confirm, for the model's owner.

    Args:
        features: Features, as from `references`.
        named: Categories that the model file names, by column.
        trees: Trees of the model.
    """
    notes = []
    for column in category_counts(trees, len(features)):
        feature, own = features[column], named.get(column)
        if not feature.fingerprint or feature.categories is None:
            continue
        values = feature.categories.values
        if own is None:
            notes.append(
                f"the model does not name the categories of {feature.name}: the codes of its "
                f"training must be those of features.yaml, from 0: {_some(values)}"
            )
        elif own[: len(values)] != values:
            notes.append(
                f"XGBoost 3.1 to 3.3 cuts names that are not ASCII, so the categories of "
                f"{feature.name} are compared in part: those of the training must be, in this "
                f"order: {_some(values)}"
            )
        elif feature.categories.other:
            notes.append(
                f"{own[-1]!r}, the last category of {feature.name}, stands for all values that "
                "features.yaml does not list"
            )
    return notes


def only_used(features: Sequence[FeatureRef], trees: Trees) -> tuple[FeatureRef, ...]:
    """Features with the categories of those alone that the trees split by categories."""
    counts = category_counts(trees, len(features))
    return tuple(
        feature if column in counts else feature.model_copy(update={"categories": None})
        for column, feature in enumerate(features)
    )


def check_categories(trees: Trees, manifest: Manifest, where: str) -> None:
    """Refuse a model that splits by other categories than its manifest names.

    Raises:
        BundleRefusedError: naming the feature and the difference.
    """
    counts = category_counts(trees, len(manifest.features))
    for column, feature in enumerate(manifest.features):
        count = counts.get(column, 0)
        if feature.categories is None:
            if count and feature.fingerprint:
                raise BundleRefusedError(
                    f"{where}: the model splits {feature.name} by categories, and the feature has "
                    "none; define it in features.yaml with category: {field: …, values: [...]}"
                )
        elif not 0 < count <= feature.categories.count:
            raise BundleRefusedError(
                f"{where}: {feature.name} has {feature.categories.count} categories, and the model "
                f"splits by {f'category {count - 1}' if count else 'thresholds'}; categories "
                "count from 0: list those of the training in features.yaml, in their order, and "
                "write the bundle again"
            )


def describe_difference(own: CategoryList, given: CategoryList | None) -> str:
    """Difference between a model's categories and those of a feature set; "" if there is none."""
    if given is None:
        return f"the model has {_some(own.values)}, features.yaml defines no category"
    if tuple(own.values) == tuple(given.values) and own.other == given.other:
        return ""
    lacking = [value for value in own.values if value not in given.values]
    added = [value for value in given.values if value not in own.values]
    parts = [
        f"the model has {_some(lacking)}, which features.yaml does not list" if lacking else "",
        f"features.yaml lists {_some(added)}, which the model does not have" if added else "",
    ]
    pairs = zip(own.values, given.values, strict=False)
    moved = next((code for code, (one, other) in enumerate(pairs) if one != other), None)
    if moved is not None and not lacking and not added:
        parts.append(
            f"code {moved} is {own.values[moved]!r} in the model and {given.values[moved]!r} in "
            "features.yaml"
        )
    if own.other != given.other:
        parts.append(f"other is {own.other} in the model and {given.other} in features.yaml")
    return "; ".join(filter(None, parts))


def _check_same(
    name: str, own: tuple[str | int, ...], given: Categories | None, where: str
) -> None:
    """Refuse categories of a model file that are not those of a feature.

    If the feature has a code for other values, the last category of the file is that code.
    """
    other = given is not None and given.other and len(own) == len(given.values) + 1
    listed = own[:-1] if other else own
    if given is not None and listed == _cut_by_characters(given.values):
        listed = given.values
    difference = describe_difference(Categories(values=listed, other=other), given)
    if difference:
        raise BundleRefusedError(
            f"{where}: the categories of {name} differ: {difference}; list the categories of the "
            "training in features.yaml in their order (pandas sorts them), or train the model again"
        )


def _cut_by_characters(values: tuple[str | int, ...]) -> tuple[str, ...]:
    """Names as XGBoost 3.1 to 3.3 write them from a data frame.

    They cut the UTF-8 bytes of all names, end to end, by the names' numbers of characters. Names in
    ASCII stay as they are.
    """
    names = [value for value in values if isinstance(value, str)]
    encoded = "".join(names).encode()
    ends = list(itertools.accumulate(map(len, names), initial=0))
    return tuple(decode_name(encoded[a:b]) for a, b in itertools.pairwise(ends))


def _as_part(given: CategoryList | None) -> Categories | None:
    if given is None:
        return None
    return Categories(values=tuple(given.values), other=given.other)


def _some(values: Sequence[str | int]) -> str:
    shown = ", ".join(repr(value)[:40] for value in values[:_SHOWN])
    return f"{shown} and {len(values) - _SHOWN} more" if len(values) > _SHOWN else shown
