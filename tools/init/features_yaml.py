"""Draft of features.yaml: guessed bindings and starter features."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from schemas.batch import Kind
from tools.init.guess import Guess, Guesses
from tools.init.leaves import Leaf
from tools.init.yaml_text import OPEN, commented, scalar

_MOST_SYMBOLS = 200
_MOST_BYTES_OF_NAME = 100


def features_yaml(name: str, schema: str, guesses: Guesses) -> str:
    """Text of the file.

    Args:
        name: Name of the feature set.
        schema: Name of the schema file beside it.
        guesses: Guessed bindings.
    """
    return "\n".join(
        [
            "# Input of the model: the meaning of an event's fields, and the features computed from",
            "# them. Each feature has a fingerprint, and a model names those it was trained on.",
            f"# Values marked guessed come from the names and types in {schema}: review them.",
            "",
            "# Name of the feature set; part of the keys in the online store.",
            commented(f"name: {scalar(name)}", "guessed: the folder's name"),
            "",
            "# A field is named by its path in the schema, such as merchant.country.",
            "events:",
            "  # Schema of the reader; writers' schemas may differ, as Avro's rules of resolution allow.",
            f"  schema: {scalar(schema)}",
            *_bindings(guesses),
            "",
            "# Entities with a history or attributes, by the field of their key. An event in which",
            "# one of these fields is null becomes a dead letter.",
            *_entities(guesses),
            "",
            *_LOOKUPS,
            "",
            *_HISTORY,
            "",
            "# Columns of the model, in order. A feature is a field, the codes of a category, an",
            "# expression, a value of a lookup, a window over the recent events of an entity, or a",
            "# Python function. An expression may use the features before it.",
            "features:",
            *_features(guesses),
            *_windows(guesses),
            "",
        ]
    )


def _bindings(guesses: Guesses) -> Iterator[str]:
    yield "  # Id of the event, the same in every delivery of it."
    yield commented(f"  id: {_path(guesses.event_id)}", _why(guesses.event_id))
    yield "  # Time of the event."
    yield _time(guesses)
    amount, key, label = guesses.amount, guesses.partition_key, guesses.label
    yield "  # Amount; scale: number of decimal digits, 2 for cents."
    text = f"amount: {{field: {_path(amount)}, scale: {guesses.amount_scale}}}"
    yield commented(f"  {_off(amount)}{text}", _why(amount), _minor_units(amount.leaf))
    yield "  # Field whose text is the key of the record."
    yield commented(f"  {_off(key)}partition_key: {_path(key)}", _why(key))
    yield "  # Label, in event files only: 1 for fraud; delay: time until a label is known."
    if label is None:
        yield "  #label: {field: is_fraud, delay: 7d}"
    else:
        text = f"label: {{field: {scalar(label.path)}, delay: 7d}}"
        yield commented(f"  {text}", "guessed: by its name; no feature uses it")
    yield "  # Names of the fields in event files, where they differ."
    yield "  #aliases: {amount: TX_AMOUNT}"


def _time(guesses: Guesses) -> str:
    path, unit = _path(guesses.time), guesses.time_unit
    value = path if unit is None else f"{{field: {path}, unit: {unit}}}"
    remark = ""
    if unit == OPEN:
        remark = "its name does not show its unit: s, ms, us or ns"
    elif guesses.time.leaf is not None and guesses.time.leaf.logical == "date":
        remark = "a date: its hour is always 0"
    return commented(f"  time: {value}", _why(guesses.time), remark)


def _minor_units(leaf: Leaf | None) -> str:
    if leaf is None or leaf.kind is Kind.DECIMAL:
        return ""
    if leaf.kind is Kind.LONG:
        return "a long is read as minor units (cents)"
    return "most currencies have cents"


def _entities(guesses: Guesses) -> Iterator[str]:
    yield "entities:" if guesses.entities else "entities: {}"
    for name, leaf in guesses.entities.items():
        yield commented(f"  {name}: {scalar(leaf.path)}", "guessed: by its name")
    for name, leaf in guesses.left_out.items():
        yield commented(f"  #{name}: {scalar(leaf.path)}", "left out: it may be null")


_LOOKUPS = (
    "# Values in the online store by entity key, such as fraud-worker features load writes them.",
    "# default: used if there is no value, or if it is older than max_age at the event's time.",
    "#lookups:",
    "  #customer_profile: {by: customer, max_age: 30d, values: {mean_amount: {default: 0}}}",
)

_HISTORY = (
    "# Settings of all windows: how late an event may be and still count, how long duplicates are",
    "# recognised, how many events of an entity a window sees at most, and how many events with a",
    "# later time it takes to advance the watermark.",
    "#history: {allowed_lateness: 1h, duplicates: 1d, cap: 10000, watermark_support: 3}",
)


@dataclass(frozen=True, slots=True)
class Starter:
    """A feature to begin with.

    Attributes:
        name: Its name.
        role: `amount`, `time` or "".
        line: Its line in features.yaml.
    """

    name: str
    role: str
    line: str


def starters(guesses: Guesses) -> list[Starter]:
    """Features to begin with; one placeholder to fill in where none can be guessed."""
    names = _Names(leaf.path for leaf in _all(guesses))
    found = [*_starters(guesses, names)]
    return found or [
        Starter(
            "first",
            "",
            commented(f"  - {{name: first, field: {OPEN}}}", "no field could be guessed"),
        )
    ]


def _features(guesses: Guesses) -> Iterator[str]:
    yield from (starter.line for starter in starters(guesses))
    rest = [f"{leaf.path} ({leaf.kind.value})" for leaf in guesses.others if not _is_used(leaf)]
    if rest:
        yield "  # Other fields that features may use:"
        yield from (f"  #   {item}" for item in rest)


def _starters(guesses: Guesses, names: _Names) -> Iterator[Starter]:
    amount, time = guesses.amount.leaf, guesses.time.leaf
    if amount is not None:
        name = names.same(amount)
        line = f"  - {{name: {scalar(name)}, field: {scalar(amount.path)}}}"
        yield Starter(name, "amount", commented(line, "in major units"))
    if time is not None and guesses.time_unit != OPEN and _in_expressions(time.path):
        for function, remark in (("hour", "0 to 23, UTC"), ("weekday", "0 is Monday, UTC")):
            name = names.new(function)
            line = f"  - {{name: {scalar(name)}, expr: {function}({time.path})}}"
            yield Starter(name, "time", commented(line, remark))
    for leaf in guesses.others:
        path = scalar(leaf.path)
        if leaf.kind is Kind.BOOL:
            name = names.same(leaf)
            yield Starter(name, "", f"  - {{name: {scalar(name)}, field: {path}}}")
        elif _is_used(leaf):
            values = ", ".join(map(scalar, leaf.symbols))
            name = names.new(f"{leaf.name}_code")
            text = f"category: {{field: {path}, values: [{values}]}}"
            yield Starter(name, "", f"  - {{name: {scalar(name)}, {text}}}")


def _windows(guesses: Guesses) -> Iterator[str]:
    """Lines of windows to begin with, commented out because they need a store."""
    if not guesses.entities:
        return
    key, amount = guesses.partition_key.leaf, guesses.amount.leaf
    own = [name for name, leaf in guesses.entities.items() if key and leaf.path == key.path]
    entity = own[0] if own else next(iter(guesses.entities))
    yield "  # Windows; their histories are kept in the store of worker.yaml."
    text = f"#- {{name: {entity}_count_7d, window: count, by: {entity}, over: 7d}}"
    yield commented(f"  {text}", "" if own else "with several partitions, add a delay")
    if amount is not None:
        of = scalar(amount.path)
        yield f"  #- {{name: {entity}_mean_30d, window: mean, of: {of}, by: {entity}, over: 30d}}"


def _is_used(leaf: Leaf) -> bool:
    return leaf.kind is Kind.BOOL or 0 < len(leaf.symbols) <= _MOST_SYMBOLS


def _all(guesses: Guesses) -> Iterator[Leaf]:
    bound = (guesses.event_id.leaf, guesses.time.leaf, guesses.amount.leaf, guesses.label)
    yield from (leaf for leaf in bound if leaf is not None)
    yield from (*guesses.entities.values(), *guesses.left_out.values(), *guesses.others)


class _Names:
    """Unique names for features, none equal to the name of another field."""

    def __init__(self, fields: Iterable[str]) -> None:
        self._taken = set(fields)

    def same(self, leaf: Leaf) -> str:
        """Return the field's own path where it is a plain name, else a new name."""
        if "." not in leaf.path and len(leaf.path) <= _MOST_BYTES_OF_NAME:
            return leaf.path
        return self.new(leaf.name)

    def new(self, wish: str) -> str:
        wish = wish[-_MOST_BYTES_OF_NAME:]
        name, number = wish, 2
        while name in self._taken:
            name, number = f"{wish}_{number}", number + 1
        self._taken.add(name)
        return name


def _in_expressions(path: str) -> bool:
    return not any(keyword.iskeyword(part) for part in path.split("."))


def _path(guess: Guess) -> str:
    return OPEN if guess.leaf is None else scalar(guess.leaf.path)


def _off(guess: Guess) -> str:
    """Comment out an optional binding for which no field was guessed."""
    return "#" if guess.leaf is None else ""


def _why(guess: Guess) -> str:
    if guess.leaf is None:
        return f"not guessed: {guess.why}"
    null = "; an event in which it is null becomes a dead letter" if guess.leaf.nullable else ""
    return f"guessed: {guess.why}{null}"
