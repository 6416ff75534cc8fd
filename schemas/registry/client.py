"""Client of a schema registry: every answer is classified, and bounded in size and time."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

import httpx2

from base.errors import (
    ConfigurationError,
    DependencyUnavailableError,
    NotInRegistryError,
    RegistryRefusedError,
)

# Confluent keeps each schema in a record of a Kafka topic: 1 MiB, where nobody has raised it.
MAX_ANSWER_BYTES: Final = 4 * 2**20
_TOGETHER: Final = 8
# No subject, no version of it, no schema: the answers with which a registry says that it has none.
_ABSENT: Final = frozenset({40401, 40402, 40403})
_REFUSED: Final = frozenset({409, 422})
_HEADERS: Final = {
    "Accept": "application/vnd.schemaregistry.v1+json, application/json",
    # A small compressed body can unpack to any size.
    "Accept-Encoding": "identity",
    "Content-Type": "application/vnd.schemaregistry.v1+json",
}

Answer = dict[str, Any]
T = TypeVar("T")
Key = TypeVar("Key")


class RegistryClient:
    """Requests to a schema registry by Confluent's protocol.

    Only the registry's own JSON settles anything. All else (a proxy's page, a redirect, a missing
    right, an answer that is too large or too slow) raises DependencyUnavailableError, as no answer
    at all does.

    Attributes:
        address: The registry's address, without user and query: both may hold secrets.
        timeout_s: Bound on one answer as a whole, in seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        credentials: Callable[[], tuple[str, str] | None] = lambda: None,
        timeout_s: float = 5.0,
    ) -> None:
        """Prepare requests; none is sent yet.

        Args:
            url: Address of the registry with the path under which it serves. Of several, separated
                by commas, each is asked until one answers.
            credentials: Gives user and password, asked anew for each connection, so that a renewed
                secret needs no restart.
            timeout_s: Bound on one answer as a whole, in seconds.

        Raises:
            ConfigurationError: An address cannot be used.
        """
        self._bases = [_address(part.strip()) for part in url.split(",")]
        self._credentials = credentials
        self._tls = httpx2.create_ssl_context()
        self.address = ",".join(_shown(base) for base in self._bases)
        self.timeout_s = timeout_s

    def ask(
        self, method: str, path: str, read: Callable[[Answer], T], body: Answer | None = None
    ) -> T:
        """Make one request; see `Session.ask`."""

        async def one() -> T:
            async with self._session() as session:
                return await session.ask(method, path, read, body)

        return _run(one())

    def ask_together(
        self,
        keys: Iterable[Key],
        fetch: Callable[[Session, Key], Awaitable[T]],
        seconds: float,
    ) -> dict[Key, T | NotInRegistryError | DependencyUnavailableError]:
        """Fetch every key, in order, a bounded number at a time.

        A key is left out of the result if its fetch was not begun when ``seconds`` are over, or had
        less time than one answer may take. The remaining keys are left out when several fetches in
        a row fail, which means that the registry is away.
        """
        results: dict[Key, T | NotInRegistryError | DependencyUnavailableError] = {}
        waiting = deque(keys)
        failed_in_a_row = 0

        async def work(session: Session) -> None:
            nonlocal failed_in_a_row
            while waiting and failed_in_a_row < _TOGETHER:
                key, begun = waiting.popleft(), time.monotonic()
                result: T | NotInRegistryError | DependencyUnavailableError
                try:
                    result = await fetch(session, key)
                except (NotInRegistryError, DependencyUnavailableError) as error:
                    result = error
                except asyncio.CancelledError:
                    if time.monotonic() - begun >= self.timeout_s:
                        results[key] = self._too_slow(key)
                    raise
                results[key] = result
                away = isinstance(result, DependencyUnavailableError)
                failed_in_a_row = failed_in_a_row + 1 if away else 0

        async def all_of_them() -> None:
            # A deadline that has passed cancels what waits, in whatever it waits for.
            with suppress(TimeoutError):
                async with (
                    self._session() as session,
                    asyncio.timeout(seconds),
                    asyncio.TaskGroup() as group,
                ):
                    for _ in range(min(_TOGETHER, len(waiting))):
                        group.create_task(work(session))

        _run(all_of_them())
        return results

    def _too_slow(self, key: object) -> DependencyUnavailableError:
        return DependencyUnavailableError(
            f"schema registry {self.address}, asked for schema {key}: it answers too slowly"
        )

    def _session(self) -> Session:
        try:
            auth = self._credentials()
        except ConfigurationError as error:
            raise DependencyUnavailableError(f"schema registry {self.address}: {error}") from error
        http = httpx2.AsyncClient(
            auth=auth,
            verify=self._tls,
            timeout=None,  # of single reads; the whole has one
            headers=_HEADERS,
            follow_redirects=False,
        )
        return Session(http, self._bases, self.timeout_s)


