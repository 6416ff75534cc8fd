"""``window:`` in features.yaml: what it means, and where it is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base.errors import ConfigurationError
from base.times import DAY
from features.compute.enrich import enrich
from features.definition import FeatureSet, load_feature_set
from features.history.layout import StoredKind
from features.inspect.stored_history import column_names
from features.store.memory import MemoryStore
from features.windows.window import Across, Window
from tests.support.making import (
    EVENTS,
    events,
    feature_set,
    longs,
    strings,
    write_pipeline,
)

HEAD = """\
name: test
events:
  schema: event.avsc
  id: id
  time: at
  amount: {field: amount, scale: 2}
  partition_key: card
entities: {card: card, shop: shop}
lookups: {profile: {by: card, values: {v: }}}
history: {allowed_lateness: 2h, duplicates: 3d, cap: 100}
features:
  - {name: V, lookup: profile.v}
  - {name: L, expr: "log1p(max(amount, 0))"}
  - {name: IN_SHOP, expr: online == 0}
  - {name: C, category: {field: channel, values: [pos, ecom]}}
"""
"""A feature behind it stands in line 16."""


def windows(folder: Path, *entries: str) -> tuple[Window, ...]:
    return made(folder, *entries).histories.windows


def made(folder: Path, *entries: str) -> FeatureSet:
    lines = "".join(f"  - {{name: W{place}, {entry}}}\n" for place, entry in enumerate(entries))
    return feature_set(folder, HEAD + lines)


def window(folder: Path, entry: str) -> Window:
    (found,) = windows(folder, entry)
    return found


def test_a_window_resolves(tmp_path: Path) -> None:
    found = window(
        tmp_path,
        "window: sum, of: amount, by: shop, over: 7d, delay: 12h, where: IN_SHOP, "
        "across: best_effort, default: -1",
    )
    assert (found.name, found.aggregate, found.entity) == ("W0", "sum", "shop")
    assert (found.over, found.delay, found.reach) == (7 * DAY, DAY // 2, 15 * DAY // 2)
    assert found.value is not None
    assert (found.value.kind, found.value.scale) == (StoredKind.VALUE, 2)
    assert found.where is not None
    assert found.where.kind is StoredKind.CONDITION
    assert not found.include_current
    assert found.across is Across.BEST_EFFORT
    assert found.default == -1


def test_history_holds_for_all_windows(tmp_path: Path) -> None:
    loaded = made(tmp_path, "window: count, by: card, over: 1d")
    rules = loaded.histories.rules
    assert (rules.allowed_lateness, rules.duplicates, rules.cap) == (DAY // 12, 3 * DAY, 100)
    assert loaded.histories.rules.allowed_lateness == DAY // 12
    assert loaded.histories.windows
    history = "history: {allowed_lateness: 2h, duplicates: 3d, cap: 100}\n"
    text = HEAD.replace(history, "") + "  - {name: W, window: count, by: card, over: 1d}\n"
    rules = feature_set(tmp_path, text).histories.rules
    assert (rules.allowed_lateness, rules.duplicates, rules.cap) == (DAY // 24, DAY, 10_000)
    assert (rules.watermark_support, rules.max_ahead) == (3, None)


def test_support_of_the_watermark_and_how_far_ahead_may_be_are_declared(tmp_path: Path) -> None:
    text = HEAD + "  - {name: W, window: count, by: card, over: 1d}\n"
    plain = feature_set(tmp_path, text).features[-1].fingerprint
    for given, support, ahead in (
        ("watermark_support: 5", 5, None),
        ("max_ahead: 1h", 3, DAY // 24),
    ):
        loaded = feature_set(tmp_path, text.replace("history: {", f"history: {{{given}, "))
        rules = loaded.histories.rules
        assert (rules.watermark_support, rules.max_ahead) == (support, ahead)
        assert loaded.features[-1].fingerprint != plain
    for wrong in ("watermark_support: 0", "watermark_support: 21", "max_ahead: 0s"):
        with pytest.raises(ConfigurationError, match=wrong.partition(":")[0]):
            feature_set(tmp_path, text.replace("history: {", f"history: {{{wrong}, "))


def test_arrival_is_in_the_fingerprint_and_needs_an_aligned_window(tmp_path: Path) -> None:
    entry = "  - {name: W, window: count, by: shop, over: 1d, delay: 1d}\n"
    plain = feature_set(tmp_path, HEAD + entry).features[-1].fingerprint
    arriving = HEAD.replace("history: {", "history: {arrival: record_timestamp, ")
    loaded = feature_set(tmp_path, arriving + entry)
    assert loaded.histories.rules.arrival
    assert loaded.features[-1].fingerprint != plain
    with pytest.raises(ConfigurationError, match=r"history\.arrival: no window is aligned.*remove"):
        feature_set(tmp_path, arriving + "  - {name: W, window: count, by: card, over: 1d}\n")


def test_a_horizon_reaches_as_far_as_the_longest_window_or_duplicates(tmp_path: Path) -> None:
    """That of a shared history as far as both: its members are judged when they are read."""
    loaded = made(
        tmp_path,
        "window: count, by: card, over: 1d",
        "window: count, by: shop, over: 7d, delay: 7d",
        "window: count, by: shop, over: 10d, delay: 1d",
    )
    assert loaded.histories.horizons == {"card": 3 * DAY, "shop": 17 * DAY}
    assert loaded.flags.names[3:] == (
        "late",
        "ahead",
        "duplicate",
        "across_late",
        "history_capped:card",
        "history_capped:shop",
        "history_short:card",
        "history_short:shop",
    )


def test_a_set_without_windows_has_no_histories(tmp_path: Path) -> None:
    loaded = feature_set(tmp_path, HEAD)
    assert not loaded.histories.windows
    assert loaded.histories.horizons == {}
    assert all(name.startswith("lookup_") for name in loaded.flags.names)


@pytest.mark.parametrize(
    ("aggregate", "includes", "default"),
    [
        ("count", True, 0.0),
        ("sum, of: amount", True, 0.0),
        ("mean, of: amount", True, math.nan),
        ("std, of: amount", True, math.nan),
        ("min, of: amount", True, math.nan),
        ("max, of: amount", True, math.nan),
        ("last, of: amount", False, math.nan),
        ("distinct, of: shop", True, 0.0),
        ("time_since_last", False, math.nan),
        ("fraud_share", True, 0.0),
        ("first, of: amount", False, math.nan),
        ("time_since_first", False, math.nan),
        ("mode_share, of: shop", True, math.nan),
        ("entropy, of: shop", True, math.nan),
        ("median, of: amount", True, math.nan),
        ("percentile, percent: 90, of: amount", True, math.nan),
        ("count, half_life: 1h", True, 0.0),
        ("sum, half_life: 1h, of: amount", True, 0.0),
        ("count, same: shop", True, 0.0),
    ],
)
def test_each_kind_of_window_has_its_defaults(
    aggregate: str, includes: bool, default: float, tmp_path: Path
) -> None:
    plain, delayed = windows(
        tmp_path,
        f"window: {aggregate}, by: card, over: 1d",
        f"window: {aggregate}, by: card, over: 1d, delay: 1d",
    )
    assert plain.include_current is includes
    assert not delayed.include_current
    assert plain.default == pytest.approx(default, nan_ok=True)
    assert plain.across is Across.OWN


@pytest.mark.parametrize(("written", "default"), [("nan", math.nan), ("null", math.nan), ("7", 7)])
def test_a_default_may_be_given(written: str, default: float, tmp_path: Path) -> None:
    found = window(tmp_path, f"window: count, by: card, over: 1d, default: {written}")
    assert found.default == pytest.approx(default, nan_ok=True)


def test_the_time_since_the_first_event_may_be_that_of_the_event_itself(tmp_path: Path) -> None:
    entry = "window: time_since_first, by: card, over: 1d, include_current: true"
    assert window(tmp_path, entry).include_current


@pytest.mark.parametrize("aggregate", ["distinct", "mode_share", "entropy"])
def test_frequencies_are_of_text_too(aggregate: str, tmp_path: Path) -> None:
    found = window(tmp_path, f"window: {aggregate}, of: channel, by: card, over: 1d").value
    assert found is not None
    assert found.kind is StoredKind.HASH


@pytest.mark.parametrize(
    ("same", "kind", "scale"),
    [
        ("channel", StoredKind.HASH, 0),
        ("merchant.code", StoredKind.HASH, 0),
        ("cents", StoredKind.COMPARED, 0),
        ("online", StoredKind.COMPARED, 0),
        ("price", StoredKind.COMPARED, 4),
        ("amount", StoredKind.COMPARED, 2),
    ],
)
def test_any_window_may_be_of_the_events_with_the_same_value(
    same: str, kind: StoredKind, scale: int, tmp_path: Path
) -> None:
    for aggregate in ("count", "mean, of: x, scale: 2", "fraud_share"):
        entry = f"window: {aggregate}, by: card, over: 1d, same: {same}"
        loaded = made(tmp_path, entry)
        (found,) = loaded.histories.windows
        assert found.same is not None
        assert (found.same.kind, found.same.scale) == (kind, scale)
        assert same in loaded.features[-1].paths


def test_values_that_are_compared_are_kept_once_and_have_no_bound(tmp_path: Path) -> None:
    loaded = made(
        tmp_path,
        "window: count, by: card, over: 1d, same: cents",
        "window: count, by: card, over: 2d, same: cents",
    )
    (plan,) = loaded.histories.entities
    assert [*column_names(loaded).values()] == ["cents"]
    assert len(plan.layout.columns) == 1
    assert loaded.bounds.fields == {}
    summed = "window: sum, of: cents, by: card, over: 1d"
    loaded = made(tmp_path, "window: count, by: card, over: 1d, same: cents", summed)
    (plan,) = loaded.histories.entities
    kinds = {column.kind for column in plan.layout.columns}
    assert kinds == {StoredKind.COMPARED, StoredKind.VALUE}
    assert loaded.bounds.fields == {"cents": None}


def test_a_new_sum_reads_no_members_whose_values_had_no_bound(tmp_path: Path) -> None:
    compared = f"""{EVENTS}  partition_key: card
