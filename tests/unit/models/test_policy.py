"""A policy reads as its file looks; other files are refused with their place."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from base.errors import ConfigurationError
from features.definition import FeatureSet, load_feature_set
from models.policy import Band, Policy, Rules, Segment, load_policy
from tests.support.making import EVENTS, feature_set
from tools.init.drafts import policy_yaml
from tools.init.features_yaml import Starter

ROOT = Path(__file__).parents[3]
LOOKUPS = """\
entities: {card: card}
lookups:
  profile: {by: card, max_age: 1d, values: {age: }}
features:
  - {name: AMOUNT, field: amount}
  - {name: LARGE, expr: amount > 100}
  - {name: AGE, lookup: profile.age}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> FeatureSet:
    return feature_set(tmp_path_factory.mktemp("features"), EVENTS + LOOKUPS)


def policy_of(folder: Path, text: str) -> Policy:
    path = folder / "policy.yaml"
    path.write_text(text)
    return load_policy(path)


def test_the_example_reads_as_it_looks() -> None:
    policy = load_policy(ROOT / "examples" / "handbook" / "policy.yaml")
    assert policy.version == "2026-11-23.1"
    assert policy.default == "approve"
    assert policy.decisions == ("approve", "review", "decline")
    assert policy.segments == (
        Segment("large", "amount >= 200", (Band("decline", 0.92), Band("review", 0.4))),
        Segment("default", None, (Band("decline", 0.97), Band("review", 0.55))),
    )
    assert policy.when_degraded is None
    assert policy.catalogue is not None
    assert policy.catalogue.max_reasons == 3
    assert [code.name for code in policy.catalogue.codes][:2] == ["AMOUNT", "FREQUENCY"]
    assert policy.catalogue.codes[0].features == ("TX_AMOUNT", "CUSTOMER_ID_AVG_AMOUNT_*")
    assert policy.catalogue.codes[0].audience == "customer"


@pytest.mark.parametrize("example", ["handbook", "sparkov"])
def test_the_examples_fit_their_features_and_every_code_has_some(example: str) -> None:
    folder = ROOT / "examples" / example
    whole = load_feature_set(folder / "features.yaml")
    rules = Rules(load_policy(folder / "policy.yaml"), whole)
    coding = rules.coding(whole.names, "m 1")
    assert coding is not None
    assert set(coding.code_of.tolist()) == set(range(len(coding.codes)))


def test_the_documented_policy_holds(tmp_path: Path) -> None:
    documented = (ROOT / "docs" / "reference" / "policy.md").read_text(encoding="utf-8")
    text = documented.split("```yaml\n")[1].split("```")[0]
    whole = load_feature_set(ROOT / "examples" / "handbook" / "features.yaml")
    rules = Rules(policy_of(tmp_path, text), whole)
    assert rules.paths == {"channel"}
    assert rules.policy.when_degraded == "review"
    assert rules.coding(whole.names, "m") is not None
    kinds = re.search(r"\[lookup_missing, .*?\]", documented)
    assert kinds is not None
    assert kinds[0] == f"[{', '.join(rules.policy.degraded)}]"


def test_a_first_policy_says_how_it_grows(tmp_path: Path, made: FeatureSet) -> None:
    text = policy_yaml([Starter("AMOUNT", "amount", ""), Starter("AGE", "", "")])
    small = policy_of(tmp_path, text)
    assert [segment.name for segment in small.segments] == ["default"]
    comments = r"^( *)# (?=when_|- name| )"
    grown = re.sub(comments, r"\1", text, flags=re.MULTILINE)
    rules = Rules(policy_of(tmp_path, grown), made)
    assert rules.policy.when_degraded == "review"
    assert [segment.name for segment in rules.policy.segments] == ["large", "default"]
    assert rules.coding(made.names, "m") is not None


def test_the_short_form_is_one_segment_called_default(tmp_path: Path) -> None:
    short = policy_of(tmp_path, "version: a\nbands: {review: 0.55, decline: 0.97}\n")
    assert short.segments == (
        Segment("default", None, (Band("decline", 0.97), Band("review", 0.55))),
    )
    assert short.decisions == ("approve", "review", "decline")


def test_events_that_no_segment_takes_get_the_default_decision(tmp_path: Path) -> None:
    policy = policy_of(
        tmp_path, "version: a\nsegments: [{name: x, where: 'True', bands: {b: 0.5}}]\n"
    )
    assert policy.segments[-1] == Segment("default", None, ())
    silent = policy_of(tmp_path, "version: a\nsegments: [{name: all, bands: {}}]\n")
    assert silent.segments == (Segment("all", None, ()),)
    assert silent.decisions == ("approve",)


