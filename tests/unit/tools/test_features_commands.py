"""``fraud-worker features check`` and ``show``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from features.definition import load_feature_set
from features.inspect.describe import describe, duration, number
from tests.support.making import EVENTS, write_pipeline
from tools.cli.features import app
from worker.process.exits import ExitCode

EXAMPLES = Path(__file__).parents[3] / "examples"
SPARKOV = EXAMPLES / "sparkov" / "features.yaml"
HANDBOOK = EXAMPLES / "handbook"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def write(folder: Path, features: str) -> Path:
    return write_pipeline(
        folder,
        f"{EVENTS}  partition_key: card\nentities: {{card: card, shop: shop}}\n"
        f"lookups: {{profile: {{by: card, values: {{v: {{default: 2}}}}}}}}\nfeatures:\n{features}",
    )


def test_check_says_what_holds() -> None:
    result = run("check", "--set", SPARKOV)
    assert result.exit_code == 0
    made = load_feature_set(SPARKOV)
    lines = result.stdout.splitlines()
    assert lines[0].split() == [
        "ok",
        "features.yaml",
        f"{len(made.names)}",
        "features,",
        "1",
        "lookup,",
        "fingerprint",
        made.fingerprint[:12],
    ]
    assert lines[-1] == f"{len(lines) - 1} ok"
    for said in (
        "1 time_since_last",
        "KM_FROM_HOME, KM_FROM_LAST: identical results for rows one by one, together and in any order",
        "12 windows by card, over up to 5,000 events of the last 30d",
        "2 windows by merchant, over up to 5,000 events of the last 38d",
        "MERCHANT_FRAUD_SHARE_30D: aligned: exact; an event waits until all partitions are read that far",
        "MERCHANT_COUNT_1H: best_effort: include what the store holds of other partitions",
        "AGE, HOME_LAT, HOME_LONG, KM_FROM_HOME, MERCHANT_COUNT_1H: cannot be recomputed from the topic",
    ):
        assert said in result.stdout


def test_check_of_a_small_set_says_little(tmp_path: Path) -> None:
    result = run("check", "--set", write(tmp_path, "  - {name: A, field: x}\n"))
    assert [line.split()[1] for line in result.stdout.splitlines()] == [
        "features.yaml",
        "kinds",
        "ok",
    ]


def test_check_lists_each_thing_that_does_not_hold(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "  - {name: A, field: xx}\n"
        "  - {name: B, expr: A + 1}\n"
        "  - {name: C, window: sum, of: x, by: card, over: 1d}\n"
        "  - {name: D, expr: C / y}\n"
        "  - {name: E, python: ./geo.py:f, args: [x]}\n"
        "  - {name: F, expr: x + }\n"
        "  - {name: G, field: x}\n",
    )
    result = run("check", "--set", path)
    assert result.exit_code == ExitCode.CONFIGURATION
    failed = [line for line in result.stdout.splitlines() if line.startswith("failed")]
    places = [line.partition(f"{path}:")[2].partition(": ")[0] for line in failed]
    assert places == ["10:22", "12:5", "14:23", "15:24"]
    assert result.stdout.splitlines()[-1] == "4 failed"


def test_check_in_json(tmp_path: Path) -> None:
    good, bad = run("check", "--set", SPARKOV, "--json"), write(tmp_path, "  - {name: A}\n")
    assert json.loads(good.stdout)["ok"] is True
    result = run("check", "--set", bad, "--json")
    assert result.exit_code == ExitCode.CONFIGURATION
    (finding,) = json.loads(result.stdout)["findings"]
    assert finding["state"] == "failed"
    assert finding["found"].startswith(f"{bad}:10:5: ")


def test_check_names_what_init_left_open(tmp_path: Path) -> None:
    path = write(tmp_path, "  - {name: A, field: <open>}\n")
    result = run("check", "--set", path)
    assert "features[0].field is a placeholder" in result.stdout


def test_features_commands_take_the_set_of_the_pipeline(tmp_path: Path) -> None:
    handbook = load_feature_set(HANDBOOK / "features.yaml")
    assert handbook.fingerprint[:12] in run("check", "--pipeline", HANDBOOK).stdout
    named = tmp_path / "named"
    named.mkdir()
    settings = (HANDBOOK / "worker.yaml").read_text() + "\nfeatures: other.yaml\n"
    (named / "worker.yaml").write_text(settings)
    shutil.move(write(named, "  - {name: A, field: x}\n"), named / "other.yaml")
    assert "1 feature," in run("check", "-p", named).stdout
    (named / "worker.yaml").unlink()
    write(named, "  - {name: A, field: x}\n  - {name: B, field: y}\n")
    assert "2 features," in run("check", "-p", named).stdout


def test_show_lists_the_features_in_columns() -> None:
    result = run("show", "--set", SPARKOV)
    assert result.exit_code == 0
    head, *rows = result.stdout.splitlines()
    assert head.split() == ["name", "kind", "definition", "across", "default", "fingerprint"]
    made = load_feature_set(SPARKOV)
    assert [row.split()[0] for row in rows] == list(made.names)
    assert [row.split()[-1] for row in rows] == [f.fingerprint[:12] for f in made.features]
    assert all(row[head.index("kind")] != " " for row in rows)


def test_show_in_json_has_it_whole() -> None:
    made = load_feature_set(SPARKOV)
    shown: dict[str, Any] = json.loads(run("show", "--set", SPARKOV, "--json").stdout)
    assert shown["fingerprint"] == made.fingerprint
    assert shown["flags"] == list(made.flags.names)
    assert shown["history"] == {
        "allowed_lateness_s": 3600,
        "duplicates_s": 86400,
        "cap": 5000,
        "watermark_support": 3,
        "max_ahead_s": None,
        "arrival": None,
    }
    features = {feature["name"]: feature for feature in shown["features"]}
    assert features["MERCHANT_COUNT_1H"] == {
        "name": "MERCHANT_COUNT_1H",
        "kind": "count",
        "definition": "count by merchant over 1h",
        "reads": ["merchant"],
        "across": "best_effort",
        "default": 0,
        "reproducible": False,
        "fingerprint": made.features[made.names.index("MERCHANT_COUNT_1H")].fingerprint,
        "vector": None,
    }
    assert features["HOME_LAT"]["default"] == "nan"
    assert features["AMOUNT"]["default"] is None


def test_show_refuses_what_check_refuses(tmp_path: Path) -> None:
    result = run("show", "--set", write(tmp_path, "  - {name: A, field: xx}\n"))
    assert f"{result.exception}".startswith(f"{tmp_path}/features.yaml:10:22: unknown field 'xx'")


WORDS = {
    "field: x": "x",
    "category: {field: channel, values: [a, b, c], other: true}": "channel: a, b, c, other",
    "category: {field: channel, values: [a, b, c, d]}": "channel: a, b, c, … (1 more)",
    "expr: 'x  +\n      1'": "x + 1",
    "lookup: profile.v": "profile.v by card",
    "window: count, by: card, over: 90m": "count by card over 90m",
    "window: sum, of: x, scale: 2, by: card, over: 7d": "sum of x to 2 digits by card over 7d",
    "window: distinct, of: shop, by: card, over: 24h": "distinct values of shop by card over 1d",
    "window: fraud_share, by: shop, over: 1d, delay: 36h": (
        "fraud share by shop over 1d, delay 36h"
    ),
    "window: count, by: card, over: 1d, where: x  >  1, include_current: false": (
        "count by card over 1d, where x > 1, without the event itself"
    ),
    "window: percentile, percent: 99.9, of: cents, by: card, over: 1d": (
        "percentile 99.9 of cents by card over 1d"
    ),
    "window: mode_share, of: channel, by: card, over: 1d": "mode share of channel by card over 1d",
    "window: count, by: card, over: 30d, half_life: 36h, same: channel": (
        "count by card over 30d, half-life 36h, same channel"
    ),
    "window: last, of: shop, by: card, over: 1d, include_current: true": (
        "last of shop by card over 1d, with the event itself"
    ),
}


@pytest.mark.parametrize(("entry", "words"), WORDS.items(), ids=WORDS)
def test_a_feature_in_words(entry: str, words: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"  - {{name: A, {entry}}}\n")
    (described,) = describe(load_feature_set(path))
    assert described.definition == words


def test_durations_and_numbers_in_words() -> None:
    assert [duration(d) for d in (86_400_000_000, 129_600_000_000, 5_000_000, 7)] == [
        "1d",
        "36h",
        "5s",
        "7us",
    ]
    assert [number(value) for value in (None, float("nan"), 0.0, 2592000.0, -0.5)] == [
        "",
        "nan",
        "0",
        "2592000",
        "-0.5",
    ]


def test_a_table_is_built_of_the_example_with_every_kind(data_dir: Path, tmp_path: Path) -> None:
    whole = pq.ParquetFile(data_dir / "sparkov_transactions.parquet")
    events = pa.Table.from_batches([next(whole.iter_batches(4_000))])
    pq.write_table(events, tmp_path / "events.parquet")
    out = tmp_path / "table.parquet"
    result = run("build", "--set", SPARKOV, "--events", tmp_path / "events.parquet", "--out", out)
    assert result.exit_code == 0, result.output
    table = pq.read_table(out)
    made = load_feature_set(SPARKOV)
    rest = ["transaction_id", "event_time", "cc_num", "merchant"]
    own = ["amount_minor", "label", "label_time", "flags"]
    assert table.column_names == [*made.names, *rest, *own]
    for name in rest:
        assert table[name].equals(events[name])
    assert table["label"].to_pylist() == events["is_fraud"].to_pylist()
    assert table["amount_minor"].to_pylist() == events["amt_cents"].to_pylist()
    merchants: dict[str, set[str]] = {}
    for card, merchant, found in zip(
        table["cc_num"].to_pylist(),
        table["merchant"].to_pylist(),
        table["CARD_MERCHANTS_7D"].to_pylist(),
        strict=True,
    ):
        merchants.setdefault(card, set()).add(merchant)  # these events are of the first days
        assert found == len(merchants[card])


VECTOR = f"""{EVENTS}entities: {{card: card}}
lookups: {{profile: {{by: card, values: {{emb: {{vector: 12, default: 0}}, risk: }}}}}}
features:
  - {{name: A, field: x}}
  - {{name: emb, lookup: profile.emb}}
  - {{name: RISK, lookup: profile.risk}}
  - {{name: SUM, expr: emb_3 + A}}
