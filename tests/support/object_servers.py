"""Locations of bundles on servers: object stores and MLflow as child processes."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import pytest

from tools.embedded.process import LOOPBACK, Server, accepts_connections

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools"
KINDS = ("folder", "s3", "gcs", "azure", "mlflow")
BUCKET = "fraud-models"
KEY, SECRET = "test-key", "test-secret"


@dataclass(frozen=True, slots=True)
class Place:
    """An empty location.

    Attributes:
        kind: One of KINDS.
        where: What `open_location` takes.
        put: Writes a file below it; None where files are not written one by one.
        environment: Variables with which a client reaches it.
    """

    kind: str
    where: Path | str
    put: Callable[[str, bytes], None] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


class S3(Server):
    """moto's S3 server, in memory: an end loses all data. It checks conditional writes."""

    name = "moto"

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables with which a client reaches the server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def prepare(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(self.port)]

    def answers(self) -> bool:
        return accepts_connections(self.port)

    def make_bucket(self, name: str = BUCKET) -> str:
        """Create a bucket, and return its URL."""
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )
        client.create_bucket(Bucket=name)
        return f"s3://{name}"


class Mlflow(Server):
    """MLflow's own tracking server and registry, with artifacts in its folder."""

    name = "MLflow"
    start_timeout_s = 180.0
    program = ROOT / ".venv-mlflow" / "bin" / "mlflow"

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables with which a client reaches the server."""
        return {"MLFLOW_TRACKING_URI": f"http://{LOOPBACK}:{self.port}"}

    def prepare(self) -> list[str]:
        store = f"sqlite:///{self.folder / 'mlflow.db'}"
        # Of the jobs that its assistants run; without, it starts in half the time.
        quiet = ("MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false", "MLFLOW_DISABLE_TELEMETRY=true")
        return [
            *("env", *quiet, str(self.program), "server", "--host", LOOPBACK, "--port", str(self.port)),
            *("--backend-store-uri", store, "--workers", "1"),
            *("--artifacts-destination", str(self.folder / "artifacts")),
        ]

    def answers(self) -> bool:
        return accepts_connections(self.port)


@contextmanager
def open_place(kind: str, folder: Path) -> Iterator[Callable[[], Place]]:
    """Start the server of a kind of location; yield what makes an empty location on it.

    Skips the test where the server is not installed; with CI=true nothing skips.
    """
    numbers = itertools.count()
    if kind == "folder":

        def make_folder() -> Place:
            made = folder / f"models-{next(numbers)}"
            made.mkdir()

            def put(name: str, content: bytes) -> None:
                (made / name).parent.mkdir(exist_ok=True)
                (made / name).write_bytes(content)

            return Place(kind, made, put)

        yield make_folder
    elif kind == "s3":
        with S3(folder) as server:
            url = server.make_bucket()
            yield lambda: _below(kind, f"{url}/models-{next(numbers)}", server.environment)
    elif kind == "mlflow":
        require_tool(Mlflow.program)
        with Mlflow(folder) as server:
            yield lambda: Place(
                kind, f"mlflow:models-{next(numbers)}", None, server.environment
            )
    else:
        pytest.skip("not yet")


def _below(kind: str, url: str, environment: Mapping[str, str]) -> Place:
    from base.object_store import Objects  # noqa: PLC0415  system tests import nothing of it

    def put(name: str, content: bytes) -> None:
        objects = Objects(url)
        objects.delete(name)
        objects.write(name, content, None)

    return Place(kind, url, put, environment)


def require_tool(program: Path) -> None:
    """Skip the test if a server is not installed. In CI each must be."""
    if not program.exists():
        reason = f"{program.relative_to(ROOT)} is not installed; run make tools"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
