"""The stages in their order, as one step over records."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
import yaml

from base.errors import (
    ConfigurationError,
    DependencyUnavailableError,
    ErrorCode,
    RecordError,
)
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.store.memory import MemoryStore
from features.store.protocol import Hashes, ReadResult
from features.values.hash64 import PROCESS_KEY
from features.values.keys import Keys
from features.values.tokens import TokenKey
from schemas.batch import Headers, Records
from tests.support import replay
from tests.support.healthy import edit
from tests.support.payments import (
    TIME_MS,
    bad_records,
    body,
    framed,
    good_record,
    text,
    write_pipeline,
)
from tests.support.windowed import NUMBER, windowed_pipeline
from tools.replay import Serial
from worker.delivery.publish import SizeLimits
from worker.histories import NoHistories
from worker.pipeline import load_pipeline, make_stages
from worker.schema_sources import score_schema
from worker.stages.dead_letter import HEADER_PREFIX
from worker.stages.stages import Stages

pytestmark = pytest.mark.usefixtures("verified_here")

ROOMY = SizeLimits(2**20, 2**20)
STAGES = {"decode", "enrich", "score", "decide", "explain", "encode"}
_SCHEMA = fastavro.parse_schema(score_schema())


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    """Stages that copy the header `trace`."""
    folder = write_pipeline(tmp_path_factory.mktemp("stages") / "pipeline", {})
    settings = yaml.safe_load((folder / "worker.yaml").read_text())
    settings["output"]["headers"] = ["trace"]
    (folder / "worker.yaml").write_text(yaml.safe_dump(settings))
    pipeline = load_pipeline(folder)
    return make_stages(
        pipeline, pipeline.decoder(), MemoryStore(), b"", lambda: ROOMY, now_us=lambda: 1
    )


def records(
    values: Sequence[bytes | None], headers: Sequence[Headers | None] | None = None
) -> Records:
    n = len(values)
    return Records(
        "payments",
        [f"k{i}".encode() for i in range(n)],
        values,
        np.zeros(n, np.int32),
        np.arange(n, dtype=np.int64),
        np.full(n, 1_700_000_000_000, np.int64),
        headers,
    )


def scores(values: Sequence[bytes]) -> list[Any]:
    return [fastavro.schemaless_reader(io.BytesIO(value), _SCHEMA, None) for value in values]


def with_note(number: int, length: int) -> bytes:
    """A good record that carries a note of this length onto its score."""
    return framed(body(id=b"\x02" + text(f"p-{number}"), note=text("n" * length)))


def test_scores_are_in_the_order_of_their_records_with_key_and_headers_beside_them(
    stages: Stages,
) -> None:
    headers: list[Headers | None] = [[("trace", b"0")], None, [("other", b"1")], [("trace", b"3")]]
    values = [good_record(0), b"broken", good_record(2), good_record(3)]
    processed = stages(records(values, headers))
    assert [score["event_id"] for score in scores(processed.values)] == ["p-0", "p-2", "p-3"]
    assert [score["source"]["offset"] for score in scores(processed.values)] == [0, 2, 3]
    assert processed.keys == [b"k0", b"k2", b"k3"]
    assert processed.headers == [[("trace", b"0")], [], [("trace", b"3")]]
    assert [letter.position.offset for letter in processed.dead_letters] == [1]
    assert processed.model == ("payments", "1", "cpu")


def test_stages_time_themselves_and_count_decisions(stages: Stages) -> None:
    processed = stages(records([good_record(i) for i in range(300)]))
    assert set(processed.seconds) == STAGES
    assert all(seconds >= 0 for seconds in processed.seconds.values())
    decisions = [score["decision"] for score in scores(processed.values)]
    assert processed.decisions == {
        ("default", name): decisions.count(name) for name in set(decisions)
    }
    assert len(processed.decisions) > 1


@pytest.mark.parametrize("bad", [0, 1, 3], ids=["no record", "one", "three"])
def test_a_batch_without_any_event_goes_through_all_stations(stages: Stages, bad: int) -> None:
    processed = stages(records([record.value for record in bad_records()[:bad]]))
    assert (list(processed.values), list(processed.keys)) == ([], [])
    assert len(processed.dead_letters) == bad
    assert (processed.decisions, processed.flagged) == ({}, {})
    assert set(processed.seconds) == STAGES


def test_dead_letters_name_the_station_and_the_schema(stages: Stages) -> None:
    processed = stages(records([framed(body(), 999), good_record(1)[:-3], None]))
    headers = [dict(letter.headers) for letter in processed.dead_letters]
    assert [own[f"{HEADER_PREFIX}stage"] for own in headers] == [b"decode"] * 3
    assert [own.get(f"{HEADER_PREFIX}schema.id") for own in headers] == [b"999", b"1", None]


def test_a_score_too_large_for_its_topic_is_a_dead_letter_and_counts_as_none(
    stages: Stages,
) -> None:
    values = [with_note(0, 10), with_note(1, 3000), with_note(2, 10), with_note(3, 3000)]
    trace: list[Headers | None] = [[("trace", str(i).encode())] for i in range(4)]
    small = replace(stages, limits=lambda: SizeLimits(2000, 2**20))
    processed = small(records(values, trace))
    assert [score["event_id"] for score in scores(processed.values)] == ["p-0", "p-2"]
    assert processed.keys == [b"k0", b"k2"]
    assert processed.headers == [[("trace", b"0")], [("trace", b"2")]]
    assert [letter.position.offset for letter in processed.dead_letters] == [1, 3]
    assert {letter.code for letter in processed.dead_letters} == {ErrorCode.OUTPUT_TOO_LARGE}
    own = dict(processed.dead_letters[0].headers)
    assert own[f"{HEADER_PREFIX}stage"] == b"publish"
    assert processed.dead_letters[0].value == values[1]
    assert sum(processed.decisions.values()) == 2


def test_a_score_without_a_key_is_a_dead_letter_where_its_topic_is_compacted(
    stages: Stages,
) -> None:
    given = replace(records([good_record(i) for i in range(3)]), keys=[b"k", None, b""])
    keyed = replace(stages, limits=lambda: SizeLimits(2**20, 2**20, keyed_scores=True))
    processed = keyed(given)
    assert (processed.keys, len(processed.values)) == ([b"k", b""], 2)
    (letter,) = processed.dead_letters
    assert (letter.position.offset, letter.code) == (1, ErrorCode.OUTPUT_REFUSED)
    assert sum(processed.decisions.values()) == 2
    assert processed.records.offsets.tolist() == [0, 2]
    assert len(stages(given).dead_letters) == 0


def test_a_record_whose_headers_cannot_be_read_is_a_dead_letter_with_its_key_and_value(
    stages: Stages,
) -> None:
    fault = RecordError(ErrorCode.HEADER_INVALID, "the name of a header is not UTF-8")
    given = replace(
        records([good_record(0), good_record(1), b"broken"]), faults={1: fault, 2: fault}
    )
    processed = stages(given)
    assert [score["event_id"] for score in scores(processed.values)] == ["p-0"]
    assert [(letter.code, letter.key, letter.value) for letter in processed.dead_letters] == [
        (ErrorCode.HEADER_INVALID, b"k1", good_record(1)),
        (ErrorCode.HEADER_INVALID, b"k2", b"broken"),
    ]
    assert not any(name.endswith("schema.id") for name, _ in processed.dead_letters[0].headers)


def test_a_score_is_too_large_with_its_headers(stages: Stages) -> None:
    """The broker would refuse it, twice, and then the worker would end."""
    headers: list[Headers | None] = [None, [("trace", b"x" * 3000)], [("trace", b"x")]]
    small = replace(stages, limits=lambda: SizeLimits(2000, 2**20))
    processed = small(records([b"broken", good_record(1), good_record(2)], headers))
    letters = processed.dead_letters
    assert [letter.position.offset for letter in letters] == [0, 1]
    assert letters[1].code is ErrorCode.OUTPUT_TOO_LARGE
    assert letters[1].value == good_record(1)
    assert processed.headers == [[("trace", b"x")]]


def test_dead_letters_keep_the_order_of_their_partition_whatever_station_they_come_from(
    stages: Stages,
) -> None:
    small = replace(stages, limits=lambda: SizeLimits(2000, 2**20))
    processed = small(records([with_note(0, 3000), b"broken", with_note(2, 3000), b"broken"]))
    assert [letter.position.offset for letter in processed.dead_letters] == [0, 1, 2, 3]


def test_flags_are_counted_on_scored_events_alone() -> None:
    pipeline = load_pipeline(replay.PIPELINE)
    stages = make_stages(pipeline, pipeline.decoder(), MemoryStore(), b"", lambda: ROOMY)
    processed = stages(replay.load_records())
    assert processed.flagged["lookup_missing:customer_profile"] == len(processed.values)
    assert len(processed.dead_letters) > 0
    # No score of these fits.
    none = replace(stages, limits=lambda: SizeLimits(1, 2**20))(replay.load_records())
    assert sum(none.flagged.values()) == sum(none.decisions.values()) == 0
    assert len(none.dead_letters) == len(replay.load_records())


class Away(MemoryStore):
    def read_all(
        self, keys: Sequence[Keys], hashes: Sequence[Hashes] = (), marks: Sequence[bytes] = ()
    ) -> ReadResult:
        raise DependencyUnavailableError(f"no answer for {len(keys)} and {len(hashes)} columns")


def test_a_store_that_is_away_is_the_callers_business() -> None:
    pipeline = load_pipeline(replay.PIPELINE)
    stages = make_stages(pipeline, pipeline.decoder(), Away(), b"", lambda: ROOMY)
    with pytest.raises(DependencyUnavailableError):
        stages(replay.load_records())


def test_headers_that_are_not_asked_for_are_not_copied(tmp_path: Path) -> None:
    pipeline = load_pipeline(write_pipeline(tmp_path / "pipeline", {}))
    stages = make_stages(pipeline, pipeline.decoder(), MemoryStore(), b"", lambda: ROOMY)
    processed = stages(records([good_record(0)], [[("trace", b"0")]]))
    assert processed.headers is None
    assert len(processed.values) == 1


# windows


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return windowed_pipeline(tmp_path_factory.mktemp("windowed") / "pipeline")


def windowed_stages(folder: Path, store: MemoryStore, limits: SizeLimits = ROOMY) -> Stages:
    pipeline = load_pipeline(folder)
    return make_stages(pipeline, pipeline.decoder(), store, b"", lambda: limits, now_us=lambda: 1)


def numbers(values: Sequence[bytes]) -> list[float]:
    return [score["vector"][NUMBER] for score in scores(values)]


def test_events_see_those_before_them_in_whatever_batches(windowed: Path) -> None:
    # Two events a customer: seven customers, a minute between two events.
    values = [good_record(i) for i in range(14)]
    whole = windowed_stages(windowed, MemoryStore())(records(values))
    assert numbers(whole.values) == [1.0] * 7 + [2.0] * 7
    store = MemoryStore()
    serial = Serial(windowed_stages(windowed, store), store)
    parts = [serial(records(values).take(np.arange(i, i + 2))) for i in range(0, 14, 2)]
    assert [value for part in parts for value in part.values] == list(whole.values)
    assert whole.after.highest == {0: tuple((TIME_MS + i * 60_000) * 1000 for i in (13, 12, 11))}
    # Histories begin with the third of the first five events.
    assert [*whole.after.lowest[0].values()] == [(TIME_MS + 2 * 60_000) * 1000]
    # The watermark stands at eleven minutes of an hour.
    assert whole.coverage == {"customer": 9 / 60}
    assert whole.flagged["history_short:customer"] == 14


def test_the_state_of_the_log_tells_what_is_late(windowed: Path) -> None:
    stages = windowed_stages(windowed, MemoryStore())
    hour_later = LogState({0: ((TIME_MS + 3_600_000) * 1000,) * 3})
    processed = stages(records([good_record(0)]), hour_later)
    assert processed.flagged["late"] == 1
    assert ([*processed.writes.appends], processed.after.highest) == ([], hour_later.highest)
    assert stages(records([good_record(0)])).flagged.get("late", 0) == 0


def test_an_event_whose_score_is_too_large_is_seen_by_later_ones(windowed: Path) -> None:
    store = MemoryStore()
    values = [with_note(0, 3000), with_note(1, 10)]
    serial = Serial(windowed_stages(windowed, store, SizeLimits(2000, 2**20)), store)
    first = serial(records(values[:1]))
    assert [letter.code for letter in first.dead_letters] == [ErrorCode.OUTPUT_TOO_LARGE]
    second = serial(records(values).take(np.array([1])))
    assert numbers(second.values) == [2.0]


def test_reads_wait_for_writes_and_go_to_the_namespace_of_the_worker(windowed: Path) -> None:
    class Waited(NoHistories):
        """Notes what was asked."""

        def namespace(self) -> Namespace:
            return Namespace("payments", "state-9", "topic-id", 3, PROCESS_KEY)

        def await_written(self) -> None:
            order.append("waited")

    class Store(MemoryStore):
        def read_all(
            self, keys: Sequence[Keys], hashes: Sequence[Hashes] = (), marks: Sequence[bytes] = ()
        ) -> ReadResult:
            names = [key for some in keys for key in some.to_list()]
            order.extend(key.split(b":")[2].decode() for key in names)
            return super().read_all(keys, hashes, marks)

    order: list[str] = []
    pipeline = load_pipeline(windowed)
    stages = make_stages(
        pipeline, pipeline.decoder(), Store(), b"", lambda: ROOMY, histories=Waited()
    )
    processed = stages(records([good_record(0)]))
    assert order == ["waited", "state-9"]
    assert all(key.startswith(b"fw:payments:state-9:") for key, _ in processed.writes.appends)


def test_a_pipeline_with_windows_needs_a_store(windowed: Path, tmp_path: Path) -> None:
    settings = yaml.safe_load((windowed / "worker.yaml").read_text())
    del settings["store"]
    folder = tmp_path / "pipeline"
    shutil.copytree(windowed, folder)
    (folder / "worker.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(ConfigurationError, match=f"store is missing.*windows.*{NUMBER}.*store.url"):
        load_pipeline(folder)


@pytest.mark.parametrize(
    ("partition_key", "hidden"), [("card", True), (None, True), ("customer", False)]
)
def test_with_tokens_no_value_or_header_of_a_record_is_written(
    partition_key: str | None, hidden: bool, tmp_path: Path
) -> None:
    """Nor its key, unless the features say that another field is in it."""
    folder = with_tokens(tmp_path, partition_key)
    pipeline = load_pipeline(folder)
    stages = make_stages(
        pipeline, pipeline.decoder(), MemoryStore(), b"", lambda: SizeLimits(2000, 2**20)
    )
    tokens = TokenKey(b"k" * 32)
    card: Headers = [("card", b"k-1")]
    values = [good_record(0), b"broken", with_note(2, 3000), good_record(3)]
    processed = stages(records(values, [card] * 4))
    kept = [b"k0", b"k3"]
    assert [*processed.keys] == (tokens.of_record_keys(kept) if hidden else kept)
    assert processed.headers is None
    carried = [score["carried"]["card"] for score in scores(processed.values)]
    assert carried == [tokens.token(b"k-1")] * 2
    assert [letter.position.offset for letter in processed.dead_letters] == [1, 2]
    for letter, key in zip(processed.dead_letters, (b"k1", b"k2"), strict=True):
        assert (letter.key, letter.value) == (tokens.token(key).encode(), None)
        assert all(name.startswith(HEADER_PREFIX) for name, _ in letter.headers)


def test_with_tokens_only_headers_of_traces_are_copied(tmp_path: Path) -> None:
    pipeline = load_pipeline(with_tokens(tmp_path, "card", ["traceparent", "tracestate"]))
    pipeline.decoder()
    output = pipeline.settings.output.model_copy(update={"headers": ["traceparent", "card"]})
    settings = pipeline.settings.model_copy(update={"output": output})
    with pytest.raises(
        ConfigurationError, match=r"output\.headers: card may hold a value that has"
    ):
        replace(pipeline, settings=settings).decoder()


def with_tokens(folder: Path, partition_key: str | None, headers: Sequence[str] = ()) -> Path:
    """A pipeline whose field `card` has tokens, and is carried."""
    folder = write_pipeline(folder / "pipeline", {})
    (folder / "token.key").write_bytes(b"k" * 32)

    def change_features(values: dict[str, Any]) -> None:
        values["entities"] = {"payer": {"field": "card", "token": {"key_file": "token.key"}}}
        values["events"].pop("partition_key", None)
        values["events"] |= {"partition_key": partition_key} if partition_key else {}

    edit(folder / "features.yaml", change_features)
    edit(
        folder / "worker.yaml",
        lambda values: values["output"].update(carry=["note", "card"], headers=[*headers]),
    )
    return folder
