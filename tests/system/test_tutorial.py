"""The tutorial, command by command as it stands there, and the numbers that it shows."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.rig import ROOT, await_that
from tools.embedded.process import free_port

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

TUTORIAL = (ROOT / "docs" / "tutorials" / "first-pipeline.md").read_text()
COMMAND_S = 600.0
START_S = 120.0
# Of 150 s in all, the search for parameters would take most. It has tests of its own.
QUICKLY = "--tries 1 --folds 1"
# A new way to train may move it; a number that is off by more says something else.
SCORE_TOLERANCE = 0.02


def block(begin: str) -> str:
    """The indented block of the tutorial that begins with these words, without its indent."""
    found = [*re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", TUTORIAL, re.MULTILINE)]
    (own,) = [text for text in map(_dedented, found) if text.lstrip("\n").startswith(begin)]
    return own.strip("\n")


def _dedented(text: str) -> str:
    return "\n".join(line[4:] for line in text.splitlines())


class Walk:
    """A folder with what the tutorial takes for granted: the schemas, and the program on the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "schemas").symlink_to(ROOT / "schemas")
        programs = folder / "bin"
        programs.mkdir()
        for name, options in (("fraud-worker", "-m tools"), ("python", "")):
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {options} "$@"\n')
            (programs / name).chmod(0o755)
        self.kafka_port, self.valkey_port = free_port(), free_port()
        own = {k: v for k, v in os.environ.items() if not k.startswith("FRAUD_WORKER_")}
        self.environment = {
            **own,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "FRAUD_WORKER_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{self.kafka_port}",
            "FRAUD_WORKER_STORE__URL": f"redis://127.0.0.1:{self.valkey_port}",
            "FRAUD_WORKER_HTTP__PORT": "0",
        }

    def run(self, script: str) -> str:
        """What a shell prints that ends at the first command that fails."""
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def edit(self, name: str, *changes: tuple[str, str]) -> None:
        path = self.folder / "payments" / name
        text = path.read_text()
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path.write_text(text)

    @contextmanager
    def servers(self, command: str) -> Iterator[None]:
        where = f"--dir {self.folder}/dev"
        ports = f"--kafka-port {self.kafka_port} --valkey-port {self.valkey_port}"
        self.run(f"{command} {where} {ports}")
        try:
            yield
        finally:
            self.run(f"fraud-worker dev down {where}")

    @contextmanager
    def worker(self, command: str) -> Iterator[Path]:
        """A command that works until SIGTERM; gives its log."""
        log = self.folder / "worker.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.folder,
                env=self.environment,
                stdout=out,
                stderr=out,
            )
        try:
            await_that(lambda: "assigned" in log.read_text(), START_S, "partitions", log.read_text)
            yield log
            process.send_signal(signal.SIGTERM)
            assert process.wait(START_S) == 0, log.read_text()
        finally:
            process.kill()
            process.wait(START_S)


def write_features(walk: Walk) -> None:
    """Step 2, as its prose says."""
    bound = block("  label: {field: is_fraud")
    written = (walk.folder / "payments" / "features.yaml").read_text()
    # With its reason behind it.
    (label,) = re.findall(r"^  #label: .*\n", written, re.MULTILINE)
    walk.edit(
        "features.yaml",
        (label, bound.partition("\n")[0] + "\n"),
        ("  #aliases: {amount: TX_AMOUNT}\n", bound.partition("\n")[2] + "\n"),
    )
    path = walk.folder / "payments" / "features.yaml"
    path.write_text(path.read_text() + block("  - {name: nb_7d") + "\n")
    walk.edit("worker.yaml", ("#store:\n", "store:\n"), ("#url: redis:", "url: redis:"))
    path = walk.folder / "payments" / "worker.yaml"
    path.write_text(path.read_text() + "output: {vector: all}\n")


