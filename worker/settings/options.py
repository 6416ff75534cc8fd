"""Types of settings, and rules on the options of librdkafka and redis-py."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from base.errors import ConfigurationError
from base.object_store import BUCKETS, is_url
from worker.settings.access import require_addresses
from worker.settings.secrets import names_secret

# Confluent's client allows several registries, comma-separated.
_NEXT_ADDRESS = re.compile(r",(?=[A-Za-z][A-Za-z0-9+.\-]*://)")

OWNED_CONSUMER_OPTIONS = {
    "auto.commit.enable": "always false: offsets are part of the checkpoint",
    "auto.offset.reset": "kafka.start_from",
    "bootstrap.servers": "kafka.bootstrap_servers",
    "enable.auto.commit": "always false: offsets are part of the checkpoint",
    "enable.auto.offset.store": "always false: offsets are part of the checkpoint",
    "enable.partition.eof": "always true",
    "group.id": "kafka.group",
    "group.protocol": "always classic, for cooperative-sticky",
    "isolation.level": "always read_committed",
    "metadata.broker.list": "kafka.bootstrap_servers",
    "partition.assignment.strategy": "always cooperative-sticky",
}
OWNED_PRODUCER_OPTIONS = {
    "acks": "always all",
    "bootstrap.servers": "kafka.bootstrap_servers",
    "delivery.report.only.error": "always true",
    "enable.idempotence": "always true",
    "metadata.broker.list": "kafka.bootstrap_servers",
    "partitioner": "always murmur2_random, Kafka's own",
    "request.required.acks": "always all",
    "transactional.id": "kafka.group and replica",
}


_NAMES_A_FILE = re.compile(
    r"(?:ssl|https)\.[a-z.]*location|sasl\.oauthbearer\.assertion\.(?:[a-z.]*\.)?file"
    r"|ssl_(?:ca_certs|ca_path|certfile|keyfile)"
)
# librdkafka looks for the system's certificates itself.
_NO_FILE = frozenset(("", "probe", "system"))


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; give it a value")
    return text


def _scalar(value: object) -> object:
    if not isinstance(value, str | int | float | bool):
        raise ValueError(f"is {type(value).__name__}; an option is text, a number, true or false")  # noqa: TRY004 - pydantic wants it
    return value


def _open_address(url: str) -> str:
    """Refuse text that is not an address, or has a secret; the message repeats no part of it."""
    if "@" in url:
        raise ValueError(
            "holds a user, password or token; use username and password_file beside it"
        )
    try:
        addresses = [urlsplit(part) for part in _NEXT_ADDRESS.split(url)]
        names = [
            name
            for address in addresses
            for name, _ in parse_qsl(address.query, keep_blank_values=True)
        ]
        holds = all(_is_address(address) for address in addresses)
    except ValueError:
        holds, names = False, []
    if not holds or not url.isprintable() or re.search(r"[\s\\]", url):
        raise ValueError("is not an address; write it as SCHEME://HOST:PORT")
    if any(names_secret(name) or "user" in unquote(name) for name in names):
        raise ValueError("holds a secret in its query; use username and password_file beside it")
    return url


def _topic_name(text: str) -> str:
    # Kafka's own rule. A consumer would treat a name that begins with ^ as a pattern.
    if not re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", text) or text in (".", ".."):
        raise ValueError(
            "is not a valid topic name; give one topic, of at most 249 letters, digits and . _ - (patterns "
            "and lists are not read)"
        )
    return text


def _is_address(parts: SplitResult) -> bool:
    """Return True for a complete address; raises ValueError for a port that is not a number."""
    named = parts.hostname is not None and "%" not in parts.netloc and parts.port != 0
    return bool(parts.scheme) and (named or (not parts.netloc and parts.path.startswith("/")))


def _no_user(servers: str) -> str:
    if re.search(r"[@?]|%40|%3f", servers, re.IGNORECASE):
        raise ValueError(
            "holds a user or a query; write HOST:PORT, and name the user in kafka.options and the "
            "password in kafka.password_file"
        )
    return servers


def _addresses(servers: str) -> str:
    require_addresses(servers)
    return servers


def _no_address(value: object) -> object:
    if isinstance(value, str) and re.match(r"[A-Za-z][\w+.\-]+:/", value):
        raise ValueError("is an address; name a file or folder: download or mount the content")
    return value


def _location(value: object) -> object:
    """A folder as a path; a URL or a registered model as text."""
    if not isinstance(value, str):
        return value
    if value.startswith("mlflow:"):
        if not re.fullmatch(r"mlflow:[^/:\s][^/:]*", value):
            raise ValueError("names no model; write it as mlflow:NAME of a registered model")
        return value
    if not is_url(value):
        _no_address(value)
        return Path(value)
    if value.partition(":")[0] not in BUCKETS:
        known = ", ".join(f"{scheme}://BUCKET/PREFIX" for scheme in BUCKETS)
        raise ValueError(f"is no location of bundles; name a folder, {known} or mlflow:NAME")
    if re.search(r"[@?#\s]", value):
        raise ValueError(
            "holds a user, a query or a blank; credentials come from the environment: see "
            "docs/how-to/models-and-data-at-urls.md"
        )
    return value.rstrip("/")


File = Annotated[Path, BeforeValidator(_no_address)]
LocationOfBundles = Annotated[
    Path | str,
    BeforeValidator(_location),
    WithJsonSchema({"type": "string", "format": "path or URL"}),
]
Text = Annotated[str, AfterValidator(_not_blank)]
Topic = Annotated[str, AfterValidator(_topic_name)]
Servers = Annotated[Text, AfterValidator(_no_user), AfterValidator(_addresses)]
Url = Annotated[Text, AfterValidator(_open_address)]
Options = dict[str, Annotated[str | int | float | bool, BeforeValidator(_scalar)]]


class Section(BaseModel):
    """A group of settings; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def require_option_files(setting: str, options: Mapping[str, object]) -> None:
    """Raise ConfigurationError for an option that names a file which cannot be read.

    Otherwise librdkafka shows only an OpenSSL error number, and redis-py reports an unreachable
    store.
    """
    for name, value in options.items():
        if not _NAMES_A_FILE.fullmatch(name) or str(value) in _NO_FILE:
            continue
        path = Path(str(value))
        if path.exists() and os.access(path, os.R_OK):
            continue
        state = "this user may not read it" if path.exists() else "there is no such file"
        at = "" if path.is_absolute() else f" in {Path.cwd()}, where the process was started"
        raise ConfigurationError(
            f"{setting}: {name} is {value}: {state}{at}; mount it there, or give its absolute path"
        )