def segments(*bands: str) -> str:
    """A policy of segments with these bands."""
    lines = [
        f"  - {{name: s{i}, bands: {{{own}}}{'' if i == len(bands) - 1 else ', where: z > 0'}}}\n"
        for i, own in enumerate(bands)
    ]
    return "version: a\nsegments:\n" + "".join(lines)


@pytest.mark.parametrize(
    ("text", "decisions"),
    [
        (segments("b: 0.9, a: 0.1"), "approve a b"),
        # a chain over segments
        (segments("c: 0.9, b: 0.8", "b: 0.5, a: 0.1"), "approve a b c"),
        (segments("d: 0.9, c: 0.8", "b: 0.5, a: 0.1", "c: 0.2, b: 0.1"), "approve a b c d"),
        # what is open goes by the lowest threshold
        (segments("b: 0.5", "a: 0.6"), "approve b a"),
        (segments("b: 0.5", "a: 0.6", "b: 0.7"), "approve b a"),
        (segments("b: 0.5", "a: 0.4") + "decisions: [approve, b, a]\n", "approve b a"),
        (
            segments("b: 0.5") + "decisions: [approve, x, b]\nwhen_degraded: x\n",
            "approve x b",
        ),
    ],
)
def test_decisions_go_from_the_least_severe_to_the_most(
    tmp_path: Path, text: str, decisions: str
) -> None:
    assert policy_of(tmp_path, text).decisions == tuple(decisions.split())


SHORT = "version: a\nbands: {b: 0.5}\n"
TWO = "version: a\nsegments:\n- {name: x, where: %s, bands: {b: .5}}\n- {name: y, bands: {b: .4}}\n"
REASONS = SHORT + "reasons:\n  max: 2\n  catalogue:\n"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("version: a\n", 1, "either bands or segments, found neither"),
        ("version: a\nbands: {b: 0.5}\nsegments: []\n", 1, "found both"),
        ("version: a\nsegments: []\n", 2, "there is no segment; give one"),
        (
            "version: a\nsegments:\n- {name: x, bands: {b: .5}}\n- {name: y, bands: {b: .4}}\n",
            3,
            "segment x has no where.*get none",
        ),
        (
            segments("b: .5", "b: .4").replace("s1", "s0"),
            4,
            "segment s0 appears twice",
        ),
        (
            "version: a\nsegments:\n- {name: default, where: z > 0, bands: {b: .5}}\n",
            3,
            "add a last segment without where",
        ),
        ("version: a\nbands: {}\n", 2, "bands"),
        ("version: a\nbands:\n  b: 0.5\n  c: 0.5\n", 4, "b and c have the same threshold 0.5"),
        ("version: a\nbands:\n  b: 0.5\n  b: 0.6\n", 4, "twice"),
        ("version: a\nbands:\n  b: 1.0\n", 3, "bands.b: .* less than 1; found 1.0"),
        ("version: a\nbands:\n  b: 0\n", 3, "bands.b: .* greater than 0; found 0"),
        ("version: a\nbands:\n  b: .nan\n", 3, "bands.b"),
        ("version: a\nbands:\n  b: high\n", 3, "bands.b: .* found 'high'"),
        ("version: a\nbands:\n  b: '0.5'\n", 3, "bands.b: .* found '0.5'"),
        ("version: a\nbands:\n  approve: 0.5\n", 3, "has the name of the default decision"),
        ("version: a\ndefault: b\nbands:\n  b: 0.5\n", 4, "has the name of the default decision"),
        ("version: 1.1\nbands: {b: 0.5}\n", 1, "1.1 as a number; write it in quotes"),
        ("bands: {b: 0.5}\n", 1, "version is missing"),
        (SHORT + "bandz: 1\n", 3, "unknown key 'bandz'; did you mean 'bands'"),
        (
            "version: a\nsegments:\n- name: x\n  bands: {b: .5}\n  band: 1\n",
            5,
            "unknown key 'band'",
        ),
        ("version: a\nbands: [b\n", 3, "not valid YAML"),
        ("- a\n", 1, "mapping"),
        # severity
        (segments("b: 0.9, a: 0.1", "b: 0.1, a: 0.9"), 4, "a is above b here, and below"),
        (
            segments("b: 0.2, a: 0.1", "c: 0.2, b: 0.1", "a: 0.9, c: 0.1"),
            5,
            "the band a is above c here, and below it in an earlier segment",
        ),
        (SHORT + "decisions: [b, approve]\n", 3, "default, approve, comes first; found b"),
        (SHORT + "decisions: [approve]\n", 2, "unknown decision 'b'"),
        (SHORT + "decisions: [approve, c, b]\n", 3, "no band has the decision c; remove it"),
        (SHORT + "decisions: [approve, b, b]\n", 3, "b is listed twice"),
        (
            "version: a\nbands: {b: 0.5, c: 0.6}\ndecisions: [approve, c, b]\n",
            2,
            "c is above b here, and before it in decisions",
        ),
        # degraded
        (SHORT + "degraded: [late]\n", 3, "no effect without when_degraded"),
        (SHORT + "when_degraded: approve\n", 3, "approve is the default decision"),
        (SHORT + "when_degraded: c\n", 3, "unknown decision 'c'; known are: approve, b .*list all"),
        (
            SHORT + "when_degraded: c\ndecisions: [approve, b]\n",
            3,
            "unknown decision 'c'; known are: approve, b",
        ),
        (
            segments("b: 0.5", "a: 0.6") + "when_degraded: b\n",
            5,
            "whether b is more severe than a; list all decisions",
        ),
        (SHORT + "when_degraded: b\ndegraded: []\n", 4, "degraded"),
        # reasons
        (SHORT + "reasons: {max: 4}\n", 3, "reasons.catalogue is missing"),
        (SHORT + "reasons: {catalogue: {}}\n", 3, "reasons.catalogue"),
        (REASONS + "    R1: {features: [], text: t}\n", 6, "features"),
        (REASONS + "    R1: {features: [A]}\n", 6, "text is missing"),
        (REASONS + "    R1: {featurs: [A], text: t}\n", 6, "did you mean 'features'"),
        (SHORT + "reasons: {max: 0, catalogue: {R: {features: [A], text: t}}}\n", 3, "max"),
    ],
)
def test_an_invalid_policy_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said) as refused:
        policy_of(tmp_path, text)
    assert place_of(refused.value)[0] == line


