"""Fetch writer schemas from a schema registry together, cache them, and wait for late answers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from base.errors import (
    DependencyUnavailableError,
    ErrorCode,
    NotInRegistryError,
    RecordError,
    SchemaRefusedError,
)
from schemas.avro.definitions import Definitions
from schemas.avro.types import Type, parse_writer_schema
from schemas.registry.client import Answer, RegistryClient, Session, subject_path
from schemas.registry.framing import SchemaId

# Registries count in signed integers of 32 bits; some answer larger ids with a server error.
_MAX_ID: Final = 2**31 - 1
_MAX_DOUBTED: Final = 10_000
_MAX_REFERENCES: Final = 200
# One call waits for at least so long before it says that the registry is away.
_SLICE_S: Final = 5.0
_ASK_AGAIN_S: Final = 0.5
_AVRO: Final = "AVRO"
_PROBES: Final = 3
# Between two proofs that lie further apart the registry may have been away.
_PROOF_HOLDS_S: Final = 60.0

Writer = Type | RecordError


@dataclass(slots=True)
class _Pending:
    """A schema id that no answer has settled yet.

    Attributes:
        asked: Number of requests.
        absent_since: Time of the first answer that there is no such schema.
        failed_since: Value of the proven time at the first request without an answer.
    """

    asked: int = 0
    absent_since: float | None = None
    failed_since: float | None = None


@dataclass(slots=True)
class _ProvenTime:
    """A clock that advances only while the registry is known to answer."""

    seconds: float = 0.0
    _proven_at: float | None = field(default=None)

    def proven(self, now: float) -> None:
        if self._proven_at is not None and now - self._proven_at <= _PROOF_HOLDS_S:
            self.seconds += now - self._proven_at
        self._proven_at = now

    def doubted(self) -> None:
        self._proven_at = None


class RegistrySchemaSource:
    """Writer schemas from a schema registry, each fetched once and cached.

    Args:
        client: Client of the registry.
        give_up_s: Seconds after which an id without an answer is given up. Only time in which the
            registry answers for ids that it is known to have counts; while it answers nothing, the
            wait has no end.
        settle_s: Seconds for which the registry must answer that it has no such id before the id
            counts as unknown, as a follower may lag.
        unknown_s: Seconds after which an unknown or given up id is asked for again.
        clock: Monotonic time, in seconds.
        pause: Sleeps for a number of seconds.
    """

    framed: Final = True

    def __init__(
        self,
        client: RegistryClient,
        *,
        give_up_s: float = 600.0,
        settle_s: float = 3.0,
        unknown_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._give_up_s = give_up_s
        self._settle_s = settle_s
        self._unknown_s = unknown_s
        self._clock = clock
        self._pause = pause
        self._slice_s = max(_SLICE_S, client.timeout_s + 1.0)
        self._known: dict[SchemaId, Writer] = {}
        # Unknown or given up, and the time at which each is asked for again.
        self._doubted: dict[SchemaId, tuple[float, RecordError]] = {}
        self._pending: dict[SchemaId, _Pending] = {}
        # By path, until all that is wanted is settled: a schema that refers to many others may take
        # several calls, and goes on where it ended.
        self._answers: dict[str, _Registered] = {}
        self._proven = _ProvenTime()
        self._knows_guids = self._gave_up_guids = False

    def get_all(self, schema_ids: Collection[SchemaId]) -> dict[SchemaId, Writer]:
        """The writer schema of each id, or the error of its records.

        Raises:
            DependencyUnavailableError: Some are not answered yet. The call took a few seconds at
                most; the next one continues where it ended.
        """
        wanted = set(schema_ids)
        missing = [schema_id for schema_id in wanted if self._settled(schema_id) is None]
        self._pending = {i: self._pending.get(i) or _Pending() for i in missing}
        ends, settled = self._clock() + self._slice_s, 0
        while self._pending:
            before = len(self._pending)
            failure = self._ask(ends - self._clock())
            settled += before - len(self._pending)
            if self._pending and (failure or self._clock() + _ASK_AGAIN_S >= ends):
                self._keep_doubted(wanted, renewed=settled > 0)
                raise failure or DependencyUnavailableError(
                    f"schema registry {self._client.address}: {settled} of {len(missing)} schemas "
                    f"answered within {self._slice_s:g} s; the others are asked for again"
                )
            if self._pending:
                self._pause(_ASK_AGAIN_S)
        self._keep_doubted(wanted, renewed=False)
        self._answers.clear()
        return {schema_id: self._answer(schema_id) for schema_id in wanted}

    def _settled(self, schema_id: SchemaId) -> Writer | None:
        """The answer for an id, or None if the registry must be asked."""
        if schema_id in self._known or _impossible(schema_id):
            return self._answer(schema_id)
        until, error = self._doubted.get(schema_id, (0.0, None))
        return error if self._clock() < until else None

    def _answer(self, schema_id: SchemaId) -> Writer:
        if _impossible(schema_id):
            return RecordError(
                ErrorCode.SCHEMA_UNKNOWN, f"{schema_id} is no schema id of a registry"
            )
        return self._known.get(schema_id) or self._doubted[schema_id][1]

    def _ask(self, seconds: float) -> DependencyUnavailableError | None:
        """Ask once for the pending ids.

        Returns:
            The first failure of an id that is still pending, or None.
        """
        # What was asked for least goes first, so that no id keeps another from being asked for.
        pending = sorted(self._pending, key=lambda schema_id: self._pending[schema_id].asked)
        results = self._client.ask_together(pending, self._fetch, seconds)
        failed: dict[SchemaId, DependencyUnavailableError] = {}
        fetched = False
        for schema_id, result in results.items():
            self._pending[schema_id].asked += 1
            if isinstance(result, DependencyUnavailableError):
                failed[schema_id] = result
                continue
            self._knows_guids |= isinstance(schema_id, UUID)
            if isinstance(result, NotInRegistryError):
                self._absent(schema_id, result)
            else:
                fetched = True
                self._known[schema_id] = result
                self._doubted.pop(schema_id, None)
                del self._pending[schema_id]
        if failed:
            self._failed(failed, proven=fetched or self._answers_for_known())
        return next((error for i, error in failed.items() if i in self._pending), None)

    def _absent(self, schema_id: SchemaId, error: NotInRegistryError) -> None:
        pending, now = self._pending[schema_id], self._clock()
        pending.failed_since = None
        if pending.absent_since is None:
            pending.absent_since = now
        if now - pending.absent_since >= self._settle_s or self._was(
            schema_id, ErrorCode.SCHEMA_UNKNOWN
        ):
            message = f"the registry does not have schema {schema_id}: {error}"
            self._doubt(schema_id, RecordError(ErrorCode.SCHEMA_UNKNOWN, message))

    def _failed(self, failed: dict[SchemaId, DependencyUnavailableError], *, proven: bool) -> None:
        if not proven:
            self._proven.doubted()
            return
        self._proven.proven(self._clock())
        for schema_id, error in failed.items():
            pending = self._pending[schema_id]
            if pending.failed_since is None:
                pending.failed_since = self._proven.seconds
            if (
                self._proven.seconds - pending.failed_since >= self._give_up_s
                or self._was(schema_id, ErrorCode.SCHEMA_UNANSWERED)
                or self._is_futile(schema_id)
            ):
                self._gave_up_guids |= isinstance(schema_id, UUID)
                message = f"given up after {self._give_up_s:g} s: {error}"
                self._doubt(schema_id, RecordError(ErrorCode.SCHEMA_UNANSWERED, message))

    def _was(self, schema_id: SchemaId, code: ErrorCode) -> bool:
        """Return True if the id was doubted for the same reason before.

        Such an id is not waited for a second time.
        """
        return schema_id in self._doubted and self._doubted[schema_id][1].code is code

    def _is_futile(self, schema_id: SchemaId) -> bool:
        """Return True for a GUID if the registry seems to have no path for GUIDs.

        This is so if one GUID was given up after the full wait, and none was ever answered.
        """
        return isinstance(schema_id, UUID) and self._gave_up_guids and not self._knows_guids

    def _doubt(self, schema_id: SchemaId, error: RecordError) -> None:
        self._doubted.pop(schema_id, None)
        self._doubted[schema_id] = (self._clock() + self._unknown_s, error)
        del self._pending[schema_id]

    def _keep_doubted(self, wanted: set[SchemaId], *, renewed: bool) -> None:
        """Bound the number of doubted ids; keep those of ``wanted``, which the next call needs.

        With ``renewed``, the doubted ids of ``wanted`` are kept for another ``unknown_s``.
        """
        if renewed:
            until = self._clock() + self._unknown_s
            for schema_id in wanted & self._doubted.keys() - self._pending.keys():
                self._doubted[schema_id] = (until, self._doubted[schema_id][1])
        for schema_id in list(self._doubted)[: max(0, len(self._doubted) - _MAX_DOUBTED)]:
            if schema_id not in wanted:
                del self._doubted[schema_id]

    def _answers_for_known(self) -> bool:
        """Return True if the registry still gives a schema that it gave before."""
        probes = list(self._known)[-_PROBES:]

        async def probe(session: Session, schema_id: SchemaId) -> _Registered:
            return await session.ask("GET", _path_of(schema_id), _read)

        results = self._client.ask_together(probes, probe, self._client.timeout_s)
        return any(isinstance(result, _Registered) for result in results.values())

    async def _fetch(self, session: Session, schema_id: SchemaId) -> Writer:
        try:
            definitions = Definitions()
            schema = await self._registered(session, _path_of(schema_id))
            await self._add_references(session, schema, definitions, set())
            parsed = parse_writer_schema(schema.avro, definitions)
        except SchemaRefusedError as error:
            return RecordError(ErrorCode.SCHEMA_REFUSED, f"schema {schema_id}: {error}")
        return parsed

    async def _add_references(
        self, session: Session, schema: _Registered, definitions: Definitions, seen: set[str]
    ) -> None:
        for path in schema.references:
            if path in seen:
                continue
            seen.add(path)
            if len(seen) > _MAX_REFERENCES:
                raise SchemaRefusedError(f"it refers to more than {_MAX_REFERENCES} others")
            referred = await self._registered(session, path)
            await self._add_references(session, referred, definitions, seen)
            definitions.add(referred.avro)

    async def _registered(self, session: Session, path: str) -> _Registered:
        if path not in self._answers:
            self._answers[path] = await session.ask("GET", path, _read)
        return self._answers[path]


@dataclass(frozen=True, slots=True)
class _Registered:
    """A schema as the registry gives it.

    Attributes:
        kind: Type of the schema, as the registry names it.
        schema: JSON values of an Avro schema; None for another type.
        references: Paths of the schema versions that it refers to.
    """

    kind: str
    schema: object
    references: tuple[str, ...]

    @property
    def avro(self) -> object:
        """The JSON values of an Avro schema.

        Raises:
            SchemaRefusedError: The schema is of another type.
        """
        if self.kind != _AVRO:
            name = {"JSON": "JSON Schema", "PROTOBUF": "Protobuf"}.get(self.kind, self.kind)
            raise SchemaRefusedError(f"it is {name}; Avro is read")
        return self.schema


def _read(answer: Answer) -> _Registered:
    """Read the registry's answer to a request for a schema.

    Raises:
        ValueError: No registry gives such an answer.
    """
    kind, text = answer.get("schemaType") or _AVRO, answer.get("schema")
    if not isinstance(text, str) or not text or not isinstance(kind, str):
        raise ValueError("no schema in the answer")
    if kind != _AVRO:
        return _Registered(kind, None, ())
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        schema = None
    if not schema or not isinstance(schema, str | list | dict):
        raise ValueError("a broken schema in the answer")
    references = answer.get("references") or []
    try:
        paths = tuple(
            subject_path(item["subject"], "versions", int(item["version"])) for item in references
        )
    except (TypeError, KeyError) as error:
        raise ValueError("broken references in the answer") from error
    return _Registered(kind, schema, paths)


def _impossible(schema_id: SchemaId) -> bool:
    return schema_id is None or (isinstance(schema_id, int) and schema_id > _MAX_ID)


def _path_of(schema_id: SchemaId) -> str:
    form = "guids" if isinstance(schema_id, UUID) else "ids"
    return f"schemas/{form}/{schema_id}"
