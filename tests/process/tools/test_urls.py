"""Commands read and write at URLs what they read and write as local files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from base.errors import (
    ConfigurationError,
    DependencyUnavailableError,
    ObjectChangedError,
    StoreRefusedError,
)
from base.file_path import ObjectPath, file_path, put_into_place
from base.object_store import Objects
from features.values.column_values import text
from models.bundle import load_bundle
from schemas.batch import Kind
from schemas.files.read import count_rows, read_events
from tests.support.event_files import lines, row
from tests.support.healthy import healthy_pipeline
from tests.support.object_servers import S3, Mlflow, require_tool
from tests.support.training_table import simulated, write_table
from tests.support.transactions import SET, transactions, write
from tools.cli.commands import app

pytestmark = pytest.mark.usefixtures("verified_here")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def told(*arguments: object) -> Any:
    result = run(*arguments)
    assert result.exit_code == 0, (result.exception, result.output)
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with S3(tmp_path_factory.mktemp("s3")) as started:
        started.make_bucket()
        yield started


@pytest.fixture
def url(server: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty prefix of a bucket."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://models/{tmp_path.name}"


def keys(url: str) -> set[str]:
    return set(Objects(url).sizes("", 100))


def test_a_table_of_events_at_a_url_is_that_of_the_file(url: str, tmp_path: Path) -> None:
    events = write(tmp_path / "events.parquet", transactions(300, 5, days=20, lateness_s=1))
    Objects(url).upload(f"in/{events.name}", events)
    local, remote = tmp_path / "table.parquet", f"{url}/out/table.parquet"
    told("features", "build", "--set", SET, "--events", events, "--out", local)
    given = ("--events", f"{url}/in/{events.name}", "--out", remote)
    assert told("features", "build", "--set", SET, *given)["out"] == remote
    with ObjectPath(remote).open("rb") as file:
        assert pq.read_table(file).equals(pq.read_table(local))
    error = run("features", "build", "--set", SET, *given).exception
    assert f"--out: {remote} is there already" in str(error)


@pytest.mark.parametrize("suffix", [".avro", ".jsonl", ".parquet"])
def test_each_format_is_read_at_a_url(url: str, tmp_path: Path, suffix: str) -> None:
    rows = [{"id": f"t-{number}", "amount": number / 4} for number in range(5_000)]
    path = tmp_path / f"events{suffix}"
    if suffix == ".avro":
        fields = [{"name": "id", "type": "string"}, {"name": "amount", "type": "double"}]
        schema = fastavro.parse_schema({"type": "record", "name": "E", "fields": fields})
        with path.open("wb") as file:
            fastavro.writer(file, schema, rows)
    elif suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(one)}\n" for one in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    Objects(url).upload(path.name, path)
    remote = ObjectPath(f"{url}/{path.name}")
    assert count_rows(remote) == 5_000
    wanted = {"id": (Kind.STRING, 0, False), "amount": (Kind.DOUBLE, 0, False)}
    read = [
        (text(chunk.columns["id"], "id").to_pylist(), chunk.columns["amount"].values.tolist())
        for place in (path, remote)
        for chunk in read_events(place, wanted, {}, 10_000)
    ]
    assert len(read) == 2
    assert read[0][0] == read[1][0] == [one["id"] for one in rows]
    assert read[0][1] == read[1][1] == [one["amount"] for one in rows]


def test_labels_at_a_url_are_those_of_the_file(url: str, tmp_path: Path) -> None:
    events = write(tmp_path / "events.parquet", transactions(200, 5, days=20, lateness_s=1))
    Objects(url).upload("labels.parquet", events)
    out = f"{url}/table.parquet"
    given = ("--events", events, "--labels", f"{url}/labels.parquet", "--out", out)
    assert told("features", "build", "--set", SET, *given)["labelled"] == 200


def test_a_table_that_fails_leaves_nothing_at_its_url(url: str, tmp_path: Path) -> None:
    events = write(tmp_path / "events.parquet", transactions(200, 5, days=20, lateness_s=1))
    out = f"{url}/table.parquet"
    given = ("--events", events, events, "--out", out)  # the second time out of order
    error = run("features", "build", "--set", SET, *given).exception
    assert isinstance(error, ConfigurationError)
    assert keys(url) == set()


def test_an_upload_that_is_interrupted_leaves_nothing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several parts of an upload have arrived when its source fails: no object appears."""
    source = tmp_path / "large"
    source.write_bytes(bytes(40 * 1024 * 1024))
    monkeypatch.setattr(Objects, "upload", _fails_after_two_parts)
    with pytest.raises(OSError, match="disk is gone"):
        put_into_place(source, ObjectPath(f"{url}/large.parquet"))
    assert keys(url) == set()


