"""Guesses of the meaning of an event's fields, from their names and types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
PAYERS = ("card", "customer", "cardholder", "account", "client", "user", "payer", "member")
_ENTITIES = (*PAYERS, "wallet", "device", "merchant", "terminal", "payee", "beneficiary")
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
_MOST_SYMBOLS = 200


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
        source: The evidence, in words.
        paths: All fields of the record.
        event_id: Field of the event id.
        time: Field of the event time.
        time_unit: Unit of a time that is a plain number; OPEN where nothing tells it.
        amount: Field of the amount.
        amount_scale: Number of decimal digits of the minor unit.
        partition_key: Field that keys the records.
        entities: Key field of each entity.
        left_out: Key field of each entity that is left out, and the reason.
        label: Field of the label.
        features: Further fields that are features to begin with.
        others: Other fields that features may use, each with a reason why none does, or "".
        excluded: Columns of a file that no feature can or should use, each with the reason.
        aliases: Names of fields in files, by path, where they differ.
        with_windows: True if windows are written as features, False if as comments.
    """

    source: str
    paths: tuple[str, ...]
    event_id: Guess
    time: Guess
    time_unit: str | None
    amount: Guess
    amount_scale: int
    partition_key: Guess
    entities: Mapping[str, Guess]
    left_out: Mapping[str, Guess]
    label: Guess
    features: tuple[Leaf, ...]
    others: Mapping[str, str]
    excluded: Mapping[str, str]
    aliases: Mapping[str, str]
    with_windows: bool


def guess(record: Record, schema: str) -> Guesses:
    """Guess the bindings of a record by the names and types in its schema file ``schema``."""
    leaves = [leaf for leaf in record.leaves if not is_label(leaf)]
    event_id = best(leaves, id_rank(record), NO_ID)
    candidates = entities([leaf for leaf in leaves if leaf is not event_id.leaf])
    may_be_null = {name: leaf for name, leaf in candidates.items() if leaf.nullable}
    bound = {name: Guess(leaf, BY_NAME) for name, leaf in candidates.items() if not leaf.nullable}
    time, unit = _time(leaves)
    amount = best(leaves, amount_rank, NO_AMOUNT)
    labels = [leaf for leaf in record.leaves if is_label(leaf)]
    label = next((leaf for leaf in labels if leaf.kind in (Kind.BOOL, Kind.LONG)), None)
    taken = {event_id.leaf, time.leaf, amount.leaf, *(key.leaf for key in bound.values())}
    rest = [leaf for leaf in leaves if leaf not in taken]
    features = tuple(leaf for leaf in rest if _is_used(leaf))
    return Guesses(
        source=f"the names and types in {schema}",
        paths=tuple(leaf.path for leaf in record.leaves),
        event_id=event_id,
        time=time,
        time_unit=unit,
        amount=amount,
        amount_scale=_decimal_scale(amount.leaf),
        partition_key=partition_key(bound),
        entities=bound,
        left_out={name: Guess(leaf, "it may be null") for name, leaf in may_be_null.items()},
        label=Guess(label, BY_NAME),
        features=features,
        others={f"{leaf.path} ({leaf.kind.value})": "" for leaf in rest if leaf not in features},
        excluded={},
        aliases={},
        with_windows=False,
    )


BY_NAME = "by its name"
NO_ID = "no field is named like the id of an event"
NO_AMOUNT = "no number is named like an amount"


def is_label(leaf: Leaf) -> bool:
    """True for a field that is named like a label."""
    return not _LABEL_WORDS.isdisjoint(leaf.own_words)


def _is_used(leaf: Leaf) -> bool:
    return leaf.kind is Kind.BOOL or 0 < len(leaf.symbols) <= _MOST_SYMBOLS


def id_rank(record: Record) -> Callable[[Leaf], int | None]:
    """Rank of a field as the event id by its name, lowest first; None if it is not named so."""
    nouns = (*_EVENT_WORDS, *record.words)

    def rank(leaf: Leaf) -> int | None:
        if not is_key(leaf):
            return None
        if leaf.words in (("id",), ("uuid",), ("guid",)):
            return len(nouns)
        noun = _noun_of_id(leaf.words)
        return nouns.index(noun) if noun in nouns else None

    return rank


def names_a_key(words: tuple[str, ...]) -> bool:
    """True for the words of a name such as ``card_number`` or ``txid``."""
    return _noun_of_id(words) in (*_ENTITIES, *_EVENT_WORDS) or words[-1:] == ("id",)