entities: {{card: card}}
features:
  - {{name: SAME, window: count, by: card, over: 1d, same: cents}}
"""
    summed = f"{compared}  - {{name: SUM, window: sum, of: cents, by: card, over: 1d}}\n"
    before, store = feature_set(tmp_path, compared), MemoryStore()
    cards, largest = strings(["c", "c", "c"]), 2**63 - 1
    batch = events(before, 3, card=cards, cents=longs([largest, largest, 5]))
    store.append(enrich(before, batch.take(np.arange(2)), store).writes.appends)
    after = feature_set(tmp_path, summed)
    batch = events(after, 3, card=cards, cents=longs([0, 0, 5])).take(np.array([2]))
    assert enrich(after, batch, store).matrix[0, -1] == 5


@pytest.mark.parametrize("included", ["true", "false"])
def test_the_current_event_may_be_left_out_or_in(included: str, tmp_path: Path) -> None:
    found = window(tmp_path, f"window: count, by: card, over: 1d, include_current: {included}")
    assert found.include_current is (included == "true")


@pytest.mark.parametrize(
    ("of", "kind", "scale"),
    [
        ("amount", StoredKind.VALUE, 2),
        ("price", StoredKind.VALUE, 4),
        ("cents", StoredKind.VALUE, 0),
        ("online", StoredKind.VALUE, 0),
        ("x, scale: 3", StoredKind.VALUE, 3),
        ("merchant.risk, scale: 6", StoredKind.VALUE, 6),
        ("L, scale: 4", StoredKind.VALUE, 4),
        ("C, scale: 0", StoredKind.VALUE, 0),
        ("IN_SHOP, scale: 0", StoredKind.VALUE, 0),
        ("channel", StoredKind.HASH, 0),
        ("merchant.code", StoredKind.HASH, 0),
    ],
)
def test_values_are_whole_numbers_of_a_scale(
    of: str, kind: StoredKind, scale: int, tmp_path: Path
) -> None:
    found = window(tmp_path, f"window: distinct, of: {of}, by: card, over: 1d").value
    assert found is not None
    assert (found.kind, found.scale) == (kind, scale)


def test_the_fields_behind_a_window_are_decoded(tmp_path: Path) -> None:
    loaded = made(
        tmp_path,
        "window: sum, of: L, scale: 2, where: \"C == 1 and country == 'NO'\", by: shop, over: 1d",
    )
    assert loaded.features[-1].paths == {"amount", "channel", "country", "shop"}


def test_a_field_is_bounded_by_the_finest_scale_that_is_kept_of_it(tmp_path: Path) -> None:
    entries = [f"window: sum, of: x, scale: {scale}, by: card, over: 1d" for scale in (2, 6, 4)]
    loaded = made(tmp_path, *entries, "window: sum, of: cents, by: card, over: 1d")
    assert loaded.bounds.fields == {"x": 6, "cents": None}
    assert loaded.bounds.largest == loaded.histories.rules.largest_value


def test_columns_of_best_effort_cannot_be_given_back(tmp_path: Path) -> None:
    loaded = made(
        tmp_path,
        "window: count, by: card, over: 1d",
        "window: count, by: shop, over: 1d, across: best_effort",
        "window: count, by: shop, over: 1d, delay: 1d, across: aligned",
        "window: count, by: shop, over: 1d, delay: 1d",
        "expr: W1 / W0",
        "expr: W2 / W0",
    )
    assert [w.across.value for w in loaded.histories.windows] == [
        "own",
        "best_effort",
        "aligned",
        "aligned",
    ]
    assert [loaded.names[place] for place in loaded.irreproducible] == ["V", "W1", "W4"]


REFUSED = {
    # What a window needs.
    "an unknown kind": ("window: ^avg, by: card, over: 1d", "'count', 'sum', 'mean'"),
    "no entity": ("window: count, over: 1d", "W0: a window needs by (an entity)"),
    "no length": ("window: count, by: card", "W0: a window needs over (a duration"),
    "an unknown entity": ("window: count, by: ^crad, over: 1d", "did you mean 'card'?"),
    "a field as its entity": ("window: count, by: ^channel, over: 1d", "unknown entity"),
    "a number of days": ("window: count, by: card, over: ^7", "7 is not a duration"),
    "no days": ("window: count, by: card, over: ^0d", "'0d' is not a duration"),
    "months": ("window: count, by: card, over: ^2mo", "a whole number and s, m, h or d"),
    "a lifetime": ("window: count, by: card, over: ^99999d", "longer than a hundred years"),
    "a delay that is none": (
        "window: count, by: card, over: 1d, delay: ^soon",
        "'soon' is not a duration",
    ),
    "a misspelt key": (
        "window: count, by: card, over: 1d, ^wehre: IN_SHOP",
        "unknown key 'wehre'; did you mean 'where'?",
    ),
    "two kinds": ("window: count, by: card, over: 1d, field: x", "exclude each other"),
    "keys of a window elsewhere": ("field: x, over: 1d", "over belongs to a window"),
    "keys of a window alone": ("by: card, over: 1d", "has no kind: add"),
    "args": ("window: count, by: card, over: 1d, args: [x]", "args belongs to a python"),
    # of and scale
    "no value": ("window: mean, by: card, over: 1d", "mean needs a value: add of"),
    "a value of a count": (
        "window: count, of: ^amount, by: card, over: 1d",
        "count aggregates events, not a value: remove of",
    ),
    "a value of frauds": (
        "window: fraud_share, of: ^amount, by: card, over: 1d",
        "fraud_share aggregates events",
    ),
    "a scale of a time": (
        "window: time_since_last, scale: ^2, by: card, over: 1d",
        "time_since_last aggregates events, not a value: remove scale",
    ),
    "an unknown value": (
        "window: sum, of: ^amuont, by: card, over: 1d",
        "unknown field or feature 'amuont'; did you mean 'amount'?",
    ),
    "a value made of itself": (
        "window: sum, of: ^W0, by: card, over: 1d",
        "unknown field or feature 'W0'",
    ),
    "a looked-up value": (
        "window: sum, of: ^V, by: card, over: 1d",
        "V needs a window or a lookup, and members store values of their own event",
    ),
    "an expression as its value": (
        "window: sum, of: ^amount * 2, by: card, over: 1d",
        "unknown field or feature 'amount * 2'",
    ),
    "a record": (
        "window: sum, of: ^merchant, by: card, over: 1d",
        "merchant is of type record, not a value that a column holds: name a field in it",
    ),
    "a sum of text": (
        "window: sum, of: ^channel, by: card, over: 1d",
        "channel is text, and sum needs numbers; only distinct, mode_share and entropy take text",
    ),
    "the last text": ("window: last, of: ^channel, by: card, over: 1d", "last needs numbers"),
    "the first text": ("window: first, of: ^channel, by: card, over: 1d", "first needs numbers"),
    "no frequencies of a value": ("window: entropy, by: card, over: 1d", "entropy needs a value"),
    "the first of events": (
        "window: time_since_first, of: ^amount, by: card, over: 1d",
        "time_since_first aggregates events, not a value: remove of",
    ),
    "a time": (
        "window: max, of: ^later, by: card, over: 1d",
        "later is a time: use an expr of it as a feature",
    ),
    "the event time": ("window: max, of: ^at, by: card, over: 1d", "at is a time"),
    "a double without a scale": (
        "window: sum, of: x, by: card, over: 1d",
        "x is a floating-point number; windows store whole numbers: add scale",
    ),
    "a feature without a scale": (
        "window: sum, of: L, by: card, over: 1d",
        "W0: a feature is a number; windows store whole numbers: add scale, the number of decimal digits",
    ),
    "a scale of the amount": (
        "window: sum, of: amount, scale: ^2, by: card, over: 1d",
        "the amount has its own, 2, and takes no scale: remove it",
    ),
    "a scale of a decimal": (
        "window: sum, of: price, scale: ^2, by: card, over: 1d",
        "price is a decimal with its own, 4, and takes no scale",
    ),
    "a scale of a long": (
        "window: sum, of: cents, scale: ^2, by: card, over: 1d",
        "cents is a long with its own, 0, and takes no scale",
    ),
    "a scale of text": (
        "window: distinct, of: channel, scale: ^2, by: card, over: 1d",
        "text takes no scale",
    ),
    "too fine a scale": (
        "window: sum, of: x, scale: ^10, by: card, over: 1d",
        "less than or equal to 9",
    ),
    "half a digit": ("window: sum, of: x, scale: ^1.5, by: card, over: 1d", "integer"),
    # percent and half_life
    "a percentile without percent": (
        "window: percentile, of: amount, by: card, over: 1d",
        "W0: a percentile needs percent, a number from 0 to 100 (such as percent: 95)",
    ),
    "percent of a median": (
        "window: median, percent: ^50, of: amount, by: card, over: 1d",
        "percent belongs to percentile: remove it, or say window: percentile",
    ),
    "more than all": (
        "window: percentile, percent: ^100.5, of: amount, by: card, over: 1d",
        "less than or equal to 100",
    ),
    "less than none": (
        "window: percentile, percent: ^-1, of: amount, by: card, over: 1d",
        "greater than or equal to 0",
    ),
    "percent in words": (
        "window: percentile, percent: ^p95, of: amount, by: card, over: 1d",
        "valid number",
    ),
    "percent that is no number": (
        "window: percentile, percent: ^.nan, of: amount, by: card, over: 1d",
        "percent",
    ),
    "a half-life of a mean": (
        "window: mean, half_life: ^1d, of: amount, by: card, over: 1d",
        "mean has no weights, only count and sum have: remove half_life",
    ),
    "a half-life of nothing": (
        "window: count, half_life: ^0s, by: card, over: 1d",
        "'0s' is not a duration above 0",
    ),
    # same
    "the same as an unknown field": (
        "window: count, same: ^chanel, by: card, over: 1d",
        "unknown field 'chanel'; did you mean 'channel'?",
    ),
    "the same feature": (
        "window: count, same: ^IN_SHOP, by: card, over: 1d",
        "IN_SHOP is a feature, and same takes a field: name a field of the event",
    ),
    "the same record": (
        "window: count, same: ^merchant, by: card, over: 1d",
        "merchant is of type record",
    ),
    "the same time": (
        "window: count, same: ^later, by: card, over: 1d",
        "later is a time: use text or a whole number",
    ),
    "the same double": (
        "window: count, same: ^x, by: card, over: 1d",
        "x is a floating-point number, and same compares exactly: use text, a whole number",
    ),
    # where
    "an unknown name in where": (
        "window: count, by: card, over: 1d, where: amount > 1 and ^chanel == 2",
        "unknown name 'chanel'; did you mean 'channel'?",
    ),
    "text in a sum in where": (
        "window: count, by: card, over: 1d, where: ^channel + 1 > 2",
        "text is not a number",
    ),
    "a number as where": (
        "window: count, by: card, over: 1d, where: ^amount",
        "a condition is needed here, not a number: write x != 0",
    ),
    "a looked-up value in where": (
        "window: count, by: card, over: 1d, where: ^V > 1",
        "V needs a window or a lookup",
    ),
    "where cut off": (
        "window: count, by: card, over: 1d, where: max(x, y) > 1",
        "cut off after 'max(x': put it in quotes",
    ),
    # the current event
    "the current event and a delay": (
        "window: count, by: card, over: 1d, delay: 1d, include_current: ^true",
        "a window with a delay ends before the current event: remove one of the two",
    ),
    "the time since the current event": (
        "window: time_since_last, by: card, over: 1d, include_current: ^true",
        "time_since_last looks for the event before this one: remove include_current",
    ),
    "a word for a condition": (
        "window: count, by: card, over: 1d, include_current: ^no",
        "valid boolean",
    ),
    # across
    "across its own partition": (
        "window: count, by: card, over: 1d, delay: 1d, across: ^aligned",
        "the key of card has the partition key in it, so all its events are in one partition: re",
    ),
    "aligned without a delay": (
        "window: count, by: shop, over: 1d, across: ^aligned",
        "an aligned window needs a delay: add one, or say across: best_effort",
    ),
    "another way across": (
        "window: count, by: shop, over: 1d, across: ^exact",
        "'aligned' or 'best_effort'",
    ),
    # default
    "an infinite default": (
        "window: count, by: card, over: 1d, default: ^.inf",
        "not a finite number, nan or null",
    ),
    "a default in words": (
        "window: count, by: card, over: 1d, default: ^none",
        "'none' is not a finite number",
    ),
}
"""^ stands where the message points; without one it points at the entry."""


@pytest.mark.parametrize(("entry", "message"), REFUSED.values(), ids=REFUSED)
def test_an_invalid_window_is_refused_at_its_place(
    entry: str, message: str, tmp_path: Path
) -> None:
    line = f"  - {{name: W0, {entry}}}\n"
    column = line.index("^") + 1 if "^" in line else line.index("{") + 1
    path = write_pipeline(tmp_path, HEAD + line.replace("^", ""))
    with pytest.raises(ConfigurationError) as refusal:
        load_feature_set(path)
    first = str(refusal.value).splitlines()[0]
    assert message in first
    assert first.startswith(f"{path}:16:{column}: "), first


@pytest.mark.parametrize(
    ("instead", "place", "message"),
    [
        ("{cap: 0}", "10:16", "greater than or equal to 1"),
        ("{cap: 100001}", "10:16", "less than or equal to 100000"),
        ("{cap: 1e3}", "10:16", "valid integer"),
        ("{allowed_lateness: 1}", "10:29", "1 is not a duration"),
        ("{duplicates: none}", "10:23", "'none' is not a duration"),
        ("{lateness: 1h}", "10:11", "unknown key 'lateness'; did you mean 'allowed_lateness'?"),
    ],
)
def test_rules_that_do_not_hold_are_refused(
    instead: str, place: str, message: str, tmp_path: Path
) -> None:
    found = "{allowed_lateness: 2h, duplicates: 3d, cap: 100}"
    path = write_pipeline(tmp_path, HEAD.replace(found, instead))
    with pytest.raises(ConfigurationError) as refusal:
        load_feature_set(path)
    assert str(refusal.value).startswith(f"{path}:{place}: "), refusal.value
    assert message in str(refusal.value)


def test_windows_of_windows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r":17:33: W0 needs a window or a lookup"):
        made(
            tmp_path,
            "window: count, by: card, over: 1d",
            "window: max, of: W0, scale: 0, by: card, over: 1d",
        )


def fingerprint(folder: Path, entry: str, text: str = HEAD) -> str:
    return feature_set(folder, f"{text}  - {{name: W0, {entry}}}\n").features[-1].fingerprint


def test_a_fingerprint_knows_all_that_changes_a_window(tmp_path: Path) -> None:
    def of(entry: str, found: str = "", instead: str = "") -> str:
        return fingerprint(tmp_path, entry, HEAD.replace(found, instead) if found else HEAD)

    base = "window: sum, of: x, scale: 2, by: shop, over: 7d"
    seen: list[Any] = [
        of(base),
        of(base.replace("sum", "mean")),
        of(base.replace("of: x", "of: y")),
        of(base.replace("scale: 2", "scale: 3")),
        of(base.replace("shop", "card")),
        of(base.replace("7d", "8d")),
        of(f"{base}, delay: 1d"),
        of(f"{base}, where: x > 1"),
        of(f"{base}, where: x > 2"),
        of(f"{base}, include_current: false"),
        of(f"{base}, across: best_effort"),
        of(f"{base}, default: 1"),
        of(f"{base}, same: channel"),
        of(f"{base}, same: country"),
        of(f"{base}, half_life: 1d"),
        of(f"{base}, half_life: 2d"),
        of(base.replace("sum", "median")),
        of(base.replace("sum", "percentile, percent: 50")),
        of(base.replace("sum", "percentile, percent: 51")),
        of(base, "allowed_lateness: 2h", "allowed_lateness: 1h"),
        of(base, "duplicates: 3d", "duplicates: 1d"),
        of(base, "cap: 100", "cap: 101"),
        of(base, "id: id", "id: card"),
        of(base.replace("of: x", "of: L")),
    ]
    assert len(set(seen)) == len(seen)


def test_a_fingerprint_does_not_know_what_changes_nothing(tmp_path: Path) -> None:
    base = fingerprint(tmp_path, "window: sum, of: amount, by: card, over: 7d, where: x>1")
    same = [
        fingerprint(tmp_path, "over: 168h, by: card, where: (x > 1.0), of: amount, window: sum"),
        fingerprint(
            tmp_path,
            "window: sum, of: amount, by: card, over: 7d, where: x > 1, include_current: true, "
            "default: 0.0",
        ),
        fingerprint(
            tmp_path,
            "window: sum, of: amount, by: holder, over: 7d, where: x > 1",
            HEAD.replace("card: card", "holder: card").replace("by: card", "by: holder"),
        ),
    ]
    assert set(same) == {base}


def test_without_a_partition_key_every_entity_is_across(tmp_path: Path) -> None:
    text = f"{EVENTS}entities: {{card: card}}\nfeatures:\n"
    entry = "  - {name: W, window: count, by: card, over: 1d}\n"
    (window,) = feature_set(tmp_path, text + entry).histories.windows
    assert window.across is Across.ALIGNED
