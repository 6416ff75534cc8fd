"""Commands and answers of a Redis or Valkey server, and the translation of its errors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

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
from features.store.writes import AppendColumns
from features.values.keys import Keys

Words = tuple[str | bytes | int, ...]
"""Words of a command as they are sent."""


class PackedCall(NamedTuple):
    """Call of a script that appends to keys, encoded.

    Attributes:
        data: The bytes to send.
        appends: Its keys, and the bytes for each.
    """

    data: memoryview
    appends: AppendColumns


Command = Words | PackedCall

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


def packed_append(sha: str, appends: AppendColumns, expire: bytes) -> PackedCall:
    """Encode the call of the script with this SHA-1, as words of Python take ten times as long."""
    keys, values = appends
    count = int(np.count_nonzero(values.lengths != resp.ABSENT))
    number = b"%d" % count
    head = b"*%d\r\n$7\r\nEVALSHA\r\n$40\r\n%b\r\n$%d\r\n%b\r\n" % (
        2 * count + 4,
        sha.encode(),
        len(number),
        number,
    )
    argument = b"$%d\r\n%b\r\n" % (len(expire), expire)
    fixed = len(head) + len(argument) + count * (len(keys.prefix) + 2 * resp.KEY_BYTES)
    of_keys = int(keys.ends[-1]) - int(keys.ends[0])
    out = np.empty(fixed + of_keys + int(values.lengths.clip(0).sum()), np.uint8)
    size = resp.write_append(
        np.frombuffer(head, np.uint8),
        np.frombuffer(keys.prefix, np.uint8),
        keys.ends,
        keys.data,
        np.frombuffer(argument, np.uint8),
        values.data,
        values.begins,
        values.lengths,
        out,
    )
    return PackedCall(out[:size].data, appends)


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
                raise WrongKindError(repr(_key_of(command, int(wrong[1]))))
            raise answer


def _key_of(call: Command, number: int) -> Any:
    """Key of a script's call by its number, from 1."""
    if isinstance(call, PackedCall):
        return call.appends.present_keys()[number - 1]
    return call[_KEYS_OF_EVALSHA - 1 + number]


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
