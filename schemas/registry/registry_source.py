"""Fetch writer schemas from a schema registry concurrently, with a cache and retries."""

from __future__ import annotations

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
from schemas.registry.client import RegistryClient, Session
from schemas.registry.framing import SchemaId
from schemas.registry.registered import RegisteredSchema, read_registered, schema_path

# Ids are signed 32-bit integers; some registries respond with a server error to a larger id.
_MAX_ID: Final = 2**31 - 1
_MAX_DOUBTED: Final = 10_000
_MAX_REFERENCES: Final = 200
# Minimum time that one call waits before it reports that the registry is away.
_SLICE_S: Final = 5.0
_RETRY_S: Final = 0.5
_PROBES: Final = 3
# If two proofs are further apart, the registry may have been away between them.
_PROOF_HOLDS_S: Final = 60.0

Writer = Type | RecordError


@dataclass(slots=True)
class _Pending:
    """A schema id without a final response.

    Attributes:
        asked: Number of requests.
        absent_since: Time of the first response that the schema does not exist.
        failed_since: Proven time at the first request that failed.
    """

    asked: int = 0
    absent_since: float | None = None
    failed_since: float | None = None


@dataclass(slots=True)
class _ProvenTime:
    """A clock that advances only while the registry is known to respond."""

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
        give_up_s: Seconds after which an id is given up if all requests for it fail. Only the time
            in which the registry responds to requests for known ids counts: while the registry
            is away, the wait has no limit.
        settle_s: Seconds for which the registry must respond that it does not have an id before
            the id counts as unknown, because a follower may lag.
        unknown_s: Seconds after which an unknown or given up id is requested again.
        clock: Returns monotonic time in seconds.
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
        # Unknown or given up ids, with the time at which each is requested again.
        self._doubted: dict[SchemaId, tuple[float, RecordError]] = {}
        self._pending: dict[SchemaId, _Pending] = {}
        # Responses by path, kept until all requested ids are settled: a schema that refers to many
        # others may need several calls, and the next call continues.
        self._answers: dict[str, RegisteredSchema] = {}
        self._proven = _ProvenTime()
        self._knows_guids = self._gave_up_guids = False

    def get_all(self, schema_ids: Collection[SchemaId]) -> dict[SchemaId, Writer]:
        """Return the writer schema of each id, or the error of its records.

        Raises:
            DependencyUnavailableError: Some ids have no response yet. The call takes a few seconds
                at most, and the next call continues where it ended.
        """
        wanted = set(schema_ids)
        missing = [schema_id for schema_id in wanted if self._settled(schema_id) is None]
        self._pending = {i: self._pending.get(i) or _Pending() for i in missing}
        ends, settled = self._clock() + self._slice_s, 0
        while self._pending:
            before = len(self._pending)
            failure = self._ask(ends - self._clock())
            settled += before - len(self._pending)
            if self._pending and (failure or self._clock() + _RETRY_S >= ends):
                self._keep_doubted(wanted, renewed=settled > 0)
                raise failure or DependencyUnavailableError(
                    f"schema registry {self._client.address}: {settled} of {len(missing)} schemas "
                    f"answered within {self._slice_s:g} s; the others are asked for again"
                )
            if self._pending:
                self._pause(_RETRY_S)
        self._keep_doubted(wanted, renewed=False)
        self._answers.clear()
        return {schema_id: self._answer(schema_id) for schema_id in wanted}

    def _settled(self, schema_id: SchemaId) -> Writer | None:
        """Schema or error of an id, or None if the registry must be asked."""
        if schema_id in self._known or _impossible(schema_id):
            return self._answer(schema_id)
        until, error = self._doubted.get(schema_id, (0.0, None))
        return error if self._clock() < until else None

    def _answer(self, schema_id: SchemaId) -> Writer:
        if _impossible(schema_id):
            return RecordError(
                ErrorCode.SCHEMA_UNKNOWN, f"{schema_id} is not a schema id of a registry"
            )
        return self._known.get(schema_id) or self._doubted[schema_id][1]

    def _ask(self, seconds: float) -> DependencyUnavailableError | None:
        """Request each pending id once.

        Returns:
            The first failure of an id that is still pending, or None.
        """
        # Ids with the fewest requests go first, so that every id gets its turn.
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

        The source does not wait for such an id again.
        """
        return schema_id in self._doubted and self._doubted[schema_id][1].code is code

    def _is_futile(self, schema_id: SchemaId) -> bool:
        """Return True for a GUID if the registry seems not to support GUIDs.

        That is assumed once a GUID was given up after the full wait, and none was ever fetched.
        """
        return isinstance(schema_id, UUID) and self._gave_up_guids and not self._knows_guids

    def _doubt(self, schema_id: SchemaId, error: RecordError) -> None:
        self._doubted.pop(schema_id, None)
        self._doubted[schema_id] = (self._clock() + self._unknown_s, error)
        del self._pending[schema_id]

    def _keep_doubted(self, wanted: set[SchemaId], *, renewed: bool) -> None:
        """Remove the oldest doubted ids beyond the maximum, but none of ``wanted``.

        Args:
            wanted: Ids that the next call needs.
            renewed: If True, the doubted ids of ``wanted`` stay for another ``unknown_s``.
        """
        if renewed:
            until = self._clock() + self._unknown_s
            for schema_id in wanted & self._doubted.keys() - self._pending.keys():
                self._doubted[schema_id] = (until, self._doubted[schema_id][1])
        for schema_id in list(self._doubted)[: max(0, len(self._doubted) - _MAX_DOUBTED)]:
            if schema_id not in wanted:
                del self._doubted[schema_id]

    def _answers_for_known(self) -> bool:
        """Return True if the registry still returns a schema that it returned before."""
        probes = list(self._known)[-_PROBES:]

        async def probe(session: Session, schema_id: SchemaId) -> RegisteredSchema:
            return await session.ask("GET", schema_path(schema_id), read_registered)

        results = self._client.ask_together(probes, probe, self._client.timeout_s)
        return any(isinstance(result, RegisteredSchema) for result in results.values())

    async def _fetch(self, session: Session, schema_id: SchemaId) -> Writer:
        try:
            definitions = Definitions()
            schema = await self._registered(session, schema_path(schema_id))
            await self._add_references(session, schema, definitions, set())
            parsed = parse_writer_schema(schema.avro, definitions)
        except SchemaRefusedError as error:
            return RecordError(ErrorCode.SCHEMA_REFUSED, f"schema {schema_id}: {error}")
        return parsed

    async def _add_references(
        self, session: Session, schema: RegisteredSchema, definitions: Definitions, seen: set[str]
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

    async def _registered(self, session: Session, path: str) -> RegisteredSchema:
        if path not in self._answers:
            self._answers[path] = await session.ask("GET", path, read_registered)
        return self._answers[path]


def _impossible(schema_id: SchemaId) -> bool:
    return schema_id is None or (isinstance(schema_id, int) and schema_id > _MAX_ID)
