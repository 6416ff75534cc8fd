"""From score to decision as a plain reading of the bands would have it; other files are refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.policy import Band, Policy, load_policy
from schemas.errors import ConfigurationError

ROOT = Path(__file__).parents[3]


def policy_of(folder: Path, text: str) -> Policy:
    path = folder / "policy.yaml"
    path.write_text(text)
    return load_policy(path)


def test_the_example_reads_as_it_looks() -> None:
    policy = load_policy(ROOT / "examples" / "handbook" / "policy.yaml")
    assert policy.version == "2026-11-23.1"
    assert policy.default == "approve"
    assert policy.decisions == ("approve", "review", "decline")
    (segment,) = policy.segments
    assert segment.name == "default"
    assert segment.bands == (Band("decline", 0.97), Band("review", 0.55))


def test_the_short_form_is_one_segment_called_default(tmp_path: Path) -> None:
    short = policy_of(tmp_path, "version: a\nbands: {review: 0.55, decline: 0.97}\n")
    full = load_policy(ROOT / "examples" / "handbook" / "policy.yaml")
    assert short.segments == full.segments
    assert short.decisions == full.decisions


def test_a_score_at_a_threshold_belongs_to_its_band(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, "version: a\nbands: {decline: 0.97, review: 0.55}\n")
    below = np.nextafter([0.55, 0.97], 0.0)
    codes = policy.decide(np.array([0.0, below[0], 0.55, below[1], 0.97, 1.0]))
    assert codes.dtype == np.int8
    assert [policy.decisions[code] for code in codes] == [
        "approve",
        "approve",
        "review",
        "review",
        "decline",
        "decline",
    ]


def test_no_scores_give_no_decisions(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, "version: a\nbands: {decline: 0.97}\n")
    assert policy.decide(np.empty(0)).shape == (0,)


NAMES = st.text("abcdefgh -éß", min_size=1, max_size=8).filter(
    lambda name: name == name.strip() and name != "approve"
)
INNER = st.floats(1e-9, 1 - 1e-9)


@given(
    bands=st.dictionaries(NAMES, INNER, min_size=1, max_size=6),
    scores=st.lists(st.floats(0, 1), max_size=30),
)
@settings(deadline=None)
def test_decisions_are_those_of_a_plain_loop(
    tmp_path_factory: pytest.TempPathFactory, bands: dict[str, float], scores: list[float]
) -> None:
    bands = {name: at for at, name in {at: name for name, at in bands.items()}.items()}
    lines = [f'  "{name}": {at!r}\n' for name, at in bands.items()]
    policy = policy_of(tmp_path_factory.mktemp("policy"), "version: a\nbands:\n" + "".join(lines))
    every = [*scores, *bands.values()]
    expected = []
    for score in every:
        decision = "approve"
        for name, at in sorted(bands.items(), key=lambda band: band[1]):
            if score >= at:
                decision = name
        expected.append(decision)
    found = policy.decide(np.array(every, dtype=np.float64))
    assert [policy.decisions[code] for code in found] == expected


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("version: a\n", 1, "either bands or segments, found neither"),
        ("version: a\nbands: {b: 0.5}\nsegments: []\n", 1, "found both"),
        ("version: a\nsegments: []\n", 2, "one segment, for all events; found 0"),
        (
            "version: a\nsegments:\n- {name: x, bands: {b: .5}}\n- {name: y, bands: {b: .4}}\n",
            3,
            "one segment, for all events; found 2",
        ),
        ("version: a\nbands: {}\n", 2, "bands"),
        ("version: a\nbands:\n  b: 0.5\n  c: 0.5\n", 4, "b and c have the same threshold 0.5"),
        ("version: a\nbands:\n  b: 0.5\n  b: 0.6\n", 4, "twice"),
        ("version: a\nbands:\n  b: 1.0\n", 3, "bands.b: .* less than 1; found 1.0"),
        ("version: a\nbands:\n  b: 0\n", 3, "bands.b: .* greater than 0; found 0"),
        ("version: a\nbands:\n  b: .nan\n", 3, "bands.b"),
        ("version: a\nbands:\n  b: high\n", 3, "bands.b: .* found 'high'"),
        ("version: a\nbands:\n  b: '0.5'\n", 3, "bands.b: .* found '0.5'"),
        ("version: a\nbands:\n  approve: 0.5\n", 3, "named like the default decision"),
        ("version: a\ndefault: b\nbands:\n  b: 0.5\n", 4, "named like the default decision"),
        ("version: 1.1\nbands: {b: 0.5}\n", 1, "1.1 as a number; write it in quotes"),
        ("bands: {b: 0.5}\n", 1, "version is missing"),
        ("version: a\nbands: {b: 0.5}\nbandz: 1\n", 3, "unknown key 'bandz'; did you mean 'bands'"),
        (
            "version: a\nsegments:\n- name: x\n  bands: {b: .5}\n  band: 1\n",
            5,
            "unknown key 'band'",
        ),
        ("version: a\nbands: {b: 0.5}\nwhen_degraded: review\n", 3, "does not have a decision for"),
        ("version: a\nreasons: {max: 4}\nbands: {b: 0.5}\n", 2, "does not have reason codes yet"),
        (
            "version: a\nsegments:\n- name: x\n  where: amount > 3\n  bands: {b: .5}\n",
            4,
            "segments chosen by an expression yet; remove the key",
        ),
        ("version: a\nbands: [b\n", 3, "not valid YAML"),
        ("- a\n", 1, "mapping"),
    ],
)
def test_another_file_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said) as refused:
        policy_of(tmp_path, text)
    where = re.search(r"policy\.yaml:(\d+)", str(refused.value))
    assert where is not None
    assert int(where[1]) == line


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"policy\.yaml: cannot be read"):
        load_policy(tmp_path / "policy.yaml")