"""


def test_show_has_a_line_for_a_vector_and_json_each_column(tmp_path: Path) -> None:
    path = write_pipeline(tmp_path, VECTOR)
    made = load_feature_set(path)
    lines = run("show", "--set", path).stdout.splitlines()
    assert [line.split("  ")[0].strip() for line in lines[1:]] == [
        "A",
        "emb_0 … emb_11",
        "RISK",
        "SUM",
    ]
    fingerprints = {feature.name: feature.fingerprint for feature in made.features}
    words = [word.strip() for word in lines[2].split("  ") if word]
    assert words == ["emb_0 … emb_11", "lookup", "profile.emb[0 … 11] by card", "0"]
    shown = json.loads(run("show", "--set", path, "--json").stdout)["features"]
    assert [feature["name"] for feature in shown] == list(made.names)
    assert shown[4]["definition"] == "profile.emb[3] by card"
    assert shown[4]["vector"] == "emb"
    assert shown[4]["fingerprint"] == fingerprints["emb_3"]
    assert shown[0]["vector"] is None


def test_check_and_explain_name_a_vector_by_its_first_and_last_column(tmp_path: Path) -> None:
    path = write_pipeline(tmp_path, VECTOR)
    shown = run("check", "--set", path).stdout
    assert "emb_0 … emb_11, RISK, SUM: cannot be recomputed from the topic" in shown
    assert "15 features, 1 lookup" in shown
    events = tmp_path / "events.parquet"
    at = pa.array([0], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"id": ["e"], "at": at, "card": ["a"], "x": [1.5]}), events)
    refused = run("explain", "emb", "e", "--events", events, "--set", path).exception
    assert str(refused) == "emb is a vector: name one of its columns, emb_0 … emb_11"
