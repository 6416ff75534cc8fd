"""The worker, `check` and `features build` decode the same fields of the input topic's records."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import fastavro
import numpy as np
import pytest

from schemas.batch import Records
from tests.support.healthy import EVENT, edit, healthy_pipeline
from tools.checks.files import read_files
from tools.checks.finding import State
from tools.checks.sample import RECORDS, check_sample
from tools.checks.schemas import check_writers
from tools.topics.topic_events import TopicEvents
from tools.topics.topic_log import TopicLog
from worker.pipeline import load_pipeline
from worker.schema_sources import framed
from worker.stages.stages import Decode

pytestmark = pytest.mark.usefixtures("verified_here")

OLDER = 7


@pytest.fixture(params=["policy", "carry"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A pipeline whose policy, or output, reads a field that an older writer does not have."""
    folder = healthy_pipeline(tmp_path / "pipeline")
    older = json.loads((folder / "transaction.avsc").read_text())
    older["fields"] = [field for field in older["fields"] if field["name"] in EVENT]
    (folder / "writer-schemas").mkdir()
    (folder / "writer-schemas" / f"{OLDER}.avsc").write_text(json.dumps(older))
    newer = {**older, "fields": [*older["fields"], {"name": "risk", "type": "double"}]}
    (folder / "transaction.avsc").write_text(json.dumps(newer))
    if request.param == "carry":
        edit(folder / "worker.yaml", lambda values: values["output"].update(carry=["risk"]))
        return folder
    (folder / "policy.yaml").write_text(
        "version: risky\nsegments:\n  - {name: risky, where: risk > 1, bands: {decline: 0.5}}\n"
        "  - {name: default, bands: {decline: 0.9}}\n"
    )
    return folder


def records(folder: Path) -> Records:
    """One record of the older writer."""
    schema = json.loads((folder / "writer-schemas" / f"{OLDER}.avsc").read_text())
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), EVENT)
    zero = np.zeros(1, np.int64)
    value = framed(OLDER) + body.getvalue()
    return Records("transactions", [b"c1"], [value], zero.astype(np.int32), zero, zero)


class OneRecord:
    """A topic with one record, as `TopicLog` gives it."""

    def __init__(self, given: Records) -> None:
        self._given = given
        self.partitions = 1
        self.unfinished: set[int] = set()

    def __iter__(self) -> Iterator[Records]:
        yield self._given

    def pause(self, partitions: Any) -> None:
        """Nothing comes after."""


def test_records_that_the_worker_cannot_decode_are_found_by_check_and_in_no_table(
    folder: Path,
) -> None:
    pipeline, given = load_pipeline(folder), records(folder)
    batch, letters = Decode(pipeline.decoder(), pipeline.feature_set)(given)
    assert len(batch) == 0
    assert [letter.code.value for letter in letters] == ["schema_incompatible"]

    files = read_files(folder)
    assert files.settings is not None
    assert files.feature_set is not None
    parts = (files.settings, files.feature_set, files.rules)
    (writers,) = check_writers(*parts)
    assert writers.state is State.FAILED
    assert "7.avsc: the writer has no field risk" in writers.found
    sample = {f.check: f for f in check_sample(*parts, {}, given, None)}
    assert sample[RECORDS].state is State.FAILED
    assert "schema_incompatible" in sample[RECORDS].found

    log = cast("TopicLog", OneRecord(given))
    (events,) = TopicEvents(files.feature_set, files.settings, files.rules, log)
    assert len(events.batch) == 0
    assert [refusal.code for refusal in events.refused] == ["schema_incompatible"]


def test_without_a_policy_that_holds_check_looks_at_all_other_fields(folder: Path) -> None:
    (folder / "policy.yaml").write_text("version: 1\n")
    files = read_files(folder)
    assert files.settings is not None
    assert files.feature_set is not None
    assert files.rules is None
    (writers,) = check_writers(files.settings, files.feature_set, None)
    carried = "risk" in files.settings.output.carry
    assert writers.state is (State.FAILED if carried else State.OK)