def compare_answers(printed: str) -> None:
    """Hold what the client printed against the two lines that the tutorial shows of it."""
    event, letter = block("{'event_id': 't-3'").splitlines()
    (answer,) = (line for line in printed.splitlines() if "'event_id': 't-3'" in line)
    assert decision(answer) == decision(event)
    assert score_of(answer) == pytest.approx(score_of(event), abs=SCORE_TOLERANCE)
    own, expected = vector(answer), vector(event)
    assert {name: own[name] for name in expected} == expected
    (refused,) = (line for line in printed.splitlines() if "__worker.errors.code" in line)
    for pair in re.findall(r"'__worker[^']*': '[^']*'", letter):
        assert pair in refused, pair
    assert len(printed.splitlines()) == 5


def compare_with_training(walk: Walk, printed: str) -> None:
    """Hold the features of the scores against a training table of the same events."""
    history = pq.read_table(walk.folder / "data" / "history.parquet")
    row = {name: history[name][0].as_py() for name in history.column_names}
    live = [
        row
        | {
            "TRANSACTION_ID": 10**9 + number,
            "TX_DATETIME": datetime(2018, 6, 3, 4, 26, 40, tzinfo=UTC) + timedelta(hours=number),
            "CUSTOMER_ID": type(row["CUSTOMER_ID"])("509"),
            "TERMINAL_ID": type(row["TERMINAL_ID"])("7"),
            "TX_AMOUNT": amount,
            "TX_FRAUD": None,
        }
        for number, amount in enumerate([18.0, 25.0, 20.0, 950.0])
    ]
    pq.write_table(
        pa.Table.from_pylist(live, history.schema), walk.folder / "data" / "sent.parquet"
    )
    walk.run(
        "fraud-worker features build --pipeline payments --events data/history.parquet "
        "data/sent.parquet --out data/all.parquet"
    )
    table = pq.read_table(walk.folder / "data" / "all.parquet").slice(history.num_rows)
    online = [vector(line) for line in printed.splitlines() if "'event_id'" in line]
    assert [list(own.values()) for own in online] == [
        [row[name] for name in own] for own, row in zip(online, table.to_pylist(), strict=True)
    ]
    assert not any("history_short" in line for line in printed.splitlines())


def decision(line: str) -> str:
    return re.search(r"'decision': '(\w+)'", line)[1]  # type: ignore[index]


def score_of(line: str) -> float:
    return float(re.search(r"'score': ([\d.]+)", line)[1])  # type: ignore[index]


def vector(line: str) -> dict[str, float]:
    values = re.search(r"'vector': \{(.*?)\}", line)[1]  # type: ignore[index]
    return {name: float(value) for name, value in re.findall(r"'(\w+)': ([\d.]+)", values)}


def test_the_commands_of_the_readme_work_as_they_stand(tmp_path: Path) -> None:
    walk = Walk(tmp_path)
    walk.run(block("make install").partition("bin:$PATH\n")[2])
    walk.run(block("fraud-worker init"))
    write_features(walk)
    built, *explained = walk.run(block("fraud-worker features build")).splitlines()
    assert '"refused": 0' in built
    assert any("counted_by" in line for line in explained)
    train, copy = block("fraud-worker train --features data/table.parquet --out").splitlines()
    walk.run(f"{train} {QUICKLY}\n{copy}")
    up, fill = block("fraud-worker dev up").splitlines()
    check, score, run = block("fraud-worker check").splitlines()
    with walk.servers(up):
        filled = json.loads(walk.run(fill).splitlines()[-1])
        assert filled["filled"] > 0
        assert "failed" not in walk.run(check)
        assert len(walk.run(score).splitlines()) == 5
        with walk.worker(run) as log:
            client = block("python - <<'END'").replace(
                "localhost:9092", f"127.0.0.1:{walk.kafka_port}"
            )
            answers = walk.run(client)
            compare_answers(answers)
            compare_with_training(walk, answers)
            state, _demo = block("fraud-worker features state").splitlines()
            members = [json.loads(line) for line in walk.run(state).splitlines()]
            assert [m["partition"] for m in members if m["partition"] >= 0] == [0] * 4
            assert len(members) > 4
            walk.edit("policy.yaml", ("version: ", "version: second-"))
            await_that(
                lambda: "policy_reloaded" in log.read_text(), START_S, "reload", log.read_text
            )
