"""Draft of features.yaml: guessed bindings and starter features."""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from schemas.batch import Kind
from tools.init.guess import Guess, Guesses
from tools.init.leaves import Leaf
from tools.init.yaml_text import OPEN, commented, scalar

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
            f"# Values marked guessed come from {' '.join(guesses.source.split())}: review them.",
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
    if label.leaf is None:
        yield commented("  #label: {field: is_fraud, delay: 7d}", f"not guessed: {label.why}")
    else:
        text = f"label: {{field: {_path(label)}, delay: 7d}}"
        yield commented(f"  {text}", f"guessed: {label.why}; no feature uses it")
    yield "  # Names of the fields in event files, where they differ."
    if not guesses.aliases:
        yield "  #aliases: {amount: TX_AMOUNT}"
        return
    yield "  aliases:"
    for path, alias in guesses.aliases.items():
        yield f"    {scalar(path)}: {scalar(alias)}"


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
    for name, key in guesses.entities.items():
        yield commented(f"  {scalar(name)}: {_path(key)}", _why(key))
    for name, key in guesses.left_out.items():
        yield commented(f"  #{name}: {_path(key)}", f"left out: {key.why}")


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
    names = _Names(guesses.paths)
    found = [*_of_event(guesses, names)]
    if guesses.with_windows:
        found += _windows(guesses, names)
    return found or [
        Starter(
            "first",
            "",
            commented(f"  - {{name: first, field: {OPEN}}}", "no field could be guessed"),
        )
    ]


def _features(guesses: Guesses) -> Iterator[str]:
    yield from (starter.line for starter in starters(guesses))
    if guesses.others:
        yield "  # Other fields that features may use:"
    for item, why in guesses.others.items():
        yield commented(f"  #   {item}", why)
    if guesses.excluded:
        yield "  # Other columns of the file, which no feature can or should use:"
    for item, why in guesses.excluded.items():
        yield commented(f"  #   {item}", why)
    windows = () if guesses.with_windows else _commented_windows(guesses)
    yield from windows


def _of_event(guesses: Guesses, names: _Names) -> Iterator[Starter]:
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
    for leaf in guesses.features:
        path = scalar(leaf.path)
        if leaf.symbols:
            values = ", ".join(map(scalar, leaf.symbols))
            name = names.new(f"{leaf.name}_code")
            text = f"category: {{field: {path}, values: [{values}]}}"
            yield Starter(name, "", f"  - {{name: {scalar(name)}, {text}}}")
        else:
            name = names.same(leaf)
            yield Starter(name, "", f"  - {{name: {scalar(name)}, field: {path}}}")


def _windows(guesses: Guesses, names: _Names) -> Iterator[Starter]:
    """Windows over the payer's events, and the share of frauds at another entity."""
    payer, own = _payer(guesses)
    if payer is None:
        return
    by = f"by: {scalar(payer)}"
    remark = "" if own else "a topic of several partitions needs a delay here"
    for over in ("1d", "7d"):
        yield _window(names, f"{payer}_count_{over}", f"window: count, {by}, over: {over}", remark)
    since = f"window: time_since_last, {by}, over: 30d"
    yield _window(names, f"{payer}_since_last", since, "in seconds")
    amount = guesses.amount.leaf
    if amount is not None:
        mean = names.new(f"{payer}_mean_30d")
        text = f"window: mean, of: {scalar(amount.path)}, {by}, over: 30d"
        yield Starter(mean, "amount", f"  - {{name: {mean}, {text}}}")
        if _in_expressions(amount.path):
            ratio = names.new(f"amount_to_{payer}_mean")
            yield Starter(ratio, "amount", f"  - {{name: {ratio}, expr: {amount.path} / {mean}}}")
    others = [name for name in guesses.entities if name != payer]
    if guesses.label.leaf is not None and others:
        text = f"window: fraud_share, by: {scalar(others[0])}, over: 30d, delay: 7d"
        yield _window(names, f"{others[0]}_fraud_share_30d", text, "delay: as of the label")


def _window(names: _Names, wish: str, text: str, remark: str) -> Starter:
    name = names.new(wish)
    return Starter(name, "", commented(f"  - {{name: {name}, {text}}}", remark))


def _payer(guesses: Guesses) -> tuple[str | None, bool]:
    """Entity for windows, and True if it is that of the partition key."""
    key = guesses.partition_key.leaf
    own = [name for name, guess in guesses.entities.items() if key and guess.leaf == key]
    return (own[0], True) if own else (next(iter(guesses.entities), None), False)


def _commented_windows(guesses: Guesses) -> Iterator[str]:
    """Lines of windows to begin with, commented out because they need a store."""
    entity, own = _payer(guesses)
    if entity is None:
        return
    yield "  # Windows; their histories are kept in the store of worker.yaml."
    text = f"#- {{name: {entity}_count_7d, window: count, by: {entity}, over: 7d}}"
    yield commented(f"  {text}", "" if own else "with several partitions, add a delay")
    amount = guesses.amount.leaf
    if amount is not None:
        of = scalar(amount.path)
        yield f"  #- {{name: {entity}_mean_30d, window: mean, of: {of}, by: {entity}, over: 30d}}"


class _Names:
    """Unique names for features, none equal to the name of another field."""

    def __init__(self, fields: Sequence[str]) -> None:
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
