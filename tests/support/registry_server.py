"""Apicurio Registry in memory, which implements the protocol of Confluent's schema registry.

It is used in tests only: its files are 159 MB.
"""

from __future__ import annotations

import tarfile
import tempfile
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from base.user_folders import locked
from tools.embedded.artifacts import fetched
from tools.embedded.java import find_java
from tools.embedded.process import LOOPBACK, Server

VERSION = "3.3.3"
_FILES = Path(__file__).with_name(f"apicurio-registry-{VERSION}.sha256")
_JAVA = 21
_PATH = "/apis/ccompat/v7"


class SchemaRegistry(Server):
    """A registry with its log in ``folder``; it loses all schemas when it ends."""

    name = f"Apicurio Registry {VERSION}"

    @property
    def url(self) -> str:
        """Address for clients of Confluent's registry, with the base path."""
        return f"http://{LOOPBACK}:{self.port}{_PATH}"

    def prepare(self) -> list[str]:
        options = {
            "quarkus.http.host": LOOPBACK,
            "quarkus.http.port": self.port,
            "quarkus.management.host": LOOPBACK,
            "quarkus.management.port": 0,
        }
        return [
            str(find_java(_JAVA).command),
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            *(f"-D{name}={value}" for name, value in options.items()),
            "-jar",
            str(_unpacked(fetched(_FILES, self.name)) / "quarkus-run.jar"),
        ]

    def answers(self) -> bool:
        connection = HTTPConnection(LOOPBACK, self.port, timeout=1)
        try:
            connection.request("GET", f"{_PATH}/subjects")
            return connection.getresponse().status == HTTPStatus.OK
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()


def _unpacked(folder: Path) -> Path:
    """Folder of the program, unpacked beside its archive at the first use."""
    app = folder / "app"
    with locked(folder / "app.lock"):
        if not app.exists():
            (archive,) = folder.glob("*.tar.gz")
            with (
                tempfile.TemporaryDirectory(dir=folder) as scratch,
                tarfile.open(archive) as files,
            ):
                part = Path(scratch) / "app"
                files.extractall(part, filter="data")
                part.rename(app)
    return app
