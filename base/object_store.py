"""Objects in a bucket of Amazon S3 (and what speaks its protocol), Google Cloud or Azure.

`s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` and `az://CONTAINER/PREFIX`; `http://` and `https://` to
read alone. Credentials, region and endpoint come from the environment, by each provider's own
variables and files. Every wait has a bound, and each error says what to do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from base.address import mask_addresses, shown_address
from base.errors import (
    ConfigurationError,
    DependencyUnavailableError,
    ObjectChangedError,
    StoreRefusedError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from obstore.store import ObjectStore

BUCKETS: Final = ("s3", "gs", "az")
SCHEMES: Final = (*BUCKETS, "http", "https")
CONNECT_S: Final = 5.0
TIMEOUT_S: Final = 10.0
RETRIES: Final = 2
ANSWER_S: Final = 3600.0
"""For all of an answer: a large file may take its time as long as bytes arrive."""
_SMALL_BYTES: Final = 1024 * 1024
_PART_BYTES: Final = 8 * 1024 * 1024
# Parts of an upload in flight: they bound its memory.
_PARTS: Final = 4
_SHOWN: Final = 300

_ENDPOINTS: Final[Mapping[str, tuple[str, ...]]] = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": (),  # always Google's own
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
ALLOW_HTTP: Final = "FRAUD_WORKER_ALLOW_HTTP"
_CREDENTIALS: Final = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the role of the pod, and AWS_REGION",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or the service account of the pod",
    "az": "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY, or the identity of the pod",
}
_NO_BUCKET: Final = ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")
# The client refuses keys with them.
_NO_PART: Final = re.compile(r"/\.{0,2}/")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# Of the XML of an answer.
_WORDS: Final = re.compile(r"<(?:Code|Message)>([^<]*)<")
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class ObjectState(NamedTuple):
    """Properties by which two versions of an object are told apart.

    Attributes:
        size: Size in bytes.
        e_tag: ETag; None where a web server has none.
        modified: Time of the last change.
    """

    size: int
    e_tag: str | None
    modified: datetime


class StoredObject(NamedTuple):
    """Content of an object, and the version that a conditional write expects.

    Attributes:
        content: The bytes.
        version: ETag, and the generation where the provider has them.
    """

    content: bytes
    version: dict[str, str]


def is_url(text: str) -> bool:
    """Return True for text with a scheme; a single letter is a drive of Windows."""
    scheme, mark, _ = text.partition("://")
    return bool(mark) and len(scheme) > 1 and scheme.isidentifier()


class Objects:
    """The objects below a URL; their keys are relative to it.

    Args:
        url: URL of a bucket, or of a prefix in it.
        timeout_s: Longest wait for the next bytes of an answer, in seconds.
        retries: Number of times that a failed request is repeated.
        answer_s: Longest time for all of an answer, in seconds.

    Attributes:
        url: The URL, without a slash at its end, safe to be shown.

    Raises:
        ConfigurationError: The URL is invalid, or its plaintext endpoint is not allowed.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = TIMEOUT_S,
        retries: int = RETRIES,
        answer_s: float = ANSWER_S,
    ) -> None:
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise ConfigurationError(f"{shown_address(url)}: is not a URL ({error})") from error
        self._scheme = parts.scheme.lower()
        self._bucket, self._prefix = parts.netloc, parts.path.strip("/")
        if self._scheme not in SCHEMES or not self._bucket:
            raise ConfigurationError(
                f"{shown_address(url)}: is not the URL of an object; write it as "
                f"{', '.join(f'{scheme}://BUCKET/KEY' for scheme in BUCKETS)} or https://HOST/PATH"
            )
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ConfigurationError(
                f"{shown_address(url)}: has a user, a query or a fragment; credentials come from "
                f"the environment: {_CREDENTIALS.get(self._scheme, 'none for http')}"
            )
        if _NO_PART.search(f"{parts.path.rstrip('/')}/") or _CONTROL.search(url):
            raise ConfigurationError(
                f"{shown_address(url)}: has an empty part, . or .., or a control character in its "
                "path; give the key of an object as it is stored"
            )
        self.url = f"{self._scheme}://{'/'.join(filter(None, (self._bucket, self._prefix)))}"
        self._store = _open(self._scheme, self._bucket, timeout_s, retries, answer_s)

    def at(self, key: str) -> str:
        """URL of an object, for messages."""
        return f"{self.url}/{key}" if key else self.url

    def read(self, key: str, bound: int, last: StoredObject | None = None) -> StoredObject | None:
        """Read a small object whole.

        Args:
            key: Key of the object.
            bound: Largest size in bytes.
            last: The object as it was read before, to transfer it only if it has changed.

        Returns:
            The object, which is ``last`` itself if it has not changed; None if there is none.

        Raises:
            ConfigurationError: It is larger.
            StoreRefusedError: The provider refuses access, or there is no such bucket.
            DependencyUnavailableError: The provider does not answer.
        """
        from obstore.exceptions import NotModifiedError  # noqa: PLC0415  see `_open`

        known = {} if last is None else {"if_none_match": last.version.get("e_tag")}
        try:
            with self._asking(key):
                answer = self._store.get(self._key(key), options=known)  # type: ignore[arg-type]
                if answer.meta["size"] > bound:
                    raise ConfigurationError(
                        f"{self.at(key)}: has {answer.meta['size']:,} bytes, at most {bound:,} are "
                        "allowed; it is another kind of object"
                    )
                content = bytes(answer.bytes())
        except NotModifiedError:
            return last
        except FileNotFoundError:
            return None
        return StoredObject(content, _version(answer.meta))

    def write(self, key: str, content: bytes, expected: StoredObject | None) -> None:
        """Write a small object, if the stored one is the expected one.

        Args:
            key: Key of the object.
            content: The new bytes.
            expected: The object as it was read; None if there was none.

        Raises:
            ObjectChangedError: Another process has written it meanwhile.
            StoreRefusedError: As `read` raises it.
            DependencyUnavailableError: As `read` raises it.
        """
        mode: Any = "create" if expected is None else expected.version
        try:
            with self._asking(key):
                self._store.put(self._key(key), content, mode=mode)
        except ObjectChangedError:
            # The answer to a first attempt may have been lost: then the repeated one finds its own.
            now = self.read(key, _SMALL_BYTES)
            if now is None or now.content != content:
                raise

    def upload(self, key: str, path: Path) -> None:
        """Upload a file; the object appears with its last byte, and replaces an existing one."""
        with self._asking(key):
            self._store.put(self._key(key), path, chunk_size=_PART_BYTES, max_concurrency=_PARTS)

    def delete(self, key: str) -> None:
        """Delete an object; it need not exist."""
        try:
            with self._asking(key):
                self._store.delete(self._key(key))
        except FileNotFoundError:
            return

    def chunks(self, key: str) -> Iterator[bytes]:
        """Yield the content of an object in parts. Raises FileNotFoundError if there is none."""
        with self._asking(key):
            for part in self._store.get(self._key(key)).stream(min_chunk_size=1024 * 1024):
                yield bytes(part)

    def sizes(self, below: str, bound: int) -> dict[str, int]:
        """Sizes in bytes of at most ``bound`` objects below a key, by the rest of their keys."""
        prefix, sizes = f"{self._key(below)}/", dict[str, int]()
        with self._asking(below):
            for page in self._store.list(prefix):
                # An object with the key of the folder itself marks it in the pages of a provider.
                for meta in page:
                    if meta["path"].startswith(prefix):
                        sizes[meta["path"].removeprefix(prefix)] = meta["size"]
                if len(sizes) > bound:
                    break
        return sizes

    def folders(self) -> list[str]:
        """Names that are followed by a slash in the keys, in order."""
        prefix = f"{self._prefix}/" if self._prefix else ""
        with self._asking(""):
            listed = self._store.list_with_delimiter(prefix)
        return sorted(name.removeprefix(prefix).strip("/") for name in listed["common_prefixes"])

    def state(self, key: str) -> ObjectState:
        """State of an object. Raises FileNotFoundError if there is none."""
        with self._asking(key):
            return _state(self._store.head(self._key(key)))

    def part(self, key: str, begin: int, end: int, state: ObjectState) -> bytes:
        """Read the bytes from ``begin`` to ``end`` of an object that is still in this state."""
        options: Any = {"range": (begin, end)}
        # A weak ETag, as web servers give to what they compress, never matches.
        if state.e_tag is not None and not state.e_tag.startswith("W/"):
            options["if_match"] = state.e_tag
        with self._asking(key):
            answer = self._store.get(self._key(key), options=options)
            # Web servers may have no ETag, or ignore the condition.
            if _state(answer.meta) != state:
                raise self._changed(key)
            return bytes(answer.bytes())

    def _key(self, key: str) -> str:
        return "/".join(filter(None, (self._prefix, key)))

    def _changed(self, key: str) -> ObjectChangedError:
        return ObjectChangedError(
            f"{self.at(key)}: was changed by another process meanwhile; look at it, and try again"
        )

    @contextmanager
    def _asking(self, key: str) -> Iterator[None]:
        """Raise the provider's errors as those of this project."""
        from obstore import exceptions  # noqa: PLC0415  see `_open`

        where = self.at(key)
        try:
            yield
        except exceptions.NotModifiedError:
            raise
        except (exceptions.PreconditionError, exceptions.AlreadyExistsError) as error:
            raise self._changed(key) from error
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise StoreRefusedError(
                f"{where}: access is refused ({_reason(error)}); see the credentials: "
                f"{_CREDENTIALS.get(self._scheme, 'none are sent')}"
            ) from error
        except (exceptions.BaseError, OSError) as error:
            if any(words in str(error) for words in _NO_BUCKET):
                raise StoreRefusedError(
                    f"{where}: there is no bucket {self._bucket}; correct its name, or create it"
                ) from error
            if isinstance(error, exceptions.NotFoundError | FileNotFoundError):
                raise FileNotFoundError(f"{where}: there is no such object") from error
            raise DependencyUnavailableError(
                f"{where}: no usable answer ({_reason(error)}); see the endpoint, the network and "
                f"the credentials: {_CREDENTIALS.get(self._scheme, 'none are sent')}"
            ) from error


