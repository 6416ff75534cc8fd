"""Locations of bundles on servers: object stores and MLflow as child processes."""

from __future__ import annotations

import base64
import hmac
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

import boto3
import httpx2
import pytest

from tools.embedded.process import LOOPBACK, Server, accepts_connections

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools"
KINDS = ("folder", "s3", "azure", "mlflow")
BUCKET = "models"
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
            *(
                "env",
                *quiet,
                str(self.program),
                "server",
                "--host",
                LOOPBACK,
                "--port",
                str(self.port),
            ),
            *("--backend-store-uri", store, "--workers", "1"),
            *("--artifacts-destination", str(self.folder / "artifacts")),
        ]

    def answers(self) -> bool:
        return accepts_connections(self.port)


class Azurite(Server):
    """Azure's own emulator of its blob storage, in memory."""

    name = "Azurite"
    program = TOOLS / "azurite" / "node_modules" / ".bin" / "azurite-blob"
    # The emulator's well-known account, which is in Azure's documentation.
    account = "devstoreaccount1"
    account_key = (
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    )

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables with which a client reaches the server."""
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": self.account,
            "AZURE_STORAGE_ACCOUNT_KEY": self.account_key,
            "AZURE_STORAGE_ENDPOINT": f"http://{LOOPBACK}:{self.port}/{self.account}",
        }

    def prepare(self) -> list[str]:
        return [
            *(str(self.program), "--blobHost", LOOPBACK, "--blobPort", str(self.port)),
            *("--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"),
        ]

    def answers(self) -> bool:
        return accepts_connections(self.port)

    def make_container(self) -> str:
        """Create a container, and return its URL."""
        address = f"{self.environment['AZURE_STORAGE_ENDPOINT']}/{BUCKET}?restype=container"
        now = formatdate(usegmt=True)
        path = f"/{self.account}/{self.account}/{BUCKET}"
        signed = "\n".join(["PUT", *[""] * 11, f"x-ms-date:{now}", "x-ms-version:2021-08-06", path])
        key = base64.b64decode(self.account_key)
        signature = hmac.digest(key, f"{signed}\nrestype:container".encode(), "sha256")
        headers = {
            "x-ms-date": now,
            "x-ms-version": "2021-08-06",
            "Authorization": f"SharedKey {self.account}:{base64.b64encode(signature).decode()}",
        }
        httpx2.put(address, headers=headers).raise_for_status()
        return f"az://{BUCKET}"


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
        with Mlflow(folder) as mlflow:
            yield lambda: Place(kind, f"mlflow:models-{next(numbers)}", None, mlflow.environment)
    else:
        require_tool(Azurite.program)
        with Azurite(folder) as azurite:
            url = azurite.make_container()
            yield lambda: _below(kind, f"{url}/models-{next(numbers)}", azurite.environment)


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