def test_a_file_that_cannot_be_uploaded_is_kept(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "complete"
    source.write_bytes(b"hours of work")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    absent = url.replace("s3://models", "s3://no-such-bucket")
    with pytest.raises(StoreRefusedError, match="there is no bucket") as caught:
        put_into_place(source, ObjectPath(f"{absent}/table.parquet"))
    kept = Path(str(caught.value).rpartition(" ")[2])
    assert kept.name == "table.parquet"
    assert kept.read_bytes() == b"hours of work"


def _fails_after_two_parts(self: Objects, key: str, path: Path) -> None:
    def parts() -> Iterator[bytes]:
        with path.open("rb") as file:
            for _ in range(2):
                yield file.read(12 * 1024 * 1024)
        raise OSError("the disk is gone")

    self._store.put(self._key(key), parts(), use_multipart=True)


def test_an_object_that_changes_while_it_is_read_is_no_mixture(url: str, tmp_path: Path) -> None:
    objects = Objects(url)
    for content in (b"a", b"b"):
        (tmp_path / content.decode()).write_bytes(content * 12_000_000)
    objects.upload("file", tmp_path / "a")
    with ObjectPath(f"{url}/file").open("rb") as file:
        assert file.read(3) == b"aaa"
        objects.upload("file", tmp_path / "b")
        with pytest.raises(ObjectChangedError, match="was changed by another process"):
            file.read()


class _OfTheWeb(BaseHTTPRequestHandler):
    """Serves ranges of a file, with a weak ETag or none, and ignores conditions."""

    content = b""
    e_tag = ""

    def do_GET(self) -> None:
        begin, end = 0, len(self.content)
        if given := self.headers["Range"]:
            begin, last = map(int, given.removeprefix("bytes=").split("-"))
            end = last + 1
        self.send_response(206 if given else 200)
        self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(self.content)}")
        self.send_header("Content-Length", str(end - begin))
        self.send_header("Last-Modified", formatdate(len(self.content), usegmt=True))
        if self.e_tag:
            self.send_header("ETag", self.e_tag)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(self.content[begin:end])

    do_HEAD = do_GET  # noqa: N815  the base class calls it

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("e_tag", ["", 'W/"1"'])
def test_a_web_server_without_a_strong_etag_gives_no_mixture(e_tag: str) -> None:
    class Handler(_OfTheWeb):
        content = bytes(range(256)) * 40_000

    Handler.e_tag = e_tag
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        path = ObjectPath(f"http://127.0.0.1:{server.server_port}/in/file")
        with path.open("rb") as file:
            assert file.read() == Handler.content
            file.seek(0)
            Handler.content = bytes(11_000_000)
            with pytest.raises(
                ObjectChangedError, match="/in/file: was changed by another process"
            ):
                file.read()
        server.shutdown()


def test_a_reader_reads_like_a_file(url: str, tmp_path: Path) -> None:
    content = bytes(range(256)) * 50_000
    (tmp_path / "file").write_bytes(content)
    Objects(url).upload("file", tmp_path / "file")
    with ObjectPath(f"{url}/file").open("rb") as file:
        assert file.seek(-5, 2) == len(content) - 5
        assert file.read() == content[-5:]
        assert file.read(1) == b""
        file.seek(1_000_000)
        assert file.read(9_000_000) == content[1_000_000:10_000_000]
        assert file.tell() == 10_000_000


