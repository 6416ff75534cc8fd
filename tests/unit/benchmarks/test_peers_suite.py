"""The report of the suite ``peers``, and what its two loops share with the other programs."""

from __future__ import annotations

import re

import numpy as np

from benchmarks.latency.cases import BARE, figures
from benchmarks.latency.measure import Observed
from benchmarks.latency.table import PROGRAMS
from benchmarks.peers import suite
from benchmarks.peers.programs import _JARS, _QUIX_READY, _SOURCE
from benchmarks.rivals import parts
from benchmarks.rivals.task import READY
from benchmarks.summary import summarise
from benchmarks.throughput import Measured
from tests.support.benchmark_results import MACHINE
from tools.embedded.artifacts import read_list
from tools.embedded.kafka import VERSION


def test_a_result_is_written_down() -> None:
    names = ("worker", "hand_written", "quix", "kafka_streams")
    run = Measured(20_000, 10.0, 5.0, 100 * 2**20, {}, 20_000, 0.1)
    observed = {name: [Observed(np.array([9.0]), 0, 100.0)] for name in (*names, BARE)}
    result = {
        "date": "2026-11-30",
        "machine": MACHINE,
        "setting": {
            "partitions": 4,
            "features": 32,
            "trees": 100,
            "xgboost_threads": 2,
            "batch_events": 4000,
            "rounds": 3,
            "commit_s": suite.COMMIT_S,
        },
        "programs": summarise({name: [run] for name in names}, suite.BASE),
        "cases": [{"guarantee": "exactly_once", "rate": 100, "programs": figures(observed)}],
    }
    page = "\n".join(suite.peers(result, "2026-11-30-peers.json"))
    assert "the peers commit every 0.05 s" in page
    assert "| Quix Streams | 2,000 | 2,000 to 2,000 | 1.00 |" in page
    assert "| exactly once | 100 | Kafka Streams | 9.0 |" in page
    assert [*observed] == [name for name in PROGRAMS if name in observed]


def test_kafka_streams_has_the_version_of_the_broker() -> None:
    versions = {file.name: file.version for file in read_list(_JARS)}
    assert versions["kafka-streams"] == versions["kafka-clients"] == VERSION
    assert _JARS.stem.endswith(VERSION)


def test_kafka_streams_is_ready_with_the_line_of_the_rivals() -> None:
    assert f'"{READY}"' in _SOURCE.read_text()
    assert _QUIX_READY != READY


def test_kafka_streams_has_the_codes_of_the_rivals() -> None:
    text = _SOURCE.read_text()
    assert int(re.findall(r"FEATURES = (\d+);", text)[0]) == parts.FEATURES
    for codes in (parts.CURRENCIES, parts.COUNTRIES):
        assert ", ".join(f'"{name}"' for name in sorted(codes, key=codes.__getitem__)) in text
