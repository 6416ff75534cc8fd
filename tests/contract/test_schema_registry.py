"""Confluent's own client behind our schema source, against a registry's answers over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import pytest

from schemas.errors import DependencyUnavailableError, ErrorCode, RecordError
from schemas.source import RegistrySchemaSource
from schemas.types import Type

GUID = UUID("89791762-2336-4186-9674-299b90a802e2")
EVENT = json.dumps({"type": "record", "name": "E", "fields": [{"name": "id", "type": "string"}]})
OUTER = json.dumps({"type": "record", "name": "O", "fields": [{"name": "e", "type": "E"}]})
REFERENCES = [{"name": "E", "subject": "events", "version": 3}]
ANSWERS: dict[str, tuple[int, Any]] = {
    "/base/path/schemas/ids/1": (200, {"schema": EVENT}),
    f"/base/path/schemas/guids/{GUID}": (200, {"schema": EVENT, "guid": str(GUID)}),
    "/base/path/schemas/ids/2": (200, {"schema": OUTER, "references": REFERENCES}),
    "/base/path/subjects/events/versions/3": (
        200,
        {"subject": "events", "version": 3, "id": 1, "schema": EVENT},
    ),
    "/base/path/schemas/ids/5": (500, {"error_code": 50001, "message": "store"}),
    "/base/path/schemas/ids/6": (200, "a page of a proxy"),
}
NOT_FOUND = (404, {"error_code": 40403, "message": "Schema not found"})


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, answer = ANSWERS.get(self.path.partition("?")[0], NOT_FOUND)
        body = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


@contextmanager
def served() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/base/path"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def source(address: str) -> RegistrySchemaSource:
    return RegistrySchemaSource(address, {"timeout": 2, "max.retries": 0})


def test_schemas_by_id_by_guid_and_with_references() -> None:
    with served() as address:
        registry = source(address)
        for schema_id in (1, GUID, 2):
            assert isinstance(registry.get(schema_id), Type)
        unknown = registry.get(3)
        assert isinstance(unknown, RecordError)
        assert unknown.code is ErrorCode.SCHEMA_UNKNOWN


@pytest.mark.parametrize("schema_id", [5, 6])
def test_answers_that_settle_nothing(schema_id: int) -> None:
    with served() as address, pytest.raises(DependencyUnavailableError, match=str(schema_id)):
        source(address).get(schema_id)


def test_a_registry_that_has_gone() -> None:
    with served() as address:
        registry = source(address)
        assert isinstance(registry.get(1), Type)
    assert isinstance(registry.get(1), Type)
    with pytest.raises(DependencyUnavailableError, match="schema 2"):
        registry.get(2)
