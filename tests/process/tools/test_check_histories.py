"""What ``check`` says of windows and histories."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from base.errors import ConfigurationError
from features.definition import load_feature_set
from features.store.memory import MemoryStore
from tests.support.healthy import edit, healthy_pipeline
from tests.support.windowed import NUMBER, RISK, TOTAL, windowed_pipeline
from tools.checks import histories
from tools.checks.examine import examine
from tools.checks.files import read_files
from tools.checks.finding import Finding, State
from tools.checks.histories import (
    COVERAGE,
    REBUILD,
    STATE,
    WINDOWS,
    check_coverage,
    check_state,
    judge_windows,
)
from worker.consume.offset_metadata import OffsetMetadata
from worker.consume.start_offsets import Committed
from worker.consume.topics import InputTopic
from worker.histories.location import state_request
from worker.histories.record import note_labelled
from worker.histories.state import claim
from worker.settings import WorkerSettings, load_settings

_DAY_MS = 86_400_000
TOPIC = InputTopic("in", "id-1", 1, 30 * _DAY_MS)
COUNT: dict[str, Any] = {"name": "NB_7D", "window": "count", "by": "customer", "over": "7d"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return windowed_pipeline(tmp_path_factory.mktemp("windowed") / "pipeline", RISK)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """An empty store, which the check opens."""
    made = MemoryStore()
    monkeypatch.setattr(histories, "open_store", lambda _: made)
    return made


@pytest.fixture
def begun(folder: Path, store: MemoryStore) -> WorkerSettings:
    """Settings of a pipeline whose histories are in the store, labels loaded."""
    settings, before = load_settings(folder), load_feature_set(folder / "features.yaml")
    claim(store, "payments", "payments", state_request(settings, before, TOPIC))
    note_labelled(store, "payments", "payments", ["card"])
    return settings


def test_a_window_over_several_partitions_needs_a_delay(tmp_path: Path) -> None:
    live = {"name": "NB_LIVE", "window": "count", "by": "card", "over": "7d"}
    folder = windowed_pipeline(tmp_path / "pipeline", live)
    settings, feature_set = load_settings(folder), load_feature_set(folder / "features.yaml")
    state_request(settings, feature_set, TOPIC)
    with pytest.raises(ConfigurationError, match=r"NB_LIVE: in has 2 partitions, .* add a delay"):
        state_request(settings, feature_set, replace(TOPIC, partitions=2))


def judged(folder: Path, topic: InputTopic) -> dict[str, Finding]:
    feature_set = load_feature_set(folder / "features.yaml")
    return {finding.check: finding for finding in judge_windows(feature_set, topic)}


def test_windows_over_one_partition_and_over_several_hold(folder: Path) -> None:
    found = judged(folder, TOPIC)
    assert [finding.state for finding in found.values()] == [State.OK, State.OK]
    assert found[WINDOWS].found == "3 windows over 1 partition"
    several = judged(folder, replace(TOPIC, partitions=6))
    assert several[WINDOWS].found == "3 windows over 6 partitions"
    assert found[REBUILD].found == "up to 14 days, within the topic's 30 days"


def test_windows_that_look_further_back_than_the_topic_keeps_are_listed(folder: Path) -> None:
    finding = judged(folder, replace(TOPIC, retention_ms=14 * _DAY_MS - 1))[REBUILD]
    assert finding.state is State.WARNING
    assert "CARD_RISK_7D (14 days)" in finding.found
    assert NUMBER not in finding.found
    assert "retention.ms" in finding.remedy
    all_of_them = judged(folder, replace(TOPIC, retention_ms=60_000))[REBUILD].found
    assert f"{NUMBER} (1 h), {TOTAL} (1 h), CARD_RISK_7D (14 days)" in all_of_them
    assert judged(folder, replace(TOPIC, retention_ms=14 * _DAY_MS))[REBUILD].state is State.OK
    unlimited = replace(TOPIC, retention_ms=None)
    assert "for ever" in judged(folder, unlimited)[REBUILD].found
    feature_set = load_feature_set(folder / "features.yaml")
    unread = judge_windows(feature_set, unlimited, retention_known=False)[1]
    assert (unread.state, "cannot be read" in unread.found) == (State.SKIPPED, True)


def test_a_state_is_new_or_of_the_topic_and_nothing_is_written(
    folder: Path, store: MemoryStore
) -> None:
    settings, feature_set = load_settings(folder), load_feature_set(folder / "features.yaml")
    for _ in range(2):
        (finding,) = check_state(settings, feature_set, TOPIC)
        assert (finding.check, finding.state) == (STATE, State.OK)
        assert finding.found == (
            "payments: new; histories are kept for 45 days after their last event"
        )
    claim(store, "payments", "payments", state_request(settings, feature_set, TOPIC))
    note_labelled(store, "payments", "payments", ["card"])
    unlimited = replace(TOPIC, retention_ms=None)
    (finding,) = check_state(settings, feature_set, unlimited)
    assert finding.state is State.OK
    assert "histories are kept for ever, as the topic's events are" in finding.found
    (finding,) = check_state(settings, feature_set, unlimited, retention_known=False)
    assert finding.state is State.WARNING
    assert "payments: matches in" in finding.found
    assert finding.found.endswith("histories are kept for ever")
    assert "store.max_lag_s" in finding.remedy
    with pytest.raises(ConfigurationError, match="created again"):
        check_state(settings, feature_set, replace(TOPIC, topic_id="id-2"))


@pytest.mark.parametrize(
    "window",
    [{"name": "LAST", "window": "last", "of": "present", "by": "customer", "over": "1h"}, COUNT],
    ids=["another value", "a longer window"],
)
def test_histories_that_begin_anew_are_told_with_what_they_are_filled_from(
    begun: WorkerSettings, store: MemoryStore, tmp_path: Path, window: dict[str, object]
) -> None:
    changed = windowed_pipeline(tmp_path / "pipeline", RISK, window)
    feature_set = load_feature_set(changed / "features.yaml")
    _, anew = check_state(begun, feature_set, TOPIC)
    assert (anew.check, anew.state) == (STATE, State.OK)
    found = "histories of customer begin anew at the next start"
    assert anew.found == f"{found} and are filled from the topic"
    empty = begun.model_copy(update={"fill": begun.fill.model_copy(update={"wait": False})})
    _, anew = check_state(empty, feature_set, TOPIC)
    assert (anew.state, anew.found) == (State.WARNING, f"{found}, empty")
    assert "history_short" in anew.remedy
    claim(store, "payments", "payments", state_request(begun, feature_set, TOPIC))
    assert len(check_state(begun, feature_set, TOPIC)) == 1


def test_an_entity_that_has_become_labelled_is_warned_of_until_labels_are_loaded(
    folder: Path, tmp_path: Path, store: MemoryStore
) -> None:
    settings, after = load_settings(folder), load_feature_set(folder / "features.yaml")
    share = {**RISK, "window": "count"}
    unlabelled = windowed_pipeline(tmp_path / "pipeline", share)
    before = load_feature_set(unlabelled / "features.yaml")
    assert before.histories.layouts == after.histories.layouts
    claim(store, "payments", "payments", state_request(settings, before, TOPIC))
    assert len(check_state(settings, before, TOPIC)) == 1
    for _ in range(2):
        _, found = check_state(settings, after, TOPIC)
        assert (found.check, found.state) == (STATE, State.WARNING)
        assert found.found == "no labels were loaded for card, whose fraud_share windows are 0"
        assert "features load-labels" in found.remedy
        claim(store, "payments", "payments", state_request(settings, after, TOPIC))
    note_labelled(store, "payments", "payments", ["card"])
    assert len(check_state(settings, after, TOPIC)) == 1


def test_how_far_back_histories_reach_is_told_by_the_checkpoints(
    folder: Path, store: MemoryStore
) -> None:
    settings, feature_set = load_settings(folder), load_feature_set(folder / "features.yaml")

    def judge(*metadata: OffsetMetadata) -> Finding:
        checkpoints = {p: Committed(5, state) for p, state in enumerate(metadata)}
        (finding,) = check_coverage(settings, feature_set, checkpoints)
        assert finding.check == COVERAGE
        return finding

    assert judge().state is State.OK
    namespace = claim(store, "payments", "payments", state_request(settings, feature_set, TOPIC))
    customer, card = (
        namespace.history_digest(entity, layout)
        for entity, layout in feature_set.histories.layouts.items()
    )
    hour, day = 3_600_000_000, 24 * 3_600_000_000
    assert judge(OffsetMetadata("id-1")).found == "no events yet"
    filled = OffsetMetadata("id-1", (14 * day,), {customer: 13 * day, card: 0})
    assert judge(filled).state is State.OK
    assert judge(filled).found == "customer 100 % of 1 h, card 100 % of 14 days"
    short = judge(
        filled, OffsetMetadata("id-1", (14 * day,), {customer: 14 * day - hour // 2, card: day})
    )
    assert short.state is State.WARNING
    assert short.found.startswith("customer 50 % of 1 h, card 92 % of 14 days: such events")
    assert "fraud_worker_history_coverage_ratio" in short.remedy
    # Those of another state, or before they were emptied, are of no account.
    lost = judge(OffsetMetadata("id-1", (14 * day,), {"of another key": 0}))
    assert lost.found.startswith("customer 0 % of 1 h, card 0 % of 14 days")


def test_the_state_has_the_name_that_the_settings_give_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, store: MemoryStore
) -> None:
    monkeypatch.setenv("FRAUD_WORKER_STORE__STATE", "second")
    monkeypatch.setenv("FRAUD_WORKER_STORE__MAX_LAG_S", "86400")
    settings, feature_set = load_settings(folder), load_feature_set(folder / "features.yaml")
    (finding,) = check_state(settings, feature_set, TOPIC)
    assert finding.found == "second: new; histories are kept for 16 days after their last event"


def test_windows_without_a_store_fail(folder: Path, tmp_path: Path) -> None:
    broken = windowed_pipeline(tmp_path / "pipeline")
    edit(broken / "worker.yaml", lambda values: values.pop("store"))
    finding = next(f for f in read_files(broken).findings if f.state is State.FAILED)
    assert f"store is missing, and {NUMBER}, {TOTAL} need it" in finding.found
    assert finding.remedy == "add store.url"
    assert all(f.state is State.OK for f in read_files(folder).findings)


def test_without_brokers_histories_are_skipped_and_without_windows_not_spoken_of(
    tmp_path: Path,
) -> None:
    plain = healthy_pipeline(tmp_path / "pipeline")
    spoken = {finding.check for finding in examine(plain)}
    assert not spoken & {WINDOWS, REBUILD, STATE, COVERAGE}
    edit(plain / "features.yaml", lambda values: values["features"].append(COUNT))
    found = {finding.check: finding for finding in examine(plain)}
    for check in (WINDOWS, REBUILD, STATE, COVERAGE):
        assert found[check].state is State.SKIPPED
        assert found[check].found == "no broker answers"
