"""From record to score with a policy in full: segments, degraded events, reasons, a calibration."""

from __future__ import annotations

import io
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
import yaml
from structlog.testing import capture_logs

from base.errors import BundleRefusedError, ConfigurationError, ErrorCode
from features.store.memory import MemoryStore
from models.backend.protocol import Backend
from models.bundle import load_bundle, write_bundle
from models.calibration import Calibration
from models.policy import Rules, load_policy
from tests.support import replay
from tests.support.bundles import booster_in
from tests.support.healthy import edit, healthy_pipeline
from tests.support.payments import good_record, records, write_pipeline
from tools.checks.files import read_files
from tools.checks.finding import Finding, State
from tools.checks.model import check_reasons
from worker.delivery.publish import SizeLimits
from worker.pipeline import Pipeline, load_pipeline, make_stages
from worker.schema_sources import score_schema
from worker.stages.serving import Serving
from worker.stages.stages import Processed, Stages

pytestmark = pytest.mark.usefixtures("verified_here")

ROOMY = SizeLimits(2**20, 2**20)
SCHEMA = fastavro.parse_schema(score_schema())
NAMES = ("AMOUNT", "HOUR", "PRESENT", "CHANNEL", "FEE")
POLICY: dict[str, Any] = {
    "version": "2",
    "segments": [
        # A field that no feature is of.
        {"name": "few", "where": "customer in ['c-1', 'c-2'] and PRESENT", "bands": {"b": 0.2}},
        {"name": "rest", "bands": {"c": 0.6, "b": 0.3}},
    ],
    "reasons": {
        "max": 2,
        "catalogue": {
            "MONEY": {"features": ["AMOUNT", "FEE"], "text": "money"},
            "OTHER": {"features": ["*"], "text": "anything else"},
        },
    },
}


def pipeline_of(folder: Path, policy: dict[str, Any]) -> Pipeline:
    write_pipeline(folder, {})
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    return load_pipeline(folder)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return pipeline_of(tmp_path_factory.mktemp("serving") / "pipeline", POLICY)


def stages_of(pipeline: Pipeline, limits: SizeLimits = ROOMY) -> Stages:
    return make_stages(
        pipeline, pipeline.decoder(), MemoryStore(), b"", lambda: limits, now_us=lambda: 1
    )


def scores(processed: Processed) -> list[Any]:
    return [
        fastavro.schemaless_reader(io.BytesIO(value), SCHEMA, None) for value in processed.values
    ]


GOOD = [good_record(i) for i in range(300)]


def test_segments_decide_by_fields_and_features(pipeline: Pipeline) -> None:
    processed = stages_of(pipeline)(records(GOOD))
    found = scores(processed)
    counted: dict[tuple[str, str], int] = {}
    for i, score in enumerate(found):
        few = i % 7 in (1, 2) and i % 2 == 1
        bands = {"b": 0.2} if few else {"c": 0.6, "b": 0.3}
        reached = [name for name, at in bands.items() if score["score"] >= at]
        assert score["segment"] == ("few" if few else "rest")
        assert score["decision"] == (reached[0] if reached else "approve")
        counted[score["segment"], score["decision"]] = 1 + counted.get(
            (score["segment"], score["decision"]), 0
        )
    assert len(counted) == 5
    assert processed.decisions == counted


def test_reasons_stand_on_scores_whose_decision_is_not_the_default(pipeline: Pipeline) -> None:
    processed = stages_of(pipeline)(records(GOOD))
    explained = 0
    backend = pipeline.serving.model.backend
    for score in scores(processed):
        if score["decision"] == "approve":
            assert score["reasons"] == []
            continue
        explained += 1
        # The matrix is on the score: output.vector is `all`.
        vector = [score["vector"][name] for name in NAMES]
        (given,) = backend.contributions(np.array([vector], np.float32)).tolist()
        by = dict(zip(NAMES, given, strict=False))
        sums = {
            "MONEY": by["AMOUNT"] + by["FEE"],
            "OTHER": by["HOUR"] + by["PRESENT"] + by["CHANNEL"],
        }
        raising = sorted((code for code in sums if sums[code] > 0), key=lambda c: -sums[c])
        assert [reason["code"] for reason in score["reasons"]] == raising
        for reason in score["reasons"]:
            assert math.isclose(reason["contribution"], sums[reason["code"]], abs_tol=1e-6)
            names = [feature["name"] for feature in reason["features"]]
            assert names == sorted(names, key=lambda name: -by[name])
            assert len(names) == {"MONEY": 2, "OTHER": 3}[reason["code"]]
            for feature in reason["features"]:
                assert feature["value"] == score["vector"][feature["name"]]
    assert processed.explained == explained > 20
    assert processed.not_additive == 0


def test_a_policy_without_reasons_explains_nothing(tmp_path: Path) -> None:
    without = {key: value for key, value in POLICY.items() if key != "reasons"}
    processed = stages_of(pipeline_of(tmp_path / "pipeline", without))(records(GOOD))
    assert {decision for _, decision in processed.decisions} == {"approve", "b", "c"}
    assert all(score["reasons"] == [] for score in scores(processed))
    assert processed.explained == 0


