"""``fraud-worker model pack`` of a model in ONNX, and a pipeline that serves it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from base.errors import BundleRefusedError, ConfigurationError
from models.calibration import logistic
from tests.support.event_files import lines, row
from tests.support.healthy import healthy_pipeline
from tests.support.onnx_models import margins_of, network, saved
from tools.cli.model import app, sample_rows
from tools.replay import replay_file
from worker.pipeline import load_pipeline

pytestmark = pytest.mark.usefixtures("verified_here")

NAMES = ["AMOUNT", "LIMIT"]


@pytest.fixture(scope="module")
def pipeline_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return healthy_pipeline(tmp_path_factory.mktemp("pack-onnx") / "pipeline")


@pytest.fixture
def pipeline(pipeline_once: Path, tmp_path: Path) -> Path:
    return shutil.copytree(pipeline_once, tmp_path / "pipeline")


@pytest.fixture
def given(tmp_path: Path) -> list[object]:
    """Options that pack a network; its file and a sample are beside the test's folder."""
    model = network(len(NAMES))
    matrix = np.random.default_rng(4).lognormal(4, 1, (200, len(NAMES))).astype(np.float32)
    expected = logistic(margins_of(model, matrix).astype(np.float32))
    columns = dict(zip(NAMES, matrix.T, strict=True))
    pq.write_table(pa.table({**columns, "expected": expected}), tmp_path / "sample.parquet")
    return [
        *("--model", saved(model, tmp_path / "m.onnx"), "--name", "net", "--version", "1"),
        *("--feature-names", ",".join(NAMES), "--sample", tmp_path / "sample.parquet"),
        *("--expected", "expected", "--probability"),
    ]


def pack(out: Path, options: list[object]) -> Result:
    return CliRunner().invoke(app, ["pack", *map(str, options), "--out", str(out)])


def without(options: list[object], option: str, values: int) -> list[object]:
    at = options.index(option)
    return options[:at] + options[at + 1 + values :]


def test_a_packed_network_serves_a_pipeline(
    pipeline: Path, tmp_path: Path, given: list[object]
) -> None:
    shutil.rmtree(pipeline / "model")
    result = pack(pipeline / "model", [*given, "--features-from", pipeline / "features.yaml"])
    said, note = result.stdout.splitlines()
    assert said.endswith("net 1, ONNX, probability of y, 2 features, 128 golden vectors; verified")
    assert note.startswith("note: differs from the expected scores of 200 rows by at most ")
    shown = CliRunner().invoke(app, ["show", str(pipeline / "model")]).stdout
    assert "ONNX, probability of y\n" in shown
    events = lines(tmp_path / "e.jsonl", [row(i, amount=float(60 * i)) for i in range(12)])
    (replayed,) = replay_file(load_pipeline(pipeline), events, None)
    vectors = np.array(
        [[score["vector"][name] for name in NAMES] for score in replayed.scores], np.float32
    )
    expected = margins_of(network(len(NAMES)), vectors)
    assert [score["margin"] for score in replayed.scores] == pytest.approx(expected, abs=1e-5)


def test_the_answer_as_json_names_the_output(tmp_path: Path, given: list[object]) -> None:
    told = json.loads(pack(tmp_path / "b", [*given, "--json"]).stdout)
    assert (told["format"], told["output"]) == ("onnx", {"name": "y", "kind": "probability"})
    assert (told["objective"], told["trees"], told["fraud_class"]) == (None, None, None)


@pytest.mark.parametrize(
    ("option", "values", "said"),
    [
        ("--probability", 0, "does not say what its output is; give --probability if it lies"),
        ("--sample", 1, "--sample: is needed for a model in ONNX; give some thousand rows"),
        ("--feature-names", 1, "--sample: give --feature-names as well"),
    ],
)
def test_what_the_file_does_not_say_is_asked_for(
    tmp_path: Path, given: list[object], option: str, values: int, said: str
) -> None:
    result = pack(tmp_path / "b", without(given, option, values))
    assert isinstance(result.exception, ConfigurationError)
    assert said in str(result.exception)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--missing", -1], "--missing: is for models of XGBoost, and --model is another one"),
        (["--all-rounds"], "--all-rounds: is for models of XGBoost"),
        (["--fraud-class", "1"], "--fraud-class: is for models of XGBoost"),
        (["--expected", "expect"], "unknown column 'expect'"),
        (["--feature-names", "AMOUNT,LIMITS"], "did you mean 'LIMIT'"),
        (["--margin"], "all between 0 and 1, so it is a probability and no log-odds; give --prob"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    tmp_path: Path, given: list[object], more: list[object], said: str
) -> None:
    result = pack(tmp_path / "b", [*given, *more])
    assert isinstance(result.exception, ConfigurationError | BundleRefusedError)
    assert said.lower() in str(result.exception).lower()
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("missing", [float("nan"), None])
def test_a_sample_without_any_value_is_refused(
    tmp_path: Path, given: list[object], missing: float | None
) -> None:
    columns = {name: pa.array([missing] * 9, pa.float64()) for name in [*NAMES, "expected"]}
    pq.write_table(pa.table(columns), tmp_path / "sample.parquet")
    result = pack(tmp_path / "b", given)
    assert isinstance(result.exception, ConfigurationError)
    assert "are missing (NaN or null) in every row; give rows of" in str(result.exception)


def test_a_large_sample_is_taken_from_the_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_rows, "_MAX_SAMPLE", 4)
    for rows, expected in (
        (3, [0, 1, 2]),
        (4, [0, 1, 2, 3]),
        (5, [0, 1, 2, 3]),
        (10, [0, 2, 5, 7]),
    ):
        numbers = np.arange(rows, dtype=np.float64)
        pq.write_table(pa.table({"a": numbers, "p": numbers / 10}), tmp_path / "s.parquet")
        sample = sample_rows.read_sample(tmp_path / "s.parquet", ["a"], "p")
        assert sample.vectors[:, 0].tolist() == expected
        assert sample.expected is not None
        assert sample.expected.tolist() == [number / 10 for number in expected]


def test_options_of_onnx_are_refused_for_a_model_of_xgboost(
    pipeline: Path, tmp_path: Path, given: list[object]
) -> None:
    given[1] = pipeline / "model" / "model.ubj"
    result = pack(tmp_path / "b", given)
    assert isinstance(result.exception, ConfigurationError)
    assert "--sample: is for models of ONNX, and --model is another one" in str(result.exception)
