"""Commands and answers of a Redis or Valkey server, and the translation of its errors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from base.errors import ConfigurationError, DependencyUnavailableError
from features.store.kernel import resp
from features.store.protocol import Hashes
from features.values.keys import Keys

Command = tuple[str | bytes | int, ...]
"""Words of a command as they are sent."""

_WRONG_KIND = re.compile(r"WRONGTYPE.* key=(\d+)")
_KEYS_OF_EVALSHA = 3
_NO_RIGHT = re.compile(r"ACL failure in script: |The user executing the script can't run")
_PLACE_IN_SCRIPT = re.compile(r" script:( [0-9a-f]+,)? on @user_script.*")


class WrongKindError(ResponseError):
    """The named key holds a list, a hash or another type instead of a string."""


def packed_mgets(keys: Keys, most: int) -> memoryview:
    """Encode the commands that read the values of keys, at most ``most`` in each."""
    count, prefix = len(keys), np.frombuffer(keys.prefix, np.uint8)
    size = count * (len(prefix) + resp.KEY_BYTES) + len(keys.data)
    out = np.empty(size + (count // most + 1) * resp.HEAD_BYTES, np.uint8)
    return out[: resp.write_mgets(prefix, keys.ends, keys.data, most, out)].data


def packed_hmgets(hashes: Hashes) -> bytes:
    """Encode the commands that read hashes, all at once: encoding them one by one takes longer."""
    head = b"*%d\r\n$5\r\nHMGET\r\n$" % (2 + len(hashes.fields))
    tail = b"".join(b"\r\n$%d\r\n%b" % (len(field), field) for field in hashes.fields) + b"\r\n"
    return b"".join([b"%b%d\r\n%b%b" % (head, len(key), key, tail) for key in hashes.keys])


def answer_of(connection: Any) -> Any:
    """Read the next answer; an error is returned."""
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def raise_first(commands: Sequence[Command], answers: Sequence[Any]) -> None:
    """Raise the first of the answers that is an error."""
    for command, answer in zip(commands, answers, strict=True):
        if isinstance(answer, ResponseError):
            message = _PLACE_IN_SCRIPT.sub("", str(answer))
            if _NO_RIGHT.search(message):
                raise NoPermissionError(message)
            wrong = _WRONG_KIND.search(message)
            if wrong is not None:
                raise WrongKindError(repr(command[_KEYS_OF_EVALSHA - 1 + int(wrong[1])]))
            raise answer


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Translate redis-py's errors into this project's; ``where`` names the server."""
    try:
        yield
    except NoPermissionError as error:
        raise ConfigurationError(
            f"{where} refuses: {error}. Give the user of store.username this right"
        ) from error
    except WrongKindError as error:
        raise ConfigurationError(
            f"{where} holds at the key {error} a value that is not a string and that this "
            "worker has not written: delete the key, and find the program that writes it"
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