def _open(scheme: str, bucket: str, timeout_s: float, retries: int, answer_s: float) -> ObjectStore:
    """Open a bucket; nothing is sent.

    obstore is imported here, as local files do not need it.
    """
    from obstore import exceptions, store  # noqa: PLC0415

    wait: Any = {
        "connect_timeout": timedelta(seconds=min(CONNECT_S, timeout_s)),
        "read_timeout": timedelta(seconds=timeout_s),
        "timeout": timedelta(seconds=answer_s),
        **_plaintext(scheme, bucket),
    }
    repeat: Any = {
        "max_retries": retries,
        "retry_timeout": timedelta(seconds=timeout_s * (retries + 1)),
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=1),
            "base": 2,
        },
    }
    options: Any = {"client_options": wait, "retry_config": repeat}
    try:
        match scheme:
            case "s3":
                return store.S3Store(bucket, **options)
            case "gs":
                return store.GCSStore(bucket, **options)
            case "az":
                return store.AzureStore(bucket, **options)
        return store.HTTPStore.from_url(f"{scheme}://{bucket}", **options)
    except (exceptions.BaseError, ValueError) as error:
        raise ConfigurationError(
            f"{scheme}://{bucket}: cannot be used ({_reason(error)}); see the environment: "
            f"{_CREDENTIALS.get(scheme, 'no credentials are sent')}"
        ) from error


