"""The online store on Redis or Valkey."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.retry import Retry

from schemas.errors import ConfigurationError, DependencyUnavailableError

MAX_KEYS_PER_COMMAND = 10_000
"""One command holds up a server for as long as it takes, so large ones are cut."""
PAIRS_PER_WRITE = 5_000

_OWNED = {
    "credential_provider": "store.username and store.password_file",
    "decode_responses": "always false: values are binary",
    "password": "store.password_file",
    "retry": "the worker's own: reads once more, writes never by themselves",
    "retry_on_error": "the worker's own",
    "retry_on_timeout": "the worker's own",
    "username": "store.username",
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What a server says of itself. maximum_memory: bytes, 0 for no limit; used_memory: bytes.

    append_only: whether what it acknowledged survives its restart.
    """

    server: str
    version: str
    eviction_policy: str
    used_memory: int
    maximum_memory: int
    append_only: bool


class RedisStore:
    """An online store on one Redis or Valkey server.

    url: redis://, rediss:// or unix://, without a password. password_file: read again at each
    connection. timeout_s: bound on connecting and on one answer. options: redis-py's own.

    Opens no connection until it is used. Raises ConfigurationError for options that are the
    worker's own or that redis-py does not know.
    """

    def __init__(
        self,
        url: str,
        *,
        username: str | None = None,
        password_file: Path | None = None,
        timeout_s: float = 2.0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._address = _without_secrets(url)
        given = dict(options or {})
        for name in given.keys() & _OWNED.keys():
            raise ConfigurationError(f"store.options.{name}: remove it; use {_OWNED[name]}")
        if password_file is not None:
            given["credential_provider"] = _PasswordFile(username, password_file)
        elif username is not None:
            raise ConfigurationError("store.username is set without store.password_file: set both")
        settings = {
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            **given,
            # redis-py's ten retries would multiply every bound; read() repeats by itself.
            "retry": Retry(NoBackoff(), 0),
        }
        try:
            pool = redis.ConnectionPool.from_url(url, **settings)
            pool.connection_class(**pool.connection_kwargs)
        except (TypeError, ValueError, RedisError) as error:
            raise ConfigurationError(f"store.url or store.options do not hold: {error}") from error
        self._client: redis.Redis = redis.Redis(connection_pool=pool)

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        found: list[bytes | None] = []
        for start in range(0, len(keys), MAX_KEYS_PER_COMMAND):
            some = keys[start : start + MAX_KEYS_PER_COMMAND]
            answer = self._twice(partial(self._client.mget, some))
            found += cast("list[bytes | None]", answer)  # nothing is decoded
        return found

    def write(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        remaining = iter(pairs)
        while some := dict(itertools.islice(remaining, PAIRS_PER_WRITE)):
            self._twice(partial(self._client.mset, some))

    def ping(self) -> None:
        with self._answers():
            self._client.ping()

    def close(self) -> None:
        self._client.connection_pool.disconnect()

    def info(self) -> StoreInfo:
        """What the server says of itself; needs the right to INFO."""
        with self._answers():
            found: dict[str, Any] = self._client.info("everything")
        valkey = found.get("server_name") == "valkey"
        return StoreInfo(
            server="valkey" if valkey else "redis",
            version=str(found["valkey_version" if valkey else "redis_version"]),
            eviction_policy=str(found.get("maxmemory_policy", "unknown")),
            used_memory=int(found.get("used_memory", 0)),
            maximum_memory=int(found.get("maxmemory", 0)),
            append_only=bool(found.get("aof_enabled", 0)),
        )

    def _twice(self, command: Callable[[], T]) -> T:
        """Runs an idempotent command, once more where its connection was broken."""
        with self._answers():
            try:
                return command()
            except BusyLoadingError:
                raise
            except (redis.ConnectionError, redis.TimeoutError):
                # A server that restarted leaves dead connections in the pool.
                self._client.connection_pool.disconnect()
                return command()

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """Turns redis-py's errors into this project's, which name the address."""
        where = f"the online store at {self._address}"
        try:
            yield
        except NoPermissionError as error:
            raise ConfigurationError(
                f"{where} refuses: {error}. Give the user of store.username this right"
            ) from error
        except AuthenticationError as error:
            raise DependencyUnavailableError(f"{where} refuses the password: {error}") from error
        except ReadOnlyError as error:
            raise DependencyUnavailableError(f"{where} is a read-only replica: {error}") from error
        except OutOfMemoryError as error:
            raise DependencyUnavailableError(f"{where} is out of memory: {error}") from error
        except BusyLoadingError as error:
            raise DependencyUnavailableError(f"{where} is loading its data: {error}") from error
        except redis.TimeoutError as error:
            raise DependencyUnavailableError(f"{where} did not answer in time: {error}") from error
        except (redis.ConnectionError, OSError) as error:
            raise DependencyUnavailableError(f"{where} cannot be reached: {error}") from error
        except RedisError as error:
            raise DependencyUnavailableError(f"{where} answered: {error}") from error


class _PasswordFile(CredentialProvider):
    """Credentials whose password is read from a file at each connection."""

    def __init__(self, username: str | None, path: Path) -> None:
        self._username = username
        self._path = path

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        try:
            password = self._path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise AuthenticationError(
                f"store.password_file {self._path} cannot be read: {error.strerror}"
            ) from error
        return (password,) if self._username is None else (self._username, password)


def _without_secrets(url: str) -> str:
    """The address as messages may show it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