def place_of(error: ConfigurationError) -> tuple[int, int]:
    where = re.search(r"policy\.yaml:(\d+):(\d+)", str(error))
    assert where is not None, str(error)
    return int(where[1]), int(where[2])


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        (TWO % "amont > 3", (3, 20), "unknown name 'amont'; did you mean 'amount'"),
        (TWO % "'amount > and'", (3, 30), "not an expression"),
        (TWO % "amount", (3, 20), "a condition is needed here, not a number"),
        (TWO % "country < 'x'", (3, 30), "text has no order"),
        (SHORT + "when_degraded: b\ndegraded: [lookup_stale:age]\n", (4, 12), "unknown flag"),
        (SHORT + "when_degraded: b\ndegraded: [late, python_failed]\n", (4, 12), "unknown flag"),
        (REASONS + "    R1: {features: [AMOUNT, AGES], text: t}\n", (6, 29), "AGES matches no"),
        (
            REASONS + '    R1: {features: ["*"], text: t}\n    R2: {features: [AGE], text: t}\n',
            (7, 5),
            "all features of R2 belong to earlier codes",
        ),
    ],
)
def test_a_policy_of_unknown_features_is_refused_with_its_place(
    tmp_path: Path, made: FeatureSet, text: str, place: tuple[int, int], said: str
) -> None:
    policy = policy_of(tmp_path, text)
    with pytest.raises(ConfigurationError, match=said) as refused:
        Rules(policy, made)
    assert place_of(refused.value) == place


def test_a_feature_of_the_model_without_a_code_is_refused(tmp_path: Path, made: FeatureSet) -> None:
    text = REASONS + "    R1: {features: [AM*], text: t}\n    R2: {features: [AGE], text: t}\n"
    rules = Rules(policy_of(tmp_path, text), made)
    # The feature set has LARGE as well; this model does not use it.
    coding = rules.coding(["AGE", "AMOUNT"], "cards 7")
    assert coding is not None
    assert (coding.codes, coding.max_reasons) == (("R1", "R2"), 2)
    np.testing.assert_array_equal(coding.code_of, [1, 0])
    with pytest.raises(
        ConfigurationError, match=r"no code has LARGE, which the model cards 7"
    ) as e:
        rules.coding(["AGE", "LARGE", "AMOUNT"], "cards 7")
    assert place_of(e.value)[0] == 5


def test_a_feature_belongs_to_the_first_code_that_names_it(
    tmp_path: Path, made: FeatureSet
) -> None:
    text = REASONS + '    R1: {features: [A*], text: t}\n    R2: {features: ["*"], text: t}\n'
    coding = Rules(policy_of(tmp_path, text), made).coding(made.names, "m")
    assert coding is not None
    np.testing.assert_array_equal(coding.code_of, [0, 1, 0])


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"policy\.yaml: cannot be read"):
        load_policy(tmp_path / "policy.yaml")
