"""Client of redis-py, with the options of the user and those that the store relies on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError, RedisError
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from base.errors import ConfigurationError

_OWNED = {
    "credential_provider": "store.username and store.password_file",
    "decode_responses": "always false: values are binary",
    "maint_notifications_config": "always off",
    "password": "store.password_file",
    "retry": "the worker's own: a failed read is repeated once, a write never",
    "retry_on_error": "the worker's own",
    "retry_on_timeout": "the worker's own",
    "username": "store.username",
}


def make_client(
    url: str,
    username: str | None,
    password_file: Path | None,
    timeout_s: float,
    options: Mapping[str, Any],
) -> redis.Redis:
    """Make a client; arguments and errors are those of `features.store.redis.RedisStore`."""
    given = dict(options)
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
        # redis-py's ten retries would multiply every timeout; the store retries reads by itself.
        "retry": Retry(NoBackoff(), 0),
        # A server would send them between answers, which redis_answers receives by itself.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    try:
        pool = redis.ConnectionPool.from_url(url, **settings)
        pool.connection_class(**pool.connection_kwargs)
    except (TypeError, ValueError, RedisError) as error:
        raise ConfigurationError(f"store.url or store.options is invalid: {error}") from error
    return redis.Redis(connection_pool=pool)


class _PasswordFile(CredentialProvider):
    """Credentials whose password is read from a file at each connection."""

    def __init__(self, username: str | None, path: Path) -> None:
        self._username = username
        self._path = path

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        try:
            password = self._path.read_text(encoding="utf-8-sig").strip()
        except OSError as error:
            raise AuthenticationError(
                f"store.password_file {self._path} cannot be read: {error.strerror}"
            ) from error
        return (password,) if self._username is None else (self._username, password)