def test_events_at_a_url_are_scored(url: str, tmp_path: Path) -> None:
    pipeline = healthy_pipeline(tmp_path / "pipeline")
    events = lines(tmp_path / "events.jsonl", [row(0), row(1)])
    Objects(url).upload("events.jsonl", events)
    local = run("score", "--events", events, "--pipeline", pipeline)
    remote = run("score", "--events", f"{url}/events.jsonl", "--pipeline", pipeline)
    assert remote.exit_code == 0, remote.exception
    assert scores(remote) == scores(local)
    absent = run("score", "--events", f"{url}/none.jsonl", "--pipeline", pipeline).exception
    assert str(absent) == f"event file {url}/none.jsonl does not exist or is not a file"
    folder = run("score", "--events", url, "--pipeline", pipeline).exception
    assert "is a folder" in str(folder)


def scores(result: Result) -> list[Any]:
    made = [json.loads(line) for line in result.stdout.splitlines()]
    return [{**score, "scored_at": None} for score in made]


def test_a_model_is_trained_promoted_and_rolled_back_at_a_url(url: str, tmp_path: Path) -> None:
    table = write_table(tmp_path / "table.parquet", simulated(days=30))
    Objects(url).upload("table.parquet", table)
    location = f"{url}/models"
    days = ("--from", "2018-07-20", "--until", "2018-07-25", "--folds", 1, "--tries", 1)
    train = ("train", "--features", f"{url}/table.parquet", *days, "--out")
    for version in ("v1", "v2"):
        summary = told(*train, f"{location}/{version}", "--version", version)
        assert summary["out"] == f"{location}/{version}"
        assert summary["policy"] == f"{location}/{version}.policy.yaml"
    assert "v1.policy.yaml" in keys(location)
    again = run(*train, f"{location}/v2").exception
    assert f"--out: {location}/v2 exists already" in str(again)
    assert told("model", "promote", location, "v1", "--json")["before"] is None
    assert told("model", "promote", location, "v2", "--json")["before"] == "v1"
    shown = told("model", "show", location, "--json")
    assert (shown["champion"], shown["previous"]) == ("v2", ["v1"])
    assert [bundle["version"] for bundle in shown["bundles"]] == ["v1", "v2"]
    assert run("model", "verify", location).exit_code == 0
    assert told("model", "rollback", location, "--json")["champion"] == "v1"


