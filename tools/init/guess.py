"""Guesses of the meaning of an event's fields, from their names and types."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from schemas.batch import Kind
from tools.init.leaves import Leaf, Record
from tools.init.yaml_text import OPEN

_ID_WORDS = (
    *("id", "uuid", "guid", "identifier", "number", "num", "no", "nr"),
    *("reference", "ref", "key", "hash", "token"),
)
_EVENT_WORDS = (
    *("transaction", "event", "payment", "purchase", "authorization", "authorisation"),
    *("transfer", "operation", "order", "auth", "message", "request"),
)
_PAYERS = ("card", "customer", "cardholder", "account", "client", "user", "payer", "member")
_ENTITIES = (*_PAYERS, "wallet", "device", "merchant", "terminal", "payee", "beneficiary")
_TIME_WORDS = frozenset(
    {"time", "timestamp", "ts", "datetime", "date", "at", "when", "epoch", "millis", "occurred"}
)
_OTHER_TIMES = frozenset(
    {
        *("birth", "born", "dob", "expiry", "expires", "expiration", "until", "valid", "since"),
        *("updated", "modified", "ingested", "ingest", "processed", "processing", "loaded"),
        *("settled", "settlement", "booked", "booking", "posted", "posting", "label", "chargeback"),
    }
)
_UNITS = {
    **dict.fromkeys(("ms", "millis", "milliseconds"), "ms"),
    **dict.fromkeys(("s", "sec", "secs", "seconds"), "s"),
    **dict.fromkeys(("us", "micros", "microseconds"), "us"),
    **dict.fromkeys(("ns", "nanos", "nanoseconds"), "ns"),
}
_AMOUNT_WORDS = ("amount", "value", "sum", "total", "price")
_OTHER_AMOUNTS = frozenset(
    {
        *("average", "avg", "balance", "cashback", "count", "fee", "id", "limit", "max", "mean"),
        *("min", "number", "rate", "risk", "score", "tax", "tip", "type"),
    }
)
_LABEL_WORDS = frozenset({"fraud", "fraudulent", "chargeback", "label"})
_MOST_MINOR_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Guess:
    """Guess of the field for a binding.

    Attributes:
        leaf: The field; None if none fits.
        why: The reason, in words.
    """

    leaf: Leaf | None
    why: str


@dataclass(frozen=True, slots=True)
class Guesses:
    """Guesses for the fields of a record.

    Attributes:
        event_id: Field of the event id.
        time: Field of the event time.
        time_unit: Unit of a time that is a plain number; OPEN where its name tells none.
        amount: Field of the amount.
        amount_scale: Number of decimal digits of the minor unit.
        partition_key: Field that keys the records.
        entities: Key field of each entity.
        left_out: Key field of each entity that is left out because its field may be null.
        label: Field of the label; None if none fits.
        others: All other fields.
    """

    event_id: Guess
    time: Guess
    time_unit: str | None
    amount: Guess
    amount_scale: int
    partition_key: Guess
    entities: dict[str, Leaf]
    left_out: dict[str, Leaf]
    label: Leaf | None
    others: tuple[Leaf, ...]


def guess(record: Record) -> Guesses:
    """Guess the bindings of a record."""
    leaves = [leaf for leaf in record.leaves if not _is_label(leaf)]
    event_id = _event_id(leaves, record.words)
    keys = [leaf for leaf in leaves if leaf is not event_id.leaf]
    candidates = _entities(keys)
    entities = {name: leaf for name, leaf in candidates.items() if not leaf.nullable}
    time, unit = _time(leaves)
    amount, scale = _amount(leaves)
    bound = {event_id.leaf, time.leaf, amount.leaf, *entities.values()}
    labels = [leaf for leaf in record.leaves if _is_label(leaf)]
    return Guesses(
        event_id=event_id,
        time=time,
        time_unit=unit,
        amount=amount,
        amount_scale=scale,
        partition_key=_partition_key(entities),
        entities=entities,
        left_out={name: leaf for name, leaf in candidates.items() if leaf.nullable},
        label=next((leaf for leaf in labels if leaf.kind in (Kind.BOOL, Kind.LONG)), None),
        others=tuple(leaf for leaf in leaves if leaf not in bound),
    )


def _is_label(leaf: Leaf) -> bool:
    return not _LABEL_WORDS.isdisjoint(leaf.own_words)


def _event_id(leaves: Iterable[Leaf], record_words: tuple[str, ...]) -> Guess:
    nouns = (*_EVENT_WORDS, *record_words)

    def rank(leaf: Leaf) -> int | None:
        if not _is_key(leaf):
            return None
        if leaf.words in (("id",), ("uuid",), ("guid",)):
            return len(nouns)
        noun = _noun_of_id(leaf.words)
        return nouns.index(noun) if noun in nouns else None

    return _best(leaves, rank, "no field is named like the id of an event")


def _noun_of_id(words: tuple[str, ...]) -> str | None:
    """Noun of a key's name: ``card`` of ``card_id``, ``card.number`` and ``id_card``."""
    if len(words) > 1 and words[-1] in _ID_WORDS:
        return words[-2]
    if len(words) == 2 and words[0] == "id":
        return words[1]
    return None


