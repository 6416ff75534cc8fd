"""``fraud-worker check`` without servers: files, model, schemas, and what facts of servers mean."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from confluent_kafka import KafkaError, KafkaException
from typer.testing import CliRunner

from base.errors import (
    ConfigurationError,
    DependencyUnavailableError,
    ErrorCode,
    RecordError,
)
from features.store.redis import StoreInfo
from tests.support.fake_registry import FakeRegistry, Odd, answer, serving
from tests.support.healthy import edit, healthy_pipeline
from tests.support.transactions import handbook
from tools.checks import examine as examine_module
from tools.checks import group, model, schemas
from tools.checks.brokers import Cluster, check_bounds, judge_cluster
from tools.checks.examine import examine
from tools.checks.files import Files, read_files
from tools.checks.finding import Finding, State, all_passed, failed, ok, refused, run_check, warning
from tools.checks.group import GroupState, judge_group, judge_start
from tools.checks.sample import judge_errors, judge_keys, judge_lookup
from tools.checks.schemas import check_scores, check_writers
from tools.checks.store import judge_store
from tools.checks.topics import (
    DEAD_LETTERS,
    INPUT,
    LABELS,
    OUTPUT,
    Topic,
    judge_keys_of_scores,
    judge_labels_kept,
    judge_size,
    judge_topics,
)
from tools.cli import commands
from tools.cli.check import check, lines
from tools.cli.run import run as start
from worker.consume.offset_metadata import OffsetMetadata
from worker.consume.start_offsets import Committed
from worker.consume.topics import InputTopic
from worker.delivery.producers_in_turn import PRODUCERS
from worker.settings import WorkerSettings

INPUT_TOPIC = InputTopic("in", "id-1", 2, None)

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return healthy_pipeline(tmp_path / "pipeline")


def read(folder: Path) -> tuple[Files, WorkerSettings]:
    files = read_files(folder)
    assert files.settings is not None, files.findings
    return files, files.settings


def found_by(findings: list[Finding], check: str) -> Finding:
    """The one finding of a check, or the one that is not ok."""
    own = [finding for finding in findings if finding.check == check]
    assert own, f"no {check} in {findings}"
    return next((finding for finding in own if finding.state is not State.OK), own[0])


def says(finding: Finding, state: State, found: str, remedy: str) -> None:
    assert (finding.state, found in finding.found, remedy in finding.remedy) == (
        state,
        True,
        True,
    ), finding


def test_check_finds_no_fault_in_a_healthy_folder(folder: Path) -> None:
    files, settings = read(folder)
    assert [finding.state for finding in files.findings] == [State.OK] * 4
    findings = model.check_model(settings, files.feature_set)
    assert [finding.check for finding in findings] == [model.BUNDLE, model.FITS, model.DEVICE]
    assert all(finding.state is State.OK for finding in findings), findings
    assert files.feature_set is not None
    assert check_writers(settings, files.feature_set, files.rules)[0].state is State.OK
    assert check_scores(settings)[0].state is State.OK


def _drop(*names: str) -> Change:
    def change(values: dict[str, Any]) -> None:
        for name in names[:-1]:
            values = values[name]
        del values[names[-1]]

    return change


def _keep_all(_: dict[str, Any]) -> None:
    pass


def _keep(*names: str) -> Change:
    def change(values: dict[str, Any]) -> None:
        for name in values.keys() - set(names):
            del values[name]

    return change


def _set(value: Any, *names: str) -> Change:
    def change(values: dict[str, Any]) -> None:
        for name in names[:-1]:
            values = values.setdefault(name, {})
        values[names[-1]] = value

    return change


BROKEN_FILES: dict[str, tuple[str, Change, str, str, str]] = {
    "missing setting": (
        "worker.yaml",
        _drop("kafka", "group"),
        "worker.yaml",
        "kafka.group is missing",
        "FRAUD_WORKER_KAFKA__GROUP",
    ),
    "lookups without a store": (
        "worker.yaml",
        _drop("store"),
        "worker.yaml",
        "store is missing, and customer_profile",
        "add store.url",
    ),
    "unknown field to carry": (
        "worker.yaml",
        _set(["amuont"], "output", "carry"),
        "output.carry",
        "has no field 'amuont'",
        "output.carry",
    ),
    "unknown field in a binding": (
        "features.yaml",
        _set("tx_tiem", "events", "time"),
        "features.yaml",
        "unknown field 'tx_tiem'",
        "did you mean 'tx_time'?",
    ),
    "binding that init left open": (
        "features.yaml",
        _set("<open>", "events", "id"),
        "features.yaml",
        "events.id is a placeholder",
        "fill it in",
    ),
    "schema that is not there": (
        "features.yaml",
        _set("other.avsc", "events", "schema"),
        "features.yaml",
        "other.avsc",
        "",
    ),
    "policy without bands": (
        "policy.yaml",
        _keep("version", "default"),
        "policy.yaml",
        "give either bands or segments",
        "",
    ),
}


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_check_finds_faults_of_files(name: str, folder: Path) -> None:
    file, change, check, found, remedy = BROKEN_FILES[name]
    edit(folder / file, change)
    says(found_by([*read_files(folder).findings], check), State.FAILED, found, remedy)


def test_a_file_that_fails_does_not_hide_the_others(folder: Path) -> None:
    (folder / "worker.yaml").unlink()
    edit(folder / "policy.yaml", _set("", "version"))
    findings = [*examine(folder)]
    assert found_by(findings, "worker.yaml").state is State.FAILED
    assert found_by(findings, "policy.yaml").state is State.FAILED
    assert found_by(findings, "features.yaml").state is State.OK
    skipped = found_by(findings, "brokers")
    says(skipped, State.SKIPPED, "worker.yaml is not valid", "")


def test_check_without_a_model_says_how_to_get_one(folder: Path) -> None:
    shutil.rmtree(folder / "model")
    files, settings = read(folder)
    findings = model.check_model(settings, files.feature_set)
    says(findings[0], State.FAILED, f"no bundle at {folder / 'model'}", "train-and-promote")
    assert [finding.state for finding in findings[1:]] == [State.SKIPPED] * 2


def test_a_changed_model_is_refused(folder: Path) -> None:
    path = next((folder / "model").glob("model.*"))
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    files, settings = read(folder)
    (finding,) = model.check_model(settings, files.feature_set)
    assert finding.check == model.BUNDLE
    assert finding.state is State.FAILED
    assert path.name in finding.found


def test_a_model_of_other_features_is_refused(folder: Path) -> None:
    def change(values: dict[str, Any]) -> None:
        values["features"][1]["expr"] = "hour(tx_time) <= 5"

    edit(folder / "features.yaml", change)
    files, settings = read(folder)
    findings = model.check_model(settings, files.feature_set)
    fits = found_by(findings, model.FITS)
    says(fits, State.FAILED, "NIGHT", "train the model again")
    assert found_by(findings, model.DEVICE).state is State.OK, (
        "the device is looked at all the same"
    )


def test_a_device_that_is_not_there_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: object) -> None:
        raise ConfigurationError("device: cuda found no GPU; set device: cpu")

    monkeypatch.setattr(model, "open_backend", absent)
    files, settings = read(folder)
    device = found_by(model.check_model(settings, files.feature_set), model.DEVICE)
    says(device, State.FAILED, "found no GPU", "set device: cpu")


def test_a_writer_that_does_not_resolve_is_found(folder: Path) -> None:
    schema = json.loads((folder / "transaction.avsc").read_text())
    writers = folder / "writer-schemas"
    writers.mkdir()
    schema["fields"] = [field for field in schema["fields"] if field["name"] != "channel"]
    (writers / "7.avsc").write_text(json.dumps(schema))
    files, settings = read(folder)
    assert files.feature_set is not None
    (finding,) = check_writers(settings, files.feature_set, files.rules)
    assert finding.state is State.OK, "the reader has a default for channel"
    assert "7.avsc" in finding.found

    schema["fields"] = [field for field in schema["fields"] if field["name"] != "amount"]
    (writers / "8.avsc").write_text(json.dumps(schema))
    (finding,) = check_writers(settings, files.feature_set, files.rules)
    says(finding, State.FAILED, "8.avsc: the writer has no field amount", "a default")

    (writers / "latest.avsc").write_text(json.dumps(schema))
    findings = run_check("w", lambda: check_writers(settings, files.feature_set, files.rules))  # type: ignore[arg-type]
    says(findings[0], State.FAILED, "latest.avsc: its name is not a schema id", "name it ID.avsc")


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with serving() as server:
        yield server


def with_registry(folder: Path, url: str, **more: Any) -> tuple[Files, WorkerSettings]:
    edit(
        folder / "worker.yaml",
        lambda values: values.update(registry={"url": url, "timeout_s": 1, **more}),
    )
    return read(folder)


def registered(folder: Path, **changes: str) -> dict[str, Any]:
    schema = json.loads((folder / "transaction.avsc").read_text())
    for field in schema["fields"]:
        field["type"] = changes.get(field["name"], field["type"])
    return {
        "subject": "transactions-value",
        "id": 41,
        "version": 3,
        "schema": json.dumps(schema),
        "schemaType": "AVRO",
    }


def test_the_newest_registered_writer_is_resolved(folder: Path, registry: FakeRegistry) -> None:
    files, settings = with_registry(folder, registry.url)
    assert files.feature_set is not None
    newest = "subjects/transactions-value/versions/latest"

    says(
        check_writers(settings, files.feature_set, files.rules)[0],
        State.WARNING,
        "no subject",
        "ignore it if",
    )

    good, other = registered(folder), registered(folder, amount="string")
    registry.answers = {newest: good, "schemas/ids/41": good}
    finding = check_writers(settings, files.feature_set, files.rules)[0]
    says(finding, State.OK, "transactions-value, version 3, id 41", "")

    registry.answers = {newest: other, "schemas/ids/41": other}
    finding = check_writers(settings, files.feature_set, files.rules)[0]
    says(finding, State.FAILED, "amount is string", "give transaction.avsc")


@pytest.mark.parametrize("register", [True, False])
@pytest.mark.parametrize(
    ("odd", "found"),
    [
        (answer(404, "<html>"), "HTTP status 404"),
        (answer(200, "<html>"), "HTTP status 200"),
        (answer(200, {}), "in the answer"),
        (answer(302, ""), "HTTP status 302"),
        (answer(401, {"error_code": 401, "message": "who?"}), "HTTP status 401: who?"),
        (answer(503, ""), "HTTP status 503"),
    ],
)
def test_check_finds_what_answers_in_place_of_a_registry(
    folder: Path, registry: FakeRegistry, odd: Odd, found: str, register: bool
) -> None:
    files, settings = with_registry(folder, registry.url, register_score_schema=register)
    assert files.feature_set is not None
    registry.odd[""] = odd
    says(
        check_writers(settings, files.feature_set, files.rules)[0],
        State.FAILED,
        found,
        "registry.url",
    )
    says(check_scores(settings)[0], State.FAILED, found, "registry.url")


def test_a_registry_that_is_away_is_found_within_its_timeout(folder: Path) -> None:
    files, settings = with_registry(folder, "http://127.0.0.1:1")
    assert files.feature_set is not None
    says(
        check_writers(settings, files.feature_set, files.rules)[0],
        State.FAILED,
        "does not answer",
        "see that",
    )
    says(check_scores(settings)[0], State.FAILED, "does not answer", "see that")


def test_the_schema_of_scores_is_looked_up_and_never_registered(
    folder: Path, registry: FakeRegistry
) -> None:
    _, settings = with_registry(folder, registry.url)
    (finding,) = run_check("scores", lambda: check_scores(settings))
    says(finding, State.FAILED, "scores-value does not have score.avsc", "register")

    _, settings = with_registry(folder, registry.url, register_score_schema=True)
    says(check_scores(settings)[0], State.OK, "is new", "")
    fits = "compatibility/subjects/scores-value/versions/latest"
    registry.answers = {fits: {"is_compatible": True}}
    says(check_scores(settings)[0], State.OK, "compatible with subject scores-value", "")
    registry.answers = {fits: {"is_compatible": False}}
    says(check_scores(settings)[0], State.FAILED, "not compatible", "another topic")
    registry.odd[fits] = answer(422, {"error_code": 42201, "message": "invalid"})
    says(check_scores(settings)[0], State.FAILED, "refuses score.avsc: invalid", "another topic")
    assert "POST subjects/scores-value/versions" not in registry.asked


def test_the_version_of_the_brokers() -> None:
    def judged(**settings: str) -> Finding:
        return judge_cluster(
            Cluster("c", 3, {name.replace("_", "."): value for name, value in settings.items()})
        )

    says(judged(), State.OK, "3 brokers of an unknown version", "")
    says(judged(broker_id="1"), State.OK, "of version 4 or later", "")
    says(judged(inter_broker_protocol_version="3.9-IV0"), State.OK, "of version 3.9", "")
    says(judged(inter_broker_protocol_version="2.4-IV1"), State.FAILED, "of version 2.4", "upgrade")


@pytest.mark.parametrize(
    ("change", "limits", "state", "found"),
    [
        (_set(0.25, "delivery", "latency_budget_s"), {}, State.OK, "transaction.timeout.ms 10000"),
        (_set(10, "delivery", "latency_budget_s"), {}, State.FAILED, "aborted before their commit"),
        (_set(3, "delivery", "latency_budget_s"), {}, State.WARNING, "less than four times"),
        (
            _set(2_000, "kafka", "producer", "transaction.timeout.ms"),
            {"transaction.max.timeout.ms": "1000"},
            State.FAILED,
            "transaction.timeout.ms is 2000, the brokers' transaction.max.timeout.ms 1000",
        ),
        (
            _set(6_000, "kafka", "options", "session.timeout.ms"),
            {"group.min.session.timeout.ms": "10000"},
            State.FAILED,
            "session.timeout.ms is 6000",
        ),
        (
            _set(9_000, "kafka", "consumer", "session.timeout.ms"),
            {"group.max.session.timeout.ms": "8000"},
            State.FAILED,
            "session.timeout.ms is 9000",
        ),
        (_set(300, "delivery", "watchdog_s"), {}, State.WARNING, "max.poll.interval.ms 300000"),
    ],
)
def test_bounds_on_waiting_leave_room_for_each_other(
    change: Change, limits: dict[str, str], state: State, found: str, folder: Path
) -> None:
    edit(folder / "worker.yaml", change)
    _, settings = read(folder)
    (finding,) = check_bounds(settings, Cluster("c", 1, limits))
    says(finding, state, found, "")
    assert finding.remedy or state is State.OK


def test_a_bound_of_transactions_is_none_at_least_once(folder: Path) -> None:
    edit(folder / "worker.yaml", _set(10, "delivery", "latency_budget_s"))
    edit(folder / "worker.yaml", _set("at_least_once", "delivery", "guarantee"))
    _, settings = read(folder)
    assert check_bounds(settings, None)[0].state is State.OK
    (finding,) = group.check_transactions(settings)
    says(finding, State.SKIPPED, "at_least_once", "")


TOPIC = Topic(
    "t",
    "id-1",
    3,
    3,
    frozenset({"READ", "WRITE"}),
    {
        "cleanup.policy": "delete",
        "retention.ms": "604800000",
        "max.message.bytes": "1048588",
        "min.insync.replicas": "2",
    },
)
ROLES = {
    INPUT: replace(TOPIC, name="in"),
    OUTPUT: replace(TOPIC, name="out"),
    DEAD_LETTERS: replace(TOPIC, name="dead"),
}


def other(topic: Topic, settings: Mapping[str, str] | None = None, **changes: Any) -> Topic:
    return replace(topic, settings={**topic.settings, **(settings or {})}, **changes)


def test_topics_that_fit_each_other() -> None:
    findings = judge_topics(ROLES, 3)
    assert {finding.state for finding in findings} == {State.OK}
    says(
        findings[0],
        State.OK,
        "in: 3 partitions, kept for 7 days, records up to 1,048,588 bytes",
        "",
    )
    for_ever = judge_topics({INPUT: other(TOPIC, {"retention.ms": "-1"})}, 1)
    says(for_ever[0], State.OK, "3 partitions, kept for ever", "")
    unread = {check: replace(topic, rights=None, settings={}) for check, topic in ROLES.items()}
    assert {finding.state for finding in judge_topics(unread, 3)} == {State.OK}


@pytest.mark.parametrize(
    ("check", "topic", "state", "found", "remedy"),
    [
        (INPUT, other(TOPIC, rights=frozenset()), State.FAILED, "may not read", "allow Read"),
        (OUTPUT, other(TOPIC, rights=frozenset()), State.FAILED, "may not write", "allow Write"),
        (DEAD_LETTERS, other(TOPIC, rights=frozenset()), State.FAILED, "may not write", "Write"),
        (INPUT, other(TOPIC, {"cleanup.policy": "compact"}), State.WARNING, "compact", "delete"),
        (
            INPUT,
            other(TOPIC, {"retention.ms": "3600000"}),
            State.WARNING,
            "kept for 1 h only",
            "raise",
        ),
        (
            OUTPUT,
            other(TOPIC, partitions=2),
            State.WARNING,
            "has 2 partitions, in 3",
            "same number",
        ),
        (
            DEAD_LETTERS,
            other(TOPIC, {"max.message.bytes": "2559"}),
            State.FAILED,
            "up to 2,559 bytes only",
            "raise its max.message.bytes to at least 2,560",
        ),
        (
            DEAD_LETTERS,
            other(TOPIC, {"cleanup.policy": "compact,delete"}),
            State.FAILED,
            "compact,delete",
            "records without a key",
        ),
        (
            OUTPUT,
            other(TOPIC, {"cleanup.policy": "compact"}),
            State.WARNING,
            "compact",
            "last score of each key",
        ),
        (
            OUTPUT,
            other(TOPIC, {"message.timestamp.before.max.ms": "599999"}),
            State.WARNING,
            "before.max.ms is 599,999",
            "raise it to at least 600,000",
        ),
        (
            DEAD_LETTERS,
            other(TOPIC, {"message.timestamp.after.max.ms": "0"}),
            State.WARNING,
            "after.max.ms is 0",
            "raise it",
        ),
        (
            DEAD_LETTERS,
            other(TOPIC, {"max.message.bytes": "2560"}),
            State.WARNING,
            "up to 2,560 bytes",
            "raise its max.message.bytes",
        ),
        (
            "replication",
            other(TOPIC, replicas=1),
            State.WARNING,
            "has one replica",
            "three brokers",
        ),
        (
            "replication",
            other(TOPIC, {"min.insync.replicas": "1"}),
            State.WARNING,
            "min.insync.replicas 1",
            "set it to 2",
        ),
        (
            "replication",
            other(TOPIC, {"min.insync.replicas": "3"}),
            State.WARNING,
            "has 3 replicas, min.insync.replicas 3",
            "stops all writes",
        ),
    ],
)
def test_check_finds_faults_of_topics(
    check: str, topic: Topic, state: State, found: str, remedy: str
) -> None:
    role = check if check in ROLES else OUTPUT
    findings = judge_topics({**ROLES, role: topic}, 3)
    says(found_by(findings, check), state, found, remedy)
    assert [finding for finding in findings if finding.state is not State.OK] == [
        found_by(findings, check)
    ]


def test_check_of_the_labels_topic_warns_of_compaction() -> None:
    kept = replace(TOPIC, name="labels", rights=frozenset({"READ"}))
    says(found_by(judge_topics({LABELS: kept}, 3), LABELS), State.OK, "7 days, records up", "")
    unreadable = replace(kept, rights=frozenset({"WRITE"}))
    says(
        found_by(judge_topics({LABELS: unreadable}, 3), LABELS),
        State.FAILED,
        "may not read it",
        "allow Read",
    )
    for policy in ("compact", "compact,delete"):
        compacted = other(kept, {"cleanup.policy": policy})
        says(
            found_by(judge_topics({LABELS: compacted}, 3), LABELS),
            State.WARNING,
            f"labels: cleanup.policy is {policy}",
            "lack what was known before a correction",
        )


def test_check_of_the_labels_topic_warns_of_a_retention_that_is_shorter_than_windows() -> None:
    kept = replace(TOPIC, name="labels", rights=frozenset({"READ"}))

    def judged(retention: timedelta) -> list[Finding]:
        milliseconds = retention // timedelta(milliseconds=1)
        topic = other(kept, {"retention.ms": str(milliseconds)})
        return list(judge_labels_kept(handbook(), topic))

    # The longest window reaches back over 30 days, a week ago; an event may be an hour late.
    needed = timedelta(days=37, hours=1)
    assert judged(needed) == []
    (finding,) = judged(needed - timedelta(milliseconds=1))
    says(
        finding,
        State.WARNING,
        "labels: labels are kept for 37 days, and windows count those of events of the last 37 days",
        "raise retention.ms to at least 3200400000",
    )
    assert list(judge_labels_kept(handbook(), other(kept, {"retention.ms": "-1"}))) == []


def test_bounds_of_timestamps_do_not_matter_where_the_broker_gives_them() -> None:
    settings = {"message.timestamp.before.max.ms": "0", "message.timestamp.type": "LogAppendTime"}
    findings = judge_topics({**ROLES, OUTPUT: other(TOPIC, settings)}, 3)
    assert {finding.state for finding in findings} == {State.OK}


def test_a_compacted_output_topic_fails_where_records_have_no_key() -> None:
    compacted = other(TOPIC, {"cleanup.policy": "compact"})
    (finding,) = judge_keys_of_scores(compacted, [b"k", None, b"", None])
    says(
        finding,
        State.FAILED,
        "2 of the last 4 input records have no key",
        "give input records keys",
    )
    assert judge_keys_of_scores(compacted, [b"k", b""]) == []
    assert judge_keys_of_scores(TOPIC, [None]) == judge_keys_of_scores(None, [None]) == []


def test_check_of_replication_accepts_a_single_broker() -> None:
    once = {check: replace(topic, replicas=1) for check, topic in ROLES.items()}
    assert {finding.state for finding in judge_topics(once, 1)} == {State.OK}


@pytest.mark.parametrize(
    ("given", "state", "found"),
    [
        (GroupState("g", "DEAD", 0, "", frozenset({"READ"})), State.OK, "g: new, 0 members"),
        (
            GroupState("g", "STABLE", 2, "cooperative-sticky", None),
            State.OK,
            "g: stable, 2 members",
        ),
        (GroupState("g", "STABLE", 1, "range", None), State.FAILED, "1 member assigned by 'range'"),
        (GroupState("g", "EMPTY", 0, "", frozenset({"DESCRIBE"})), State.FAILED, "may not join"),
    ],
)
def test_groups(given: GroupState, state: State, found: str) -> None:
    says(judge_group(given), state, found, "")


@pytest.mark.parametrize(
    ("start_from", "checkpoints", "state", "found"),
    [
        ("earliest", {0: None, 1: None}, State.OK, "start at the earliest; 20 records"),
        ("latest", {0: None, 1: None}, State.OK, "start at the latest; 0 records"),
        (
            "latest",
            {0: None, 1: 15},
            State.OK,
            "1 of 2 partitions have no checkpoint and start at the earliest; 15 records",
        ),
        ("error", {0: 10, 1: 20}, State.OK, "0 of 2 partitions have no checkpoint; 10 records"),
        ("error", {0: None, 1: 20}, State.FAILED, "partitions 0 have no checkpoint"),
        ("earliest", {0: 4, 1: 20}, State.FAILED, "deleted 6 unread records of partitions 0"),
        ("earliest", {0: 10, 1: 21}, State.FAILED, "partitions 1 are beyond the end"),
    ],
)
def test_check_says_where_partitions_start(
    start_from: str,
    checkpoints: dict[int, int | None],
    state: State,
    found: str,
    folder: Path,
) -> None:
    edit(folder / "worker.yaml", _set(start_from, "kafka", "start_from"))
    _, settings = read(folder)
    metadata = {p: Committed(offset, OffsetMetadata()) for p, offset in checkpoints.items()}
    (finding,) = judge_start(settings, INPUT_TOPIC, metadata, {0: 10, 1: 10}, {0: 20, 1: 20})
    says(finding, state, found, "")


@pytest.mark.parametrize(
    ("accepted", "state", "found"),
    [
        (None, State.FAILED, "the group's checkpoints are of topic id id-0, in has id id-1"),
        ("id-0", State.FAILED, "kafka.accept_topic is id-0"),
        (
            "id-1",
            State.OK,
            "1 of 2 partitions have no checkpoint and start at the earliest; 15 rec",
        ),
    ],
)
@pytest.mark.parametrize("start_from", ["earliest", "latest", "error"])
def test_checkpoints_of_another_topic_are_found(
    start_from: str, accepted: str | None, state: State, found: str, folder: Path
) -> None:
    edit(folder / "worker.yaml", _set(start_from, "kafka", "start_from"))
    if accepted:
        edit(folder / "worker.yaml", _set(accepted, "kafka", "accept_topic"))
    _, settings = read(folder)
    checkpoints = {
        0: Committed(90, OffsetMetadata("id-0")),
        1: Committed(15, OffsetMetadata("id-1")),
    }
    (finding,) = judge_start(settings, INPUT_TOPIC, checkpoints, {0: 10, 1: 10}, {0: 20, 1: 20})
    says(finding, state, found, "")


def test_check_fences_no_worker(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    class Taker:
        def init_transactions(self, timeout: float) -> None:
            assert timeout > 0

    def make_producer(*_: object, **options: str) -> Taker:
        taken.append(options["transactional.id"])
        return Taker()

    monkeypatch.setattr(group, "make_producer", make_producer)
    for change in (_keep_all, _set("worker-1", "replica")):
        edit(folder / "worker.yaml", change)
        _, settings = read(folder)
        (finding,) = group.check_transactions(settings)
        says(finding, State.OK, f"begin with {settings.kafka.group}/", "")
    # A worker's id ends with its number.
    ends = [f"{number}/check" for number in range(PRODUCERS)]
    assert [name.split("/", 2)[2] for name in taken] == ends * 2
    assert taken[-1].split("/")[1] == "worker-1"


@pytest.mark.parametrize("change", [_set("r", "replica"), _keep_all])
def test_the_files_are_read_without_a_lock(
    change: Change, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "not-there"))
    edit(folder / "worker.yaml", change)
    assert all_passed(read_files(folder).findings)


WEEK, DAY = str(7 * 86_400_000), str(86_400_000)


@pytest.mark.parametrize(
    ("start_from", "minutes", "topic", "state", "found"),
    [
        (
            "earliest",
            "10080",
            {"retention.ms": WEEK},
            State.OK,
            "7 days after the group was left; records are kept 7 days",
        ),
        ("latest", "10080", {"retention.ms": DAY}, State.OK, "records are kept 24 h"),
        ("earliest", "1440", {"retention.ms": WEEK}, State.WARNING, "still there are scored again"),
        ("latest", "1440", {"retention.ms": WEEK}, State.WARNING, "not scored yet are skipped"),
        ("earliest", "10080", {"retention.ms": "-1"}, State.WARNING, "records are kept for ever"),
        (
            "earliest",
            "10080",
            {"retention.ms": DAY, "cleanup.policy": "compact"},
            State.WARNING,
            "records are kept for ever",
        ),
        (
            "earliest",
            "10080",
            {"retention.ms": DAY, "cleanup.policy": "compact,delete"},
            State.OK,
            "records are kept 24 h",
        ),
        ("earliest", str(2**31 - 1), {"retention.ms": "-1"}, State.OK, "do not expire"),
        ("error", "1", {"retention.ms": "-1"}, State.OK, "does not start"),
        ("earliest", None, {"retention.ms": WEEK}, State.SKIPPED, "offsets.retention.minutes"),
        ("earliest", "?", {"retention.ms": WEEK}, State.SKIPPED, "offsets.retention.minutes"),
        ("earliest", "10080", {}, State.SKIPPED, "the input topic's retention"),
    ],
)
def test_offsets_that_expire_before_the_records_do(
    start_from: str,
    minutes: str | None,
    topic: dict[str, str],
    state: State,
    found: str,
    folder: Path,
) -> None:
    edit(folder / "worker.yaml", _set(start_from, "kafka", "start_from"))
    _, settings = read(folder)
    brokers = {} if minutes is None else {"offsets.retention.minutes": minutes}
    finding = group.judge_expiry(settings, brokers, topic)
    says(finding, state, found, "")
    assert ("raise the brokers' offsets.retention.minutes" in finding.remedy) is (
        state is State.WARNING
    )


@pytest.mark.parametrize(
    ("largest", "option", "found"),
    [
        ("1048588", None, None),
        ("99999488", None, None),
        ("99999489", None, "up to 99,999,489 bytes"),
        ("2147483647", None, "receive.message.max.bytes is 100,000,000"),
        ("1048588", 1_000_000, "receive.message.max.bytes is 1,000,000"),
        ("500000000", "600000000", None),
        ("unlimited", None, None),
    ],
)
def test_records_that_the_consumer_cannot_receive(
    largest: str, option: object, found: str | None, folder: Path
) -> None:
    if option is not None:
        change = _set(option, "kafka", "consumer", "receive.message.max.bytes")
        edit(folder / "worker.yaml", change)
    _, settings = read(folder)
    findings = [*judge_size(settings.kafka, other(TOPIC, {"max.message.bytes": largest}))]
    assert len(findings) == (found is not None)
    for finding in findings:
        says(finding, State.WARNING, found or "", "raise receive.message.max.bytes")


def test_a_number_that_is_none_is_not_read() -> None:
    odd = other(TOPIC, dict.fromkeys(("max.message.bytes", "retention.ms"), "unlimited"))
    findings = judge_topics({**ROLES, INPUT: odd}, 3)
    assert {finding.state for finding in findings} == {State.OK}


STORE = StoreInfo("valkey", "9.1", "noeviction", 2**20, 0, append_only=True)


@pytest.mark.parametrize(
    ("info", "check", "state", "found"),
    [
        (STORE, "online store", State.OK, "valkey 9.1, 1 MiB in use"),
        (replace(STORE, eviction_policy="allkeys-lru"), "store eviction", State.FAILED, "evicted"),
        (replace(STORE, append_only=False), "store durability", State.WARNING, "append-only"),
        (replace(STORE, maximum_memory=2**20 + 9), "online store", State.WARNING, "100% of"),
    ],
)
def test_stores(info: StoreInfo, check: str, state: State, found: str) -> None:
    says(found_by(judge_store(info), check), state, found, "")


@pytest.mark.parametrize(
    ("seen", "state", "found"),
    [
        (
            [(b"c1", "c1", 0), (b"c2", "c2", 1)],
            State.OK,
            "the key of all 2 records is the text of id",
        ),
        ([(b"c1", "c1", 0), (b"c1", "c1", 1)], State.WARNING, "1 of 1 values of id are in more"),
        ([(None, "c1", 0), (b"c2", "c2", 1)], State.WARNING, "1 of 2 records have no key"),
        ([(b"x", "c1", 0), (b"c2", "c2", 1)], State.WARNING, "the key of 1 of 2 records is not"),
    ],
)
def test_record_keys(seen: list[tuple[bytes | None, str, int]], state: State, found: str) -> None:
    says(judge_keys("id", seen), state, found, "" if state is State.OK else "let producers use")
    assert "c1" not in judge_keys("id", seen).found, "no key is ever shown"


def test_records_that_would_be_dead_letters() -> None:
    error = RecordError(ErrorCode.EVENT_ID_MISSING, "the event id (id) is null or empty")
    assert judge_errors(9, {}).state is State.OK
    says(
        judge_errors(9, {3: error}),
        State.WARNING,
        "1 of the last 9 would be",
        "check these records",
    )
    says(judge_errors(2, {0: error, 1: error}), State.FAILED, "event_id_missing 2", "features.yaml")
    of_json = judge_errors(2, {0: error, 1: error}, json=2)
    says(of_json, State.FAILED, "2 of them look like JSON", "let producers write Avro")


def test_lookups_that_find_nothing() -> None:
    says(judge_lookup("p", 10, {"lookup_missing:p": 4}), State.OK, "6 of the last 10", "")
    flags = {"lookup_missing:p": 7, "lookup_stale:p": 3, "lookup_missing:q": 0}
    finding = judge_lookup("p", 10, flags)
    says(finding, State.WARNING, "(7 missing, 3 stale)", "fraud-worker features load p")


@pytest.mark.parametrize(
    ("error", "found", "remedy"),
    [
        (ConfigurationError("a: is wrong; mend it"), "a: is wrong", "mend it"),
        (
            ConfigurationError("a: is wrong; found 'x'"),
            "a: is wrong; found 'x'",
            "correct the named setting",
        ),
        (ConfigurationError("a (b; c)"), "a (b; c)", "correct the named setting"),
        (DependencyUnavailableError("the store is away"), "the store is away", "it is up"),
        (KafkaException(KafkaError(KafkaError._TRANSPORT)), "Host resolution", "brokers are up"),
        (ZeroDivisionError("oh"), "ZeroDivisionError: oh", "report this"),
    ],
)
def test_whatever_a_check_raises_is_a_finding(error: Exception, found: str, remedy: str) -> None:
    def look() -> list[Finding]:
        raise error

    (finding,) = run_check("x", look)
    assert finding.state is State.FAILED
    assert finding.check == "x"
    assert remedy in finding.remedy
    assert found in finding.found or isinstance(error, KafkaException)


def test_a_refusal_of_several_lines_is_several_findings() -> None:
    findings = refused("x", ConfigurationError("a; b\nc; d"))
    assert [(finding.found, finding.remedy) for finding in findings] == [("a", "b"), ("c", "d")]


def test_all_checks_run_when_one_raises(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(schemas, "check_writers", broken)
    findings = [*examine(folder)]
    says(found_by(findings, "writer schemas"), State.FAILED, "unforeseen", "report")
    says(found_by(findings, "online store"), State.FAILED, "cannot be reached", "see that it is up")
    brokers = found_by(findings, "brokers")
    says(brokers, State.FAILED, "Connection refused", "kafka.bootstrap_servers")
    assert "0.3 s" in brokers.found
    for name in ("input topic", "consumer group", "transactions", "lookup customer_profile"):
        says(found_by(findings, name), State.SKIPPED, "no broker answers", "")


def test_check_finds_options_that_librdkafka_refuses(folder: Path) -> None:
    edit(folder / "worker.yaml", _set("x", "kafka", "options", "no.such.option"))
    says(
        found_by([*examine(folder)], "brokers"), State.FAILED, "no.such.option", "CONFIGURATION.md"
    )


def test_check_finds_a_password_file_that_is_not_there(folder: Path) -> None:
    access = {"security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN"}
    edit(folder / "worker.yaml", _set({**access, "sasl.username": "me"}, "kafka", "options"))
    edit(folder / "worker.yaml", _set("not-there", "kafka", "password_file"))
    findings = [*examine(folder)]
    says(found_by(findings, "brokers"), State.FAILED, "kafka.password_file: ", "mount the secret")
    says(found_by(findings, "transactions"), State.SKIPPED, "no Kafka client", "")


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(check)
    result = CliRunner().invoke(app, ["--pipeline", str(folder), *arguments])
    return result.exit_code, result.stdout


def test_the_command_prints_plain_lines_or_json_and_its_exit_code_tells(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, printed = run(folder)
    assert code == 2
    assert printed.splitlines()[-1].endswith("skipped")
    assert "\nfailed   brokers" in printed
    code, printed = run(folder, "--json")
    assert code == 2
    said = json.loads(printed)
    assert said["ok"] is False
    assert {"check", "state", "found", "remedy"} == set(said["findings"][0])
    assert "failed" in {finding["state"] for finding in said["findings"]}

    good = [ok("a", "fine"), warning("b", "so so", "do this")]
    monkeypatch.setattr(examine_module, "examine", lambda _: iter(good))
    assert run(folder) == (
        0,
        "ok       a  fine\nwarning  b  so so\n            -> do this\n1 ok, 1 warning\n",
    )
    assert json.loads(run(folder, "--json")[1])["ok"] is True


def test_check_fails_for_failures_and_not_for_warnings() -> None:
    assert all_passed([ok("a", ""), warning("b", "", "")])
    assert not all_passed([ok("a", ""), failed("b", "", "")])
    assert lines([failed("a", "x", "y")])[-1] == "1 failed"


def test_check_of_an_absent_folder_says_one_thing(tmp_path: Path) -> None:
    (finding,) = examine(tmp_path / "nosuch")
    says(finding, State.FAILED, f"{tmp_path / 'nosuch'}: there is no such folder", "--pipeline")


def test_checks_skipped_for_one_reason_are_one_line(folder: Path) -> None:
    _, printed = run(folder)
    rows = [line for line in printed.splitlines() if line.startswith("skipped")]
    assert len(rows) == 2
    (away,) = (row for row in rows if "no broker answers" in row)
    assert "input topic, output topic, dead-letter topic, consumer group" in away
    assert printed.splitlines()[-1].endswith("11 skipped")
    assert len(json.loads(run(folder, "--json")[1])["findings"]) > 20


def test_the_start_says_all_that_fails_as_check_does(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(folder / "features.yaml", _set("nosuch", "events", "id"))
    edit(folder / "policy.yaml", _set("", "version"))
    shutil.rmtree(folder / "model")
    monkeypatch.setattr("worker.process.logs.configure_logs", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["fraud-worker", "run", "--pipeline", str(folder)])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    for part in ("has no field 'nosuch'", "policy.yaml", f"no bundle at {folder / 'model'}"):
        assert part in said, part
    failures = [f for f in examine(folder) if f.state is State.FAILED]
    assert all(f.found in said for f in failures if f.check not in ("online store", "brokers"))


def test_the_start_says_what_of_the_settings_and_of_the_other_files_fails(folder: Path) -> None:
    edit(folder / "worker.yaml", _set("kafka://h", "kafka", "bootstrap_servers"))
    edit(folder / "features.yaml", _set("nosuch", "events", "id"))
    with pytest.raises(ConfigurationError) as refusal:
        start(folder)
    assert "write host:port alone" in str(refusal.value)
    assert "has no field 'nosuch'" in str(refusal.value)
