"""Guesses of the meaning of an event's fields, from the values in the first rows of a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pyarrow as pa

from base.arrays import Mask
from schemas.batch import Kind
from schemas.files.arrow_values import is_text
from tools.init.facts import Facts
from tools.init.guess import (
    NO_AMOUNT,
    Guess,
    Guesses,
    amount_rank,
    and_others,
    best,
    id_rank,
    is_key,
    is_label,
    is_other_time,
    names_a_key,
    time_rank,
)
from tools.init.guess_keys import guess_entities, guess_partition_key
from tools.init.leaks import gives_label_away
from tools.init.leaves import Leaf
from tools.init.sampled_record import NEARLY, SampledRecord
from tools.init.yaml_text import scalar

_MOST_CATEGORIES = 50
_MOST_CHARACTERS = 100
_MOST_FEATURES = 2_000
_TARGET_WORDS = frozenset({"class", "target", "outcome"})
_USUAL_DIGITS = 2
_SINGLES = (pa.float16(), pa.float32())


def guess_from(sampled: SampledRecord) -> tuple[Guesses, frozenset[str]]:
    """Guess the bindings of a record by the values of a sample.

    Returns:
        The guesses, and the paths of the label and of the columns that give it away.
    """
    facts = sampled.facts
    leaves = [leaf for leaf in sampled.record.leaves if leaf.path in facts]
    label = _label(leaves, sampled)
    leaks = _leaks(leaves, label.leaf, sampled)
    rest = [leaf for leaf in leaves if leaf is not label.leaf and leaf.path not in leaks]
    time, unit = _time(rest, sampled)
    event_id = _event_id([leaf for leaf in rest if leaf is not time.leaf], sampled)
    amount = best([leaf for leaf in rest if leaf is not event_id.leaf], amount_rank, NO_AMOUNT)
    taken = [event_id.leaf, time.leaf, amount.leaf]
    bound, left_out = guess_entities([leaf for leaf in rest if leaf not in taken], sampled)
    taken += [key.leaf for key in bound.values()]
    features, others = _features([leaf for leaf in rest if leaf not in taken], sampled)
    hidden = frozenset({*leaks, *([label.leaf.path] if label.leaf else [])})
    used = {path: name for path, name in sampled.names.items() if path not in leaks}
    guesses = Guesses(
        source=f"the values in {sampled.extent} of {sampled.file}",
        paths=tuple(leaf.path for leaf in sampled.record.leaves),
        event_id=event_id,
        time=time,
        time_unit=unit,
        amount=amount,
        amount_scale=_amount_scale(amount.leaf, sampled),
        partition_key=guess_partition_key(bound),
        entities=bound,
        left_out=left_out,
        label=label,
        features=features,
        others=others,
        excluded={**leaks, **{scalar(name): why for name, why in sampled.unusable.items()}},
        aliases={path: name for path, name in used.items() if path != name},
        with_windows=True,
    )
    return guesses, hidden


def _label(leaves: Iterable[Leaf], sampled: SampledRecord) -> Guess:
    def rank(leaf: Leaf) -> int | None:
        named = is_label(leaf) or not _TARGET_WORDS.isdisjoint(leaf.own_words)
        if not named or leaf.kind in (Kind.TIME, Kind.DECIMAL):
            return None
        if not sampled.facts[leaf.path].is_zero_or_one:
            return None
        # The label itself has fewer words than what is said of it, such as is_fraud_confirmed.
        return leaf.own + (0 if is_label(leaf) else 100)

    label = best(leaves, rank, "no column that is 0 or 1 is named like a label")
    if label.leaf is None:
        return label
    share = sampled.facts[label.leaf.path].fraud.mean()
    return replace(label, why=f"by its name; {share:.2%} of {sampled.extent} are 1")


def _leaks(leaves: Iterable[Leaf], label: Leaf | None, sampled: SampledRecord) -> dict[str, str]:
    """Reasons to leave columns out because of the label, by path."""
    fraud: Mask = np.zeros(sampled.rows, np.bool_)
    if label is not None:
        fraud = sampled.facts[label.path].fraud
    leaks = {}
    for leaf in leaves:
        if leaf is label:
            continue
        if is_label(leaf):
            leaks[leaf.path] = "named like a label"
        elif gives_label_away(sampled.facts[leaf.path], fraud):
            leaks[leaf.path] = "gives the label away: nearly all frauds have values of their own"
    return leaks


def _time(leaves: Iterable[Leaf], sampled: SampledRecord) -> tuple[Guess, str | None]:
    ranked = []
    for leaf in leaves:
        facts = sampled.facts[leaf.path]
        unit = facts.unit if leaf.kind is Kind.LONG else None
        fits = facts.is_event_time if leaf.kind is Kind.TIME else unit is not None
        if not fits or is_other_time(leaf) or (facts.distinct == 1 < sampled.rows):
            continue
        rank = time_rank(leaf)
        in_order = sampled.is_in_order(leaf)
        if rank is None and not in_order:
            continue
        ranked.append(((not in_order, 5 if rank is None else rank), leaf, unit))
    if not ranked:
        return Guess(None, _no_time(leaves, sampled)), None
    _, leaf, unit = min(ranked, key=lambda item: item[0])
    facts = sampled.facts[leaf.path]
    order = "in order"
    if not sampled.is_in_order(leaf):
        order = f"{1 - facts.in_order_share:.0%} of the rows are out of order: build with --sort"
    why = f"{facts.days(unit)}, {order}"
    if is_text(sampled.stored[leaf.path]):
        why += "; text in the file, and a timestamp in the schema"
    others = [other.path for _, other, _ in ranked if other is not leaf]
    return Guess(leaf, and_others(why, others)), unit


def _no_time(leaves: Iterable[Leaf], sampled: SampledRecord) -> str:
    rising = [
        f"{leaf.path} rises from {facts.numbers[0]:,.0f} to {facts.numbers[-1]:,.0f}"
        for leaf in leaves
        if (facts := sampled.facts[leaf.path]).never_falls
        and facts.numbers is not None
        and not names_a_key(leaf.words)
    ]
    remedy = "no column has times in 2000 to 2099; add one to the file"
    if not rising:
        return remedy
    return f"{remedy}, such as an origin plus what counts from it ({'; '.join(rising[:3])})"


def _event_id(leaves: Iterable[Leaf], sampled: SampledRecord) -> Guess:
    named = id_rank(sampled.record)

    def rank(leaf: Leaf) -> int | None:
        facts = sampled.facts[leaf.path]
        if not is_key(leaf) or facts.nulls:
            return None
        by_name = named(leaf)
        distinct = facts.distinct / sampled.rows
        if by_name is not None:
            return by_name if distinct >= NEARLY or sampled.is_small else None
        if not (facts.is_unique and sampled.is_proven(distinct)):
            return None
        return 1_000 if names_a_key(leaf.words) else 2_000 + facts.never_falls

    nothing = (
        f"no column of text or whole numbers is unique in {sampled.extent}; add one to the file"
    )
    event_id = best(leaves, rank, nothing)
    if event_id.leaf is None:
        return event_id
    facts = sampled.facts[event_id.leaf.path]
    unique = f"unique in {sampled.extent}"
    if not facts.is_unique:
        unique = (
            f"{facts.distinct:,} distinct values in {sampled.extent}: repeated ids are duplicates"
        )
    return replace(event_id, why=event_id.why.replace("by its name and type", unique))


def _amount_scale(leaf: Leaf | None, sampled: SampledRecord) -> int:
    if leaf is None:
        return _USUAL_DIGITS
    if leaf.kind is Kind.DECIMAL:
        return min(leaf.scale, 9)
    if leaf.kind is Kind.LONG:
        return _USUAL_DIGITS
    single = sampled.stored[leaf.path] in _SINGLES
    return max(_USUAL_DIGITS, sampled.facts[leaf.path].decimal_digits(single=single) or 0)


def _features(
    leaves: Iterable[Leaf], sampled: SampledRecord
) -> tuple[tuple[Leaf, ...], dict[str, str]]:
    """Choose further features to begin with; and the other fields, each with the reason."""
    features: list[Leaf] = []
    others: dict[str, str] = {}
    for leaf in leaves:
        facts = sampled.facts[leaf.path]
        why = _why_no_feature(leaf, facts, sampled.rows)
        if not why and len(features) == _MOST_FEATURES:
            why = f"there are {_MOST_FEATURES:,} features already"
        if why:
            others[f"{leaf.path} ({leaf.kind.value})"] = why
        elif leaf.kind is Kind.STRING and not leaf.symbols:
            features.append(replace(leaf, symbols=tuple(facts.most_frequent)))
        else:
            features.append(leaf)
    return tuple(features), others


def _why_no_feature(leaf: Leaf, facts: Facts, rows: int) -> str:
    if facts.distinct < 2:
        return "always the same value"
    if leaf.kind is Kind.TIME:
        return "a time; an expression may use it"
    if leaf.kind is Kind.STRING:
        if facts.distinct > min(_MOST_CATEGORIES, max(rows // 4, 2)):
            return f"text of {facts.distinct:,} distinct values"
        usable = all(
            value.isprintable() and 0 < len(value) <= _MOST_CHARACTERS for value in facts.values
        )
        return "" if usable else "some texts are empty, long or not printable"
    if leaf.kind is Kind.LONG and names_a_key(leaf.words):
        return "named like a key"
    if leaf.kind is Kind.LONG and facts.unit is not None:
        return f"a time in {facts.unit}"
    if facts.never_falls:
        return "rises from row to row, like a time or a counter"
    return ""