class Session:
    """Open connections to a registry, within one event loop.

    Args:
        http: HTTP client of the connections.
        bases: Addresses of the registry; the one that answered last moves to the front.
        timeout_s: Bound on one answer as a whole, in seconds.
    """

    def __init__(self, http: httpx2.AsyncClient, bases: list[httpx2.URL], timeout_s: float) -> None:
        self._http = http
        self._bases = bases
        self._timeout_s = timeout_s

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._http.aclose()

    async def ask(
        self, method: str, path: str, read: Callable[[Answer], T], body: Answer | None = None
    ) -> T:
        """Make one request, and read the registry's answer.

        Args:
            method: HTTP method.
            path: Path below the registry's address, percent-encoded.
            read: Takes the wanted value from an answer, or raises ValueError if it is not in it: a
                registry checks what it stores, so another server answered.
            body: JSON values to send.

        Raises:
            NotInRegistryError: The registry answers that it has no such subject or schema.
            RegistryRefusedError: The registry answers that the schema in ``body`` is refused.
            DependencyUnavailableError: All else; the message says what was found.
        """
        reasons = []
        for base in list(self._bases):
            try:
                async with asyncio.timeout(self._timeout_s):
                    status, content = await self._answer(method, _joined(base, path), body)
                result = _judged(status, content, read, checks=body is not None)
            except NotInRegistryError:
                self._prefer(base)
                raise
            except _NoAnswerError as error:
                reason = str(error)
            except TimeoutError:
                reason = f"no whole answer within {self._timeout_s:g} s"
            # The name of a host is encoded before it is looked up.
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError) as error:
                reason = f"it does not answer ({type(error).__name__}: {error})"
            else:
                self._prefer(base)
                return result
            reasons.append(f"schema registry {_shown(base)}, asked for {path}: {reason}")
        raise DependencyUnavailableError("; ".join(reasons))

    def _prefer(self, base: httpx2.URL) -> None:
        self._bases.remove(base)
        self._bases.insert(0, base)

    async def _answer(self, method: str, url: httpx2.URL, body: Answer | None) -> tuple[int, bytes]:
        sent = None if body is None else json.dumps(body).encode()
        received = bytearray()
        async with self._http.stream(method, url, content=sent) as answer:
            status = answer.status_code
            encoding = answer.headers.get("Content-Encoding", "identity")
            if encoding != "identity":
                raise _NoAnswerError(
                    f"HTTP status {status}, and a body in encoding {encoding[:20]}"
                )
            async for part in answer.aiter_raw():
                received += part
                if len(received) > MAX_ANSWER_BYTES:
                    raise _NoAnswerError(f"HTTP status {status}, and a body of too many bytes")
        return status, bytes(received)


class _NoAnswerError(Exception):
    """An answer that is not the registry's own, or that settles nothing."""


def _judged(status: int, body: bytes, read: Callable[[Answer], T], *, checks: bool) -> T:
    """Classify an answer, and read its body.

    Args:
        status: HTTP status of the answer.
        body: Bytes of the answer.
        read: Takes the wanted value from the answer, or raises ValueError.
        checks: True if the registry was asked to check a schema, which it may refuse.

    Returns:
        The value that ``read`` takes from the answer.

    Raises:
        NotInRegistryError: The registry has no such subject, version or schema.
        RegistryRefusedError: The registry refuses the schema.
        _NoAnswerError: All else.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise _NoAnswerError(f"HTTP status {status}, and no answer of a registry in the body")
    if status == httpx2.codes.OK:
        try:
            return read(answer)
        except ValueError as error:
            raise _NoAnswerError(f"HTTP status {status}, and {error}") from error
    code = answer.get("error_code")
    message = f"{str(answer.get('message'))[:200]} (error code {code})"
    if status == httpx2.codes.NOT_FOUND and code in _ABSENT:
        raise NotInRegistryError(message)
    if checks and status in _REFUSED and isinstance(code, int):
        raise RegistryRefusedError(message)
    raise _NoAnswerError(f"HTTP status {status}: {message}")


def subject_path(subject: str, *rest: str | int) -> str:
    """The path of a subject, or of a resource below it."""
    return "/".join(["subjects", quote(subject, safe=""), *map(str, rest)])


def _address(text: str) -> httpx2.URL:
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL:
        url = httpx2.URL("")
    if url.scheme not in {"http", "https"} or not url.host:
        # It is not shown: who knows where in it a password stands.
        raise ConfigurationError(
            "schema registry: its address is no http:// or https:// address; correct it"
        )
    return url


def _shown(base: httpx2.URL) -> str:
    return str(base.copy_with(userinfo=b"", query=None, fragment=None))


def _joined(base: httpx2.URL, path: str) -> httpx2.URL:
    """The base address with a path below its own; the query of the base is kept."""
    own, mark, query = base.raw_path.partition(b"?")
    return base.copy_with(raw_path=own.rstrip(b"/") + b"/" + path.encode() + mark + query)


def _run(task: Coroutine[Any, Any, T]) -> T:
    """Run a task to its end, without waiting for threads that look up a host's name.

    asyncio.run would wait for such a thread without any bound.
    """
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(task)
    finally:
        loop.close()