def _noun_of_id(words: tuple[str, ...]) -> str | None:
    """Noun of a key's name: ``card`` of ``card_id``, ``card.number`` and ``id_card``."""
    if len(words) > 1 and words[-1] in _ID_WORDS:
        return words[-2]
    if len(words) == 2 and words[0] == "id":
        return words[1]
    return None


def is_key(leaf: Leaf) -> bool:
    """True for a field of text or whole numbers."""
    return leaf.kind in (Kind.STRING, Kind.LONG) and not leaf.symbols


def entities(leaves: Iterable[Leaf]) -> dict[str, Leaf]:
    """Entities in the order of the schema; where several fields fit one, the likeliest."""
    ranked: dict[str, tuple[int, Leaf]] = {}
    for leaf in filter(is_key, leaves):
        noun = _noun_of_id(leaf.words)
        rank = 0
        own = [word for word in leaf.own_words if not word.isdigit()]
        if noun is None and len(own) == 1:
            # The bare word may hold something else, such as the kind of card.
            noun, rank = own[0], 1
        if noun in _ENTITIES and rank < ranked.get(noun, (2, leaf))[0]:
            ranked[noun] = (rank, leaf)
    return {noun: leaf for noun, (_, leaf) in ranked.items()}


def partition_key(bound: Mapping[str, Guess]) -> Guess:
    """Guess the field that keys the records: the payer's, of the entities."""
    payers = [name for name in PAYERS if name in bound]
    if not payers:
        return Guess(None, "no field is named like a card, customer or account")
    others = [leaf.path for name in payers[1:] if (leaf := bound[name].leaf)]
    return Guess(bound[payers[0]].leaf, and_others(bound[payers[0]].why, others))


def is_other_time(leaf: Leaf) -> bool:
    """True for a field that is named like a time of something else, such as a date of birth."""
    return not _OTHER_TIMES.isdisjoint(leaf.own_words)


def names_a_time(words: tuple[str, ...]) -> bool:
    """True for the words of a name such as ``created_at``."""
    return not _TIME_WORDS.isdisjoint(words)


def time_rank(leaf: Leaf) -> int | None:
    """Rank of a field as the event time by its name and type, lowest first; None if it is none."""
    if is_other_time(leaf):
        return None
    named = names_a_time(leaf.own_words)
    if leaf.kind is Kind.TIME:
        # A date tells only the day.
        return (0 if named else 1) + (2 if leaf.logical == "date" else 0)
    return 4 if leaf.kind is Kind.LONG and named else None


def _time(leaves: Iterable[Leaf]) -> tuple[Guess, str | None]:
    nothing = "no field is a timestamp, or a long that is named like a time"
    time = best(leaves, time_rank, nothing)
    if time.leaf is None or time.leaf.kind is Kind.TIME:
        return time, None
    units = [_UNITS[word] for word in time.leaf.own_words if word in _UNITS]
    return time, units[0] if units else OPEN


def amount_rank(leaf: Leaf) -> int | None:
    """Rank of a field as the amount by its name and type, lowest first; None if it is none."""
    if leaf.kind not in (Kind.DOUBLE, Kind.DECIMAL, Kind.LONG):
        return None
    words = leaf.own_words
    if not _OTHER_AMOUNTS.isdisjoint(words):
        return None
    return next((i for i, word in enumerate(_AMOUNT_WORDS) if word in words), None)


def _decimal_scale(leaf: Leaf | None) -> int:
    if leaf is not None and leaf.kind is Kind.DECIMAL:
        return min(leaf.scale, _MOST_MINOR_DIGITS)
    return 2


def best(leaves: Iterable[Leaf], rank: Callable[[Leaf], int | None], nothing: str) -> Guess:
    """Guess the leaf of the lowest rank, the first of several; rank None excludes a leaf."""
    ranked = [(place, leaf) for leaf in leaves if (place := rank(leaf)) is not None]
    if not ranked:
        return Guess(None, nothing)
    lowest, chosen = min(ranked, key=lambda item: item[0])
    others = [leaf.path for place, leaf in ranked if place == lowest and leaf is not chosen]
    return Guess(chosen, and_others("by its name and type", others))


def and_others(why: str, others: list[str]) -> str:
    """Reason ``why``, and the fields that could have been chosen too."""
    return f"{why}; it could also be {' or '.join(others)}" if others else why
