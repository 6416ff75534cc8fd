"""Online store on Redis or Valkey."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import redis
from redis.exceptions import BusyLoadingError, NoScriptError

from base.address import shown_address
from base.errors import ConfigurationError
from features.store import scripts
from features.store.kernel.resp import SINGLE
from features.store.protocol import (
    KEYS_PER_SCAN,
    Compaction,
    Hashes,
    MarkWrite,
    ReadResult,
    ServerRun,
    lost_marks,
)
from features.store.redis_answers import LEAST_ROOM, receive, rows_of, values_of
from features.store.redis_client import make_client
from features.store.redis_protocol import (
    Command,
    PackedCall,
    answer_of,
    packed_hmgets,
    packed_mgets,
    raise_first,
    translated,
)
from features.store.stored_values import StoredValues
from features.values.keys import Keys

MAX_KEYS_PER_COMMAND = 1_000
"""Maximum number of keys in one command: a server is blocked while a command runs.

A server sends no part of an answer before its command is done, and the timeout applies to the next
bytes of an answer. With short commands, long values do not look like a server that hangs.
"""
PAIRS_PER_WRITE = 5_000

_INFO = b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n*2\r\n$4\r\nINFO\r\n$5\r\nstats\r\n"
_RUN_ID, _EVICTED = re.compile(rb"\brun_id:(\w+)"), re.compile(rb"\bevicted_keys:(\d+)")

_SPECIAL = re.compile(rb"[*?\[\]^\\-]")
"""Characters that stand for others in a pattern of keys."""

_LOADS: list[Command] = [("SCRIPT LOAD", script.text) for script in scripts.ALL]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """Properties that a server reports.

    Attributes:
        server: Name of the server software.
        version: Its version.
        eviction_policy: Its eviction policy.
        used_memory: Bytes.
        maximum_memory: Bytes, 0 for no limit.
        append_only: True if acknowledged writes survive a restart.
    """

    server: str
    version: str
    eviction_policy: str
    used_memory: int
    maximum_memory: int
    append_only: bool


class RedisStore:
    """An online store on one Redis or Valkey server.

    Opens no connection until it is used.

    Args:
        url: redis://, rediss:// or unix://, without a password.
        username: User name, or None.
        password_file: File with the password, read again at each connection.
        timeout_s: Timeout in seconds for connecting and for one answer.
        options: Options of redis-py.

    Raises:
        ConfigurationError: An option is unknown to redis-py, or set by the worker itself.
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
        self._address = shown_address(url)
        self._client = make_client(url, username, password_file, timeout_s, options or {})
        self._room = LEAST_ROOM

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self.read_all([Keys.of(keys)]).values.to_list()

    def read_all(
        self, keys: Sequence[Keys], hashes: Sequence[Hashes] = (), marks: Sequence[bytes] = ()
    ) -> ReadResult:
        return self._twice(partial(self._read, keys, hashes, marks))

    def write(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        remaining = iter(pairs)
        while some := dict(islice(remaining, PAIRS_PER_WRITE)):
            self._twice(partial(self._client.mset, some))

    def replace(self, key: bytes, expected: bytes | None, value: bytes) -> bool:
        call = scripts.REPLACE.call([key], [expected or b"", value])
        with self._answers(), self._connection() as connection:
            (done,) = _trip(connection, [call])
        return bool(done)

    def append(
        self,
        appends: Collection[tuple[bytes, bytes]],
        compactions: Collection[Compaction] = (),
        expire_ms: int | None = None,
        marks: Sequence[MarkWrite] = (),
    ) -> None:
        calls: list[Command] = [
            *scripts.compact_calls(compactions, expire_ms),
            *scripts.append_calls(appends, expire_ms),
        ]
        with self._answers(), self._connection() as connection:
            _trip(connection, calls)
            if marks:
                _write_marks(connection, marks, expire_ms)

    def write_marks(self, marks: Sequence[MarkWrite], expire_ms: int | None = None) -> None:
        with self._answers(), self._connection() as connection:
            _write_marks(connection, marks, expire_ms)

    def scan(self, prefix: bytes, cursor: int = 0) -> tuple[int, list[bytes]]:
        pattern = _SPECIAL.sub(rb"\\\g<0>", prefix) + b"*"
        answer: Any = self._twice(partial(self._client.scan, cursor, pattern, KEYS_PER_SCAN))
        following, keys = answer
        return following, keys

    def remove(self, keys: Collection[bytes]) -> None:
        remaining = iter(keys)
        while some := list(islice(remaining, MAX_KEYS_PER_COMMAND)):
            self._twice(partial(self._client.unlink, *some))

    def require_no_eviction(self) -> None:
        policy = self.info().eviction_policy
        if policy != "noeviction":
            raise ConfigurationError(
                f"the online store at {self._address} (store.url) has maxmemory-policy {policy}: it "
                "deletes histories where memory is short; set maxmemory-policy noeviction"
            )

    def ping(self) -> None:
        with self._answers():
            self._client.ping()

    def close(self) -> None:
        self._client.connection_pool.disconnect()

    def info(self) -> StoreInfo:
        """Read properties of the server; needs permission for INFO."""
        with self._answers():
            answer: dict[str, Any] = self._client.info("everything")
        valkey = answer.get("server_name") == "valkey"
        return StoreInfo(
            server="valkey" if valkey else "redis",
            version=str(answer["valkey_version" if valkey else "redis_version"]),
            eviction_policy=str(answer.get("maxmemory_policy", "unknown")),
            used_memory=int(answer.get("used_memory", 0)),
            maximum_memory=int(answer.get("maxmemory", 0)),
            append_only=bool(answer.get("aof_enabled", 0)),
        )

    def _read(
        self, keys: Sequence[Keys], hashes: Sequence[Hashes], marks: Sequence[bytes]
    ) -> ReadResult:
        of_values = [
            min(MAX_KEYS_PER_COMMAND, len(some) - start)
            for some in keys
            for start in range(0, len(some), MAX_KEYS_PER_COMMAND)
        ]
        of_rows = [len(asked.fields) for asked in hashes for _ in asked.keys]
        of_marks = [len(marks), SINGLE, SINGLE] if marks else []
        if not of_values and not of_rows and not of_marks:
            return ReadResult(StoredValues.of([]), [[] for _ in hashes])
        parts: list[bytes | memoryview] = [
            *(packed_mgets(some, MAX_KEYS_PER_COMMAND) for some in keys),
            *map(packed_hmgets, hashes),
        ]
        if marks:
            # Last: what is lost before them is noticed by them. Servers before Redis 7 take one
            # section of INFO at a time.
            parts += [packed_mgets(Keys.of(marks), len(marks)), _INFO]
        with self._connection() as connection:
            # All at once: each part would be a call to the system.
            connection.send_packed_command([b"".join(parts)])
            room = self._room if of_values else LEAST_ROOM
            answers = receive(connection, [*of_values, *of_rows, *of_marks], room)
        if of_values:
            # Room is made by copying: answers are seldom much longer than the last ones.
            self._room = max(LEAST_ROOM, len(answers.data) * 5 // 4)
        values, rows = sum(of_values), sum(of_rows)
        read = values_of(answers[:values]), rows_of(answers[values:], hashes)
        if not marks:
            return ReadResult(*read)
        *of_keys, server, stats = values_of(answers[values + rows :]).to_list()
        return ReadResult(*read, of_keys, _server_run(server or b"", stats or b""))

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        """A connection of the pool for commands and all of their answers."""
        pool: Any = self._client.connection_pool
        connection = pool.get_connection()
        try:
            yield connection
        except BaseException:
            # An unread answer must not be taken for a later command's answer.
            connection.disconnect()
            raise
        finally:
            pool.release(connection)

    def _twice(self, command: Callable[[], T]) -> T:
        """Run an idempotent command, once more if its connection was broken."""
        with self._answers():
            try:
                return command()
            except BusyLoadingError:
                raise
            except (redis.ConnectionError, redis.TimeoutError):
                # A server that restarted leaves dead connections in the pool.
                self._client.connection_pool.disconnect()
                return command()

    def _answers(self) -> AbstractContextManager[None]:
        return translated(f"the online store at {self._address} (store.url)")


def _write_marks(connection: Any, marks: Sequence[MarkWrite], expire_ms: int | None) -> None:
    (lost,) = _trip(connection, [scripts.mark_call(marks, expire_ms)])
    if lost:
        raise lost_marks(marks[lost - 1])


def _trip(connection: Any, commands: Sequence[Command]) -> list[Any]:
    """Run commands, which may be scripts, and return the answers; raise the first error."""
    answers = _send(connection, commands)
    unknown = [i for i, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
    if unknown:
        # The server has restarted, or somebody flushed its scripts. None of these was run.
        again = [*_LOADS, *(commands[i] for i in unknown)]
        later = _send(connection, again)
        raise_first(again, later)
        for i, answer in zip(unknown, later[len(_LOADS) :], strict=True):
            answers[i] = answer
    raise_first(commands, answers)
    return answers


def _send(connection: Any, commands: Sequence[Command]) -> list[Any]:
    """Send commands and return all answers, errors included.

    redis-py's pipeline is not used: it takes four times as long for many small commands.
    """
    if not commands:
        return []
    parts: list[bytes | memoryview] = []
    for command in commands:
        if isinstance(command, PackedCall):
            parts.append(command.data)
        else:
            parts += connection.pack_command(*command)
    connection.send_packed_command([b"".join(parts)])
    return [answer_of(connection) for _ in commands]


def _server_run(server: bytes, stats: bytes) -> ServerRun:
    """Run of a server, from its sections of INFO; a server that hides them counts as one run."""
    run_id, evicted = _RUN_ID.search(server), _EVICTED.search(stats)
    return ServerRun(run_id[1].decode() if run_id else "", int(evicted[1]) if evicted else 0)