def _plaintext(scheme: str, bucket: str) -> dict[str, bool]:
    """Options for an endpoint without TLS. Raises ConfigurationError where it is not allowed."""
    name, endpoint = "the URL", f"{scheme}://{bucket}"
    if scheme in BUCKETS:
        names = [variable for variable in _ENDPOINTS[scheme] if os.environ.get(variable)]
        name = names[0] if names else ""
        endpoint = os.environ.get(name, "")
    require_encrypted(endpoint, name)
    return {"allow_http": True} if endpoint.lower().startswith("http://") else {}


def require_encrypted(address: str, name: str) -> None:
    """Refuse an address without TLS, unless it is a loopback one or the environment allows it.

    Args:
        address: The address; one without a scheme passes.
        name: Its variable, for the message.

    Raises:
        ConfigurationError: Credentials and models would travel in the clear.
    """
    plain = address.lower().startswith("http://")
    if plain and urlsplit(address).hostname not in _LOOPBACK:
        if os.environ.get(ALLOW_HTTP) == "true":
            return
        raise ConfigurationError(
            f"{name} is {shown_address(address)}, which is not encrypted; use https://, or allow "
            f"it with {ALLOW_HTTP}=true in the environment"
        )


def _state(meta: Any) -> ObjectState:
    return ObjectState(meta["size"], meta["e_tag"], meta["last_modified"])


def _version(meta: Any) -> dict[str, str]:
    return {name: meta[name] for name in ("e_tag", "version") if meta[name] is not None}


def _reason(error: Exception) -> str:
    """First lines of an error, without secrets; obstore adds the structure of the error below."""
    text, _, answer = str(error).split("Debug source:")[0].partition("<?xml")
    text += ", ".join(_WORDS.findall(answer))
    return mask_addresses(" ".join(text.split()))[:_SHOWN] or type(error).__name__