def test_a_score_is_decided_alike_alone_and_in_company(pipeline: Pipeline) -> None:
    stages = stages_of(pipeline)
    together = stages(records(GOOD)).values
    for i in range(0, 300, 23):
        (alone,) = stages(records(GOOD).take(np.array([i]))).values
        assert alone == together[i]


def test_degraded_events_are_decided_by_their_flags(tmp_path: Path) -> None:
    folder = healthy_pipeline(tmp_path / "pipeline")
    recorded = replay.load_records()
    plain = scores(stages_of(load_pipeline(folder))(recorded))
    highest = max(score["score"] for score in plain)
    (folder / "policy.yaml").write_text(
        "version: d\nwhen_degraded: review\n"
        f"bands: {{decline: {highest}, review: {highest * 0.9999}}}\n"
    )
    # Nothing is in the store: every event is degraded.
    found = scores(stages_of(load_pipeline(folder))(recorded))
    for score in found:
        assert score["flags"] == ["lookup_missing:customer_profile"]
        assert score["decision"] == ("decline" if score["score"] >= highest else "review")
    assert {score["decision"] for score in found} == {"review", "decline"}


# what must fit


def serving_with(pipeline: Pipeline, folder: Path, policy: dict[str, Any]) -> Serving:
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy))
    rules = Rules(load_policy(folder / "policy.yaml"), pipeline.feature_set)
    return Serving(pipeline.feature_set, pipeline.serving.model, rules)


