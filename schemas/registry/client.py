"""Client of a schema registry that classifies every response, and bounds its size and time."""

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

# Confluent stores each schema in a record of a Kafka topic, which is limited to 1 MiB by default.
MAX_ANSWER_BYTES: Final = 4 * 2**20
_CONCURRENT_REQUESTS: Final = 8
# Error codes of an unknown subject, version and schema.
_ABSENT: Final = frozenset({40401, 40402, 40403})
_REFUSED: Final = frozenset({409, 422})
_HEADERS: Final = {
    "Accept": "application/vnd.schemaregistry.v1+json, application/json",
    # A small compressed body can decompress to any size.
    "Accept-Encoding": "identity",
    "Content-Type": "application/vnd.schemaregistry.v1+json",
}

Answer = dict[str, Any]
T = TypeVar("T")
Key = TypeVar("Key")


class RegistryClient:
    """Client of a schema registry, with Confluent's protocol.

    Only JSON of the registry itself is a valid response. Any other response (the page of a proxy, a
    redirect, a missing permission, a body that is too large or too slow) raises
    DependencyUnavailableError, like no response at all.

    Attributes:
        address: Address of the registry, without user and query, which may contain secrets.
        timeout_s: Timeout of a complete response, in seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        credentials: Callable[[], tuple[str, str] | None] = lambda: None,
        timeout_s: float = 5.0,
    ) -> None:
        """Create a client without connecting.

        Args:
            url: Address of the registry, with its base path. Of several addresses, separated by
                commas, each is tried until one responds.
            credentials: Returns user and password. It is called again for each connection, so that
                a rotated secret needs no restart.
            timeout_s: Timeout of a complete response, in seconds.

        Raises:
            ConfigurationError: An address is invalid.
        """
        self._bases = [_address(part.strip()) for part in url.split(",")]
        self._credentials = credentials
        self._tls = httpx2.create_ssl_context()
        self.address = ",".join(_shown(base) for base in self._bases)
        self.timeout_s = timeout_s

    def ask(
        self, method: str, path: str, read: Callable[[Answer], T], body: Answer | None = None
    ) -> T:
        """Send one request; see ``Session.ask``."""

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
        """Fetch all keys in their order, with a bounded number of concurrent requests.

        When several fetches in a row fail, the registry is considered away, and the remaining keys
        are not fetched.

        Args:
            keys: Keys to fetch.
            fetch: Coroutine that fetches one key.
            seconds: Timeout of the whole call, in seconds.

        Returns:
            The result or error of each key. A key is missing if its fetch was not started, or was
            cancelled before ``timeout_s`` had passed.
        """
        results: dict[Key, T | NotInRegistryError | DependencyUnavailableError] = {}
        waiting = deque(keys)
        failed_in_a_row = 0

        async def work(session: Session) -> None:
            nonlocal failed_in_a_row
            while waiting and failed_in_a_row < _CONCURRENT_REQUESTS:
                key, started = waiting.popleft(), time.monotonic()
                result: T | NotInRegistryError | DependencyUnavailableError
                try:
                    result = await fetch(session, key)
                except (NotInRegistryError, DependencyUnavailableError) as error:
                    result = error
                except asyncio.CancelledError:
                    if time.monotonic() - started >= self.timeout_s:
                        results[key] = self._too_slow(key)
                    raise
                results[key] = result
                away = isinstance(result, DependencyUnavailableError)
                failed_in_a_row = failed_in_a_row + 1 if away else 0

        async def work_all() -> None:
            # The timeout cancels all workers, whatever they wait for.
            with suppress(TimeoutError):
                async with (
                    self._session() as session,
                    asyncio.timeout(seconds),
                    asyncio.TaskGroup() as group,
                ):
                    for _ in range(min(_CONCURRENT_REQUESTS, len(waiting))):
                        group.create_task(work(session))

        _run(work_all())
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
            timeout=None,  # the complete response has a timeout instead
            headers=_HEADERS,
            follow_redirects=False,
        )
        return Session(http, self._bases, self.timeout_s)


class Session:
    """Open connections to a registry, within one event loop.

    Args:
        http: HTTP client of the connections.
        bases: Addresses of the registry; the one that responded last moves to the front.
        timeout_s: Timeout of a complete response, in seconds.
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
        """Send one request, and parse the registry's response.

        Args:
            method: HTTP method.
            path: Path below the registry's address, percent-encoded.
            read: Parses the value from the response, or raises ValueError if the response lacks it.
                A registry validates what it stores, so another server has responded then.
            body: JSON values to send.

        Raises:
            NotInRegistryError: The registry does not have the subject, version or schema.
            RegistryRefusedError: The registry refuses the schema in ``body``.
            DependencyUnavailableError: Any other response, or none; the message describes it.
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
            # UnicodeError: a host name is encoded before it is looked up.
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
    """A response that does not come from the registry itself, or reports a failure."""


def _judged(status: int, body: bytes, read: Callable[[Answer], T], *, checks: bool) -> T:
    """Classify a response, and parse its body.

    Args:
        status: HTTP status of the response.
        body: Bytes of the response.
        read: Parses the value from the response, or raises ValueError.
        checks: True if the request sends a schema, which the registry may refuse.

    Returns:
        The value that ``read`` returns.

    Raises:
        NotInRegistryError: The registry does not have the subject, version or schema.
        RegistryRefusedError: The registry refuses the schema.
        _NoAnswerError: Any other response.
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
    """Path of a subject, or of a resource below it."""
    return "/".join(["subjects", quote(subject, safe=""), *map(str, rest)])


def _address(text: str) -> httpx2.URL:
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL:
        url = httpx2.URL("")
    if url.scheme not in {"http", "https"} or not url.host:
        # The address is not shown: any part of it may be a password.
        raise ConfigurationError(
            "schema registry: its address does not begin with http:// or https://; correct it"
        )
    return url


def _shown(base: httpx2.URL) -> str:
    return str(base.copy_with(userinfo=b"", query=None, fragment=None))


def _joined(base: httpx2.URL, path: str) -> httpx2.URL:
    """Append a path to the path of the base address, and keep its query."""
    own, mark, query = base.raw_path.partition(b"?")
    return base.copy_with(raw_path=own.rstrip(b"/") + b"/" + path.encode() + mark + query)


def _run(task: Coroutine[Any, Any, T]) -> T:
    """Run a task to its end, without waiting for threads that look up host names.

    ``asyncio.run`` would wait for such a thread without a timeout.
    """
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(task)
    finally:
        loop.close()