@pytest.mark.parametrize(
    ("out", "log", "said"),
    [
        ("s3://models", None, "--out: s3://models is a whole bucket; name a bundle in it"),
        ("s3://models/v 8", None, "--out: 'v 8' is not the name of a bundle"),
        ("mlflow:small", None, "--out: mlflow:small is a registered model; name a folder or"),
        ("s3://models/v8", "mlflow", "--log mlflow: no usable answer"),
    ],
)
def test_a_place_that_cannot_take_a_bundle_is_refused_before_the_training(
    url: str, monkeypatch: pytest.MonkeyPatch, out: str, log: str | None, said: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    given = ("train", "--features", f"{url}/none.parquet", "--out", out)
    assert said in str(run(*given, *(("--log", log) if log else ())).exception)


def test_a_bundle_that_cannot_be_uploaded_is_kept(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: Objects, key: str, path: Path) -> None:
        raise DependencyUnavailableError(f"{self.at(key)}: no usable answer")

    pipeline = healthy_pipeline(tmp_path / "pipeline")
    given = ("--model", pipeline / "model" / "model.ubj", "--name", "m", "--version", "1")
    monkeypatch.setattr(Objects, "upload", away)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    error = run("model", "pack", *given, "--out", f"{url}/m1").exception
    assert isinstance(error, DependencyUnavailableError)
    (kept,) = tmp_path.glob("fraud-worker-bundle-*/m1")
    assert f"the bundle is kept in {kept}: upload its files" in str(error)
    assert load_bundle(kept).name == "m"


def test_a_url_without_bundles_is_neither_valid_nor_empty(url: str, tmp_path: Path) -> None:
    pipeline = healthy_pipeline(tmp_path / "pipeline")
    given = ("--model", pipeline / "model" / "model.ubj", "--name", "m", "--version", "1")
    told("model", "pack", *given, "--out", f"{url}/models/m1", "--json")
    assert run("model", "verify", f"{url}/models").exit_code == 0
    for command, place in [("verify", "models/m1"), ("verify", "modles"), ("show", "modles")]:
        error = run("model", command, f"{url}/{place}").exception
        assert f"{url}/{place}: has no bundles and no CHAMPION; name the URL" in str(error)


def test_a_model_is_packed_to_a_url(url: str, tmp_path: Path) -> None:
    pipeline = healthy_pipeline(tmp_path / "pipeline")
    given = ("--model", pipeline / "model" / "model.ubj", "--name", "m", "--version", "1")
    packed = told("model", "pack", *given, "--out", f"{url}/m1", "--json")
    assert packed["bundle"] == f"{url}/m1"
    assert told("model", "promote", url, "m1", "--json")["champion"] == "m1"


def test_a_training_is_logged_and_served_from_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_tool(Mlflow.program)
    table = write_table(tmp_path / "table.parquet", simulated(days=30))
    days = ("--from", "2018-07-20", "--until", "2018-07-25", "--folds", 2, "--tries", 1)
    given = ("train", "--features", table, "--out", tmp_path / "v1", *days, "--log", "mlflow")
    with Mlflow(tmp_path / "mlflow") as server:
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        assert "MLFLOW_TRACKING_URI is not set" in str(run(*given).exception)
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        summary = told(*given)
        assert summary["logged"] == "mlflow:small/1"
        from mlflow import MlflowClient  # noqa: PLC0415  reads its environment

        client = MlflowClient()
        run_id = str(client.get_model_version("small", "1").run_id)
        logged = client.get_run(run_id).data
        assert logged.params["rounds"] == str(summary["rounds"])
        assert logged.params["rows"] == str(summary["rows"])
        assert logged.metrics["average_precision"] == pytest.approx(
            summary["average_precision"], abs=1e-4
        )
        assert len(client.get_metric_history(run_id, "fold_average_precision")) == 2
        names = {artifact.path for artifact in client.list_artifacts(run_id)}
        assert names == {"bundle", "report.html", "v1.policy.yaml"}
        assert told("model", "promote", "mlflow:small", "1", "--json")["champion"] == "1"
        monkeypatch.setenv("FRAUD_WORKER_CACHE", str(tmp_path / "cache"))
        assert run("model", "verify", "mlflow:small").exit_code == 0
        (copy,) = (tmp_path / "cache" / "bundles").glob("*/manifest.json")
        assert load_bundle(copy.parent).sums == load_bundle(tmp_path / "v1").sums


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ftp://host/file", "is not the URL of an object; write it as s3://BUCKET/KEY"),
        ("s3://", "is not the URL of an object"),
        ("s3://user:secret@bucket/x", "has a user, a query or a fragment; credentials come from"),
        ("http://example.com/x.parquet", "which is not encrypted; use https://"),
        ("http://[::1/x.parquet", "is not a URL"),
        ("s3://bucket/../x", r"has an empty part, \. or \.\., or a control character in its path"),
        ("s3://bucket/a//x", "has an empty part"),
        ("s3://bucket//x", "has an empty part"),
        ("s3://bucket/./x", "has an empty part"),
        ("s3://bucket/x\n", "or a control character"),
    ],
)
def test_a_wrong_url_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        file_path(text)
    assert "secret" not in str(caught.value)


def test_a_table_is_not_written_to_a_web_server(tmp_path: Path) -> None:
    given = ("--events", tmp_path / "x.jsonl", "--out", "https://example.com/table.parquet")
    error = run("features", "build", "--set", SET, *given).exception
    assert "--out: https://example.com/table.parquet is read only; write to" in str(error)