def _is_key(leaf: Leaf) -> bool:
    return leaf.kind in (Kind.STRING, Kind.LONG) and not leaf.symbols


def _entities(leaves: Iterable[Leaf]) -> dict[str, Leaf]:
    """Entities in the order of the schema; where several fields fit one, the likeliest."""
    ranked: dict[str, tuple[int, Leaf]] = {}
    for leaf in filter(_is_key, leaves):
        noun = _noun_of_id(leaf.words)
        rank = 0
        if noun is None and leaf.own == 1:
            # The bare word may hold something else, such as the kind of card.
            noun, rank = leaf.words[-1], 1
        if noun in _ENTITIES and rank < ranked.get(noun, (2, leaf))[0]:
            ranked[noun] = (rank, leaf)
    return {noun: leaf for noun, (_, leaf) in ranked.items()}


def _partition_key(entities: dict[str, Leaf]) -> Guess:
    payers = [name for name in _PAYERS if name in entities]
    if not payers:
        return Guess(None, "no field is named like a card, customer or account")
    others = [entities[name].path for name in payers[1:]]
    return Guess(entities[payers[0]], _and_others("by its name", others))


def _time(leaves: Iterable[Leaf]) -> tuple[Guess, str | None]:
    def rank(leaf: Leaf) -> int | None:
        if not _OTHER_TIMES.isdisjoint(leaf.own_words):
            return None
        named = not _TIME_WORDS.isdisjoint(leaf.own_words)
        if leaf.kind is Kind.TIME:
            # A date tells only the day.
            return (0 if named else 1) + (2 if leaf.logical == "date" else 0)
        return 4 if leaf.kind is Kind.LONG and named else None

    best = _best(leaves, rank, "no field is a timestamp, or a long that is named like a time")
    if best.leaf is None or best.leaf.kind is Kind.TIME:
        return best, None
    units = [_UNITS[word] for word in best.leaf.own_words if word in _UNITS]
    return best, units[0] if units else OPEN


def _amount(leaves: Iterable[Leaf]) -> tuple[Guess, int]:
    def rank(leaf: Leaf) -> int | None:
        if leaf.kind not in (Kind.DOUBLE, Kind.DECIMAL, Kind.LONG):
            return None
        words = leaf.own_words
        if not _OTHER_AMOUNTS.isdisjoint(words):
            return None
        return next((i for i, word in enumerate(_AMOUNT_WORDS) if word in words), None)

    best = _best(leaves, rank, "no number is named like an amount")
    if best.leaf is not None and best.leaf.kind is Kind.DECIMAL:
        return best, min(best.leaf.scale, _MOST_MINOR_DIGITS)
    return best, 2


def _best(leaves: Iterable[Leaf], rank: Callable[[Leaf], int | None], nothing: str) -> Guess:
    """Guess the leaf of the lowest rank, the first of several; rank None excludes a leaf."""
    ranked = [(place, leaf) for leaf in leaves if (place := rank(leaf)) is not None]
    if not ranked:
        return Guess(None, nothing)
    lowest, best = min(ranked, key=lambda item: item[0])
    others = [leaf.path for place, leaf in ranked if place == lowest and leaf is not best]
    return Guess(best, _and_others("by its name and type", others))


def _and_others(why: str, others: list[str]) -> str:
    return f"{why}; it could also be {' or '.join(others)}" if others else why