def test_a_new_model_or_policy_takes_over_between_two_batches(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    stages = stages_of(pipeline)
    serving = serving_with(pipeline, tmp_path, {"version": "3", "bands": {"x": 0.00001}})
    before, after, again = (
        scores(own(records(GOOD[:5]))) for own in (stages, replace(stages, serving=serving), stages)
    )
    assert {score["policy_version"] for score in before} == {"2"}
    assert {(s["policy_version"], s["decision"], s["segment"]) for s in after} == {
        ("3", "x", "default")
    }
    assert before == again


def test_a_feature_of_the_model_in_no_code_is_refused_at_the_start(tmp_path: Path) -> None:
    catalogue = {"MONEY": {"features": ["AMOUNT", "FEE", "H*"], "text": "money"}}
    policy = {**POLICY, "reasons": {"catalogue": catalogue}}
    with pytest.raises(
        ConfigurationError, match=r"no code has PRESENT, CHANNEL, which the model payments 1 uses"
    ):
        pipeline_of(tmp_path / "pipeline", policy)


def test_scores_are_those_of_the_bundles_calibration(pipeline: Pipeline, tmp_path: Path) -> None:
    knots = Calibration([-3.0, 0.0, 2.0], [0.001, 0.02, 0.6])
    old = pipeline.bundle
    write_bundle(
        tmp_path / "calibrated",
        booster_in(old),
        name="payments",
        version="2",
        features=pipeline.feature_set.features,
        calibration=knots,
    )
    bundle = load_bundle(tmp_path / "calibrated")
    serving = pipeline.serving
    model = serving.model._replace(bundle=bundle)
    new = Serving(pipeline.feature_set, model, serving.rules)
    stages = stages_of(pipeline)
    plain, calibrated = (
        scores(own(records(GOOD))) for own in (stages, replace(stages, serving=new))
    )
    margins = np.array([score["margin"] for score in calibrated], np.float32)
    assert margins.tolist() == [score["margin"] for score in plain]
    assert [score["score"] for score in calibrated] == knots.apply(margins).tolist()
    assert [score["model"]["version"] for score in calibrated] == ["2"] * len(GOOD)
    assert [score["score"] for score in plain] != [score["score"] for score in calibrated]


def test_a_model_of_other_features_is_refused(pipeline: Pipeline, tmp_path: Path) -> None:
    other = healthy_pipeline(tmp_path / "other")
    bundle = load_bundle(other / "model")
    serving = pipeline.serving
    with pytest.raises(BundleRefusedError, match="does not define"):
        Serving(pipeline.feature_set, serving.model._replace(bundle=bundle), serving.rules)


class Off(Backend):
    """A backend whose contributions miss the margin."""

    device = "cpu"

    def __init__(self, right: Backend) -> None:
        self._right = right

    def margins(self, matrix: np.ndarray) -> np.ndarray:
        return self._right.margins(matrix)

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        return self._right.contributions(matrix) + np.float32(0.01)


def test_reasons_that_do_not_add_up_are_counted_and_told_once(pipeline: Pipeline) -> None:
    serving = pipeline.serving
    model = serving.model._replace(backend=Off(serving.model.backend))
    off = Serving(pipeline.feature_set, model, serving.rules)
    stages = replace(stages_of(pipeline), serving=off)
    with capture_logs() as logs:
        first, second = stages(records(GOOD)), stages(records(GOOD))
    assert first.not_additive == first.explained == second.not_additive > 0
    told = [entry for entry in logs if entry["event"] == "reasons_not_additive"]
    assert len(told) == 1
    assert (told[0]["model"], told[0]["events"]) == ("payments", first.explained)
    assert told[0]["farthest"] == pytest.approx(0.06, rel=0.01)
    assert len(first.values) == len(GOOD)


class Overflowing(Backend):
    """A network whose numbers overflow for some events, or for all."""

    device = "cpu"

    def __init__(self, right: Backend, rows: slice, value: float) -> None:
        self._right = right
        self._rows = rows
        self._value = value

    def margins(self, matrix: np.ndarray) -> np.ndarray:
        margins = self._right.margins(matrix)
        margins[self._rows] = self._value
        return margins

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        return self._right.contributions(matrix)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_event_without_a_finite_score_is_a_dead_letter(pipeline: Pipeline, value: float) -> None:
    serving = pipeline.serving
    usual = stages_of(pipeline)(records(GOOD))
    backend = Overflowing(serving.model.backend, slice(3, 300, 7), value)
    model = serving.model._replace(backend=backend)
    stages = stages_of(pipeline)
    processed = replace(stages, serving=Serving(pipeline.feature_set, model, serving.rules))(
        records(GOOD)
    )
    wrong = list(range(3, 300, 7))
    assert [letter.position.offset for letter in processed.dead_letters] == wrong
    assert {letter.code for letter in processed.dead_letters} == {ErrorCode.SCORE_NOT_FINITE}
    reasons = dict(processed.dead_letters[0].headers)
    assert reasons["__worker.errors.stage"] == b"score"
    assert b"the model payments 1 gives no finite number" in (
        reasons["__worker.errors.message"] or b""
    )
    assert processed.values == [v for i, v in enumerate(usual.values) if i not in wrong]
    assert processed.not_additive == 0
    assert sum(processed.decisions.values()) == len(GOOD) - len(wrong)


def test_all_events_may_be_without_a_score(pipeline: Pipeline) -> None:
    serving = pipeline.serving
    backend = Overflowing(serving.model.backend, slice(None), np.nan)
    off = Serving(pipeline.feature_set, serving.model._replace(backend=backend), serving.rules)
    processed = replace(stages_of(pipeline), serving=off)(records(GOOD))
    assert (len(processed.values), len(processed.dead_letters)) == (0, len(GOOD))


# check


def findings_of(folder: Path) -> list[Finding]:
    files = read_files(folder)
    assert files.settings is not None
    return check_reasons(files.settings, files.rules)


def test_check_says_how_many_features_have_a_code(tmp_path: Path) -> None:
    folder = healthy_pipeline(tmp_path / "pipeline")
    (finding,) = findings_of(folder)
    assert (finding.state, finding.found) == (State.SKIPPED, "policy.yaml has no reasons")
    reasons: dict[str, Any] = {"catalogue": {"R1": {"features": ["*"], "text": "t"}}}
    edit(folder / "policy.yaml", lambda values: values.update(reasons=reasons))
    (finding,) = findings_of(folder)
    assert finding.state is State.OK
    assert finding.found.startswith("1 code for all ")
    names = load_pipeline(folder).feature_set.names
    reasons["catalogue"]["R1"]["features"] = [names[0]]
    edit(folder / "policy.yaml", lambda values: values.update(reasons=reasons))
    (finding,) = findings_of(folder)
    assert finding.state is State.FAILED
    assert re.search(rf"policy\.yaml:\d+:3: no code has {names[1]}", finding.found)
    assert 'features: ["*"]' in finding.remedy


def test_check_needs_the_files_and_a_bundle(tmp_path: Path) -> None:
    folder = healthy_pipeline(tmp_path / "pipeline")
    reasons = {"catalogue": {"R1": {"features": ["*"], "text": "t"}}}
    edit(folder / "policy.yaml", lambda values: values.update(reasons=reasons))
    shutil.rmtree(folder / "model")
    (finding,) = findings_of(folder)
    assert (finding.state, finding.found) == (State.SKIPPED, "there is no valid bundle")
    edit(folder / "policy.yaml", lambda values: values.update(bands={"b": 2}))
    (finding,) = findings_of(folder)
    assert finding.state is State.SKIPPED
    assert "policy.yaml is not valid" in finding.found


def test_check_says_what_the_policy_decides(tmp_path: Path) -> None:
    folder = healthy_pipeline(tmp_path / "pipeline")
    (finding,) = [f for f in read_files(folder).findings if f.check == "policy.yaml"]
    assert finding.found == (
        "version golden-1: approve, review, decline; 1 segment (default); no reasons"
    )
    edit(folder / "policy.yaml", lambda v: v.update(when_degraded="review", degraded=["nothing"]))
    (finding,) = [f for f in read_files(folder).findings if f.check == "policy.yaml"]
    assert finding.state is State.FAILED
    assert "unknown flag 'nothing'" in finding.found
