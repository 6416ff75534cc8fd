"""Decisions over columns are those of a plain reading of the policy, event by event."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from base.errors import ConfigurationError
from features.definition import FeatureSet
from models.policy import Rules, load_policy
from schemas.batch import EventBatch
from tests.support.making import EVENTS, booleans, doubles, events, feature_set, strings

# Flags by bit: lookup missing, stale, invalid; late, duplicate, history capped; python failed.
FEATURES = """\
entities: {card: card}
lookups:
  profile: {by: card, max_age: 1d, values: {age: }}
features:
  - {name: X, field: x}
  - {name: LARGE, expr: amount > 100}
  - {name: AGE, lookup: profile.age}
  - {name: N, window: count, by: card, over: 1d}
  - {name: P, python: "./f.py:f", args: [x]}
"""
FLAGS = (
    "lookup_missing:profile",
    "lookup_stale:profile",
    "lookup_invalid:profile",
    "late",
    "ahead",
    "duplicate",
    "history_capped:card",
    "history_short:card",
    "python_failed:P",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> FeatureSet:
    folder = tmp_path_factory.mktemp("features")
    (folder / "f.py").write_text("def f(x):\n    return x\n")
    text = EVENTS.replace("  time: at\n", "  time: at\n  partition_key: card\n") + FEATURES
    found = feature_set(folder, text)
    assert found.flags.names == FLAGS
    return found


@dataclass(frozen=True)
class Event:
    """An event with its score, its flags, and its features AGE and N."""

    amount: float
    x: float | None
    channel: str | None
    online: bool | None
    age: float
    n: float
    score: float
    flags: int


def more_than(a: float | None, b: float) -> bool:
    return a is not None and not math.isnan(a) and a > b


CONDITIONS: dict[str, Callable[[Event], bool]] = {
    "True": lambda _: True,
    "x > 0": lambda e: more_than(e.x, 0),
    "not (x > 0)": lambda e: e.x is not None and not e.x > 0,
    "is_null(x)": lambda e: e.x is None,
    "channel == 'ecom'": lambda e: e.channel == "ecom",
    "channel != 'ecom'": lambda e: e.channel not in (None, "ecom"),
    "online": lambda e: e.online is True,
    "AGE > 30 or N > 2": lambda e: more_than(e.age, 30) or more_than(e.n, 2),
    # As float32 holds it, 0.1 is more than as float64 holds it.
    "X > 0.1": lambda e: e.x is not None and float(np.float32(e.x)) > 0.1,
    "amount > 100 and channel in ['ecom', 'pos']": lambda e: (
        e.amount > 100 and e.channel in ("ecom", "pos")
    ),
}
SCORES = st.floats(0, 1) | st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9])
EVENT = st.builds(
    Event,
    amount=st.sampled_from([1.0, 100.0, 100.01, 5000.0]),
    x=st.sampled_from([None, -1.0, 0.0, 0.1, 2.0]),
    channel=st.sampled_from([None, "ecom", "pos", ""]),
    online=st.sampled_from([None, True, False]),
    age=st.sampled_from([math.nan, 29.5, 31.0]),
    n=st.sampled_from([0.0, 3.0]),
    score=SCORES,
    flags=st.integers(0, 2 ** len(FLAGS) - 1) | st.just(0),
)
SEVERITY = ("ok", "look", "ask", "stop")


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    """Segments whose bands rise as SEVERITY does."""
    count = draw(st.integers(1, 4))
    segments: list[dict[str, Any]] = []
    for i in range(count):
        names = draw(st.lists(st.sampled_from(SEVERITY[1:]), unique=True, max_size=3))
        thresholds = st.lists(
            SCORES.filter(lambda t: 0 < t < 1), unique=True, min_size=3, max_size=3
        )
        rising = sorted(names, key=SEVERITY.index)
        bands = dict(zip(rising, sorted(draw(thresholds)), strict=False))
        order = draw(st.permutations(rising))
        segment: dict[str, Any] = {"name": f"s{i}", "bands": {name: bands[name] for name in order}}
        if i < count - 1 or draw(st.booleans()):
            segment["where"] = draw(st.sampled_from([*CONDITIONS]))
        segments.append(segment)
    made = {name for segment in segments for name in segment["bands"]}
    policy: dict[str, Any] = {"version": "1", "default": "ok", "segments": segments}
    degraded = draw(st.none() | st.sampled_from(SEVERITY[1:]))
    if degraded is not None:
        policy["when_degraded"] = degraded
        made.add(degraded)
        kinds = [*FLAGS, "lookup_stale", "history_capped", "python_failed"]
        named = draw(st.none() | st.lists(st.sampled_from(kinds), min_size=1, unique=True))
        policy |= {} if named is None else {"degraded": named}
    policy["decisions"] = [name for name in SEVERITY if name == "ok" or name in made]
    return policy


def plainly(policy: dict[str, Any], event: Event) -> tuple[str, str]:
    """Segment and decision."""
    taken = (s for s in policy["segments"] if "where" not in s or CONDITIONS[s["where"]](event))
    segment: dict[str, Any] = next(taken, {"name": "default", "bands": {}})
    reached = {name: at for name, at in segment["bands"].items() if event.score >= at}
    decision = max(reached, key=reached.__getitem__, default="ok")
    default = ["lookup_missing", "lookup_stale", "lookup_invalid", "python_failed", "ahead"]
    flags = {name for bit, name in enumerate(FLAGS) if event.flags >> bit & 1}
    if (flags | {flag.split(":")[0] for flag in flags}) & {*policy.get("degraded", default)}:
        decision = max(decision, policy.get("when_degraded", "ok"), key=SEVERITY.index)
    return segment["name"], decision


def columns_of(made: FeatureSet, given: list[Event]) -> tuple[EventBatch, np.ndarray]:
    """The batch, and the matrix that it has with these ages and counts."""
    batch = events(
        made,
        len(given),
        x=doubles([e.x for e in given]),
        channel=strings([e.channel for e in given]),
        online=booleans([e.online for e in given]),
        amount=doubles([e.amount for e in given]),
    )
    rows = [[e.x, e.amount > 100, e.age, e.n, e.x] for e in given]
    return batch, np.array(rows, np.float32).reshape(len(given), 5)


@given(policy=policies(), given_events=st.lists(EVENT, max_size=30))
@settings(deadline=None)
def test_decisions_are_those_of_a_plain_loop(
    tmp_path_factory: pytest.TempPathFactory,
    made: FeatureSet,
    policy: dict[str, Any],
    given_events: list[Event],
) -> None:
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_text(yaml.safe_dump(policy, sort_keys=False))
    rules = Rules(load_policy(path), made)
    batch, matrix = columns_of(made, given_events)
    found = rules.decide(
        batch,
        matrix,
        np.array([e.score for e in given_events], np.float64),
        np.array([e.flags for e in given_events], np.uint64),
    )
    assert found.codes.dtype == found.segments.dtype == np.int8
    names = [segment.name for segment in rules.policy.segments]
    assert [
        (names[segment], rules.policy.decisions[code])
        for segment, code in zip(found.segments, found.codes, strict=True)
    ] == [plainly(policy, event) for event in given_events]


def rules_of(folder: Path, made: FeatureSet, text: str) -> Rules:
    (folder / "policy.yaml").write_text(text)
    return Rules(load_policy(folder / "policy.yaml"), made)


def test_a_score_at_a_threshold_belongs_to_its_band(tmp_path: Path, made: FeatureSet) -> None:
    rules = rules_of(tmp_path, made, "version: a\nbands: {decline: 0.97, review: 0.55}\n")
    below = np.nextafter([0.55, 0.97], 0.0)
    scores = np.array([0.0, below[0], 0.55, below[1], 0.97, 1.0])
    batch = events(made, 6, x=doubles([0.0] * 6))
    found = rules.decide(batch, np.zeros((6, 5), np.float32), scores, np.zeros(6, np.uint64))
    assert [rules.policy.decisions[code] for code in found.codes] == (
        ["approve"] * 2 + ["review"] * 2 + ["decline"] * 2
    )


def test_a_comment_in_a_condition_is_refused_at_its_place(tmp_path: Path, made: FeatureSet) -> None:
    """Without what a comment hides, the segment would take everybody."""
    text = """\
version: a
segments:
  - name: abroad
    where: |
      amount > 100  # large
      and channel == 'ecom'
    bands: {decline: 0.5}
  - {name: default, bands: {}}
"""
    with pytest.raises(ConfigurationError, match=r"policy\.yaml:5:21: a comment would hide"):
        rules_of(tmp_path, made, text)


def test_the_fields_that_conditions_read_are_named(tmp_path: Path, made: FeatureSet) -> None:
    text = (
        "version: a\nsegments:\n"
        "- {name: a, where: merchant.risk > 0.5 and N > 2, bands: {b: 0.5}}\n"
        "- {name: b, where: hour(later) > 3 or amount > 7, bands: {b: 0.4}}\n"
    )
    assert rules_of(tmp_path, made, text).paths == {"merchant.risk", "later", "amount"}
    short = rules_of(tmp_path, made, "version: a\nbands: {b: 0.5}\n")
    assert short.paths == frozenset()
