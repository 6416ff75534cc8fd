"""Guesses of the entities of a sample, and of the key of its records."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from schemas.batch import Kind
from tools.init.facts import Facts
from tools.init.guess import (
    PAYERS,
    Guess,
    and_others,
    entities,
    is_key,
    names_a_key,
    partition_key,
)
from tools.init.leaves import Leaf
from tools.init.sampled_record import SampledRecord

_FEWEST_KEYS = 20
_MOST_CHARACTERS = 100


def guess_entities(
    leaves: list[Leaf], sampled: SampledRecord
) -> tuple[dict[str, Guess], dict[str, Guess]]:
    """Guess the entities that are bound, and those that are left out."""
    bound: dict[str, Guess] = {}
    left_out: dict[str, Guess] = {}
    for name, leaf in entities(leaves).items():
        facts = sampled.facts[leaf.path]
        if facts.nulls:
            left_out[name] = Guess(leaf, f"it is null in {facts.nulls_share:.1%} of the rows")
        elif sampled.is_proven(facts.distinct / sampled.rows):
            left_out[name] = Guess(leaf, f"hardly any value is repeated in {sampled.extent}")
        else:
            bound[name] = Guess(leaf, f"by its name; {_keys(facts, sampled)}")
    if not any(name in bound for name in PAYERS):
        named = [key.leaf for key in bound.values()]
        others = [leaf for leaf in leaves if leaf not in named]
        bound |= _unnamed(others, sampled, {*bound, *left_out})
    return bound, left_out


def _unnamed(
    leaves: Iterable[Leaf], sampled: SampledRecord, taken: Collection[str]
) -> dict[str, Guess]:
    """Guess an entity by its values alone: the key with most values, each of several events."""
    keys = [
        leaf
        for leaf in leaves
        if is_key(leaf)
        and (leaf.kind is Kind.STRING or names_a_key(leaf.words))
        and not sampled.facts[leaf.path].nulls
        and _FEWEST_KEYS <= sampled.facts[leaf.path].distinct <= sampled.rows / 2
    ]
    if not keys:
        return {}
    leaf = max(keys, key=lambda key: sampled.facts[key.path].distinct)
    name = "_".join(leaf.own_words)[:_MOST_CHARACTERS]
    if not name or name[0].isdigit() or name in taken:
        name = f"key_{name}".rstrip("_")
    others = [key.path for key in keys if key is not leaf]
    why = f"the most repeated keys: {_keys(sampled.facts[leaf.path], sampled)}"
    return {name: Guess(leaf, and_others(why, others))}


def _keys(facts: Facts, sampled: SampledRecord) -> str:
    return f"{facts.distinct:,} distinct values in {sampled.extent}"


def guess_partition_key(bound: Mapping[str, Guess]) -> Guess:
    """Guess the field that keys the records: the payer's, or a key guessed by its values."""
    guess = partition_key(bound)
    unnamed = [key for key in bound.values() if not key.why.startswith("by its name")]
    return unnamed[0] if guess.leaf is None and unnamed else guess
