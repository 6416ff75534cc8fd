"""Rules on the addresses of brokers and the credentials of Kafka clients.

librdkafka reports some of these errors under names of its own, and others not at all: with an
address that it cannot parse, it has no brokers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

Option = str | int | float | bool

_ADDRESS = re.compile(
    r"(?:(?P<scheme>[A-Za-z][\w+.-]*)://)?"
    r"(?:\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]@]+)"
    r"(?::(?P<port>\d{1,5}))?/?"
)
_SCHEMES = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
_MOST_PORT = 65_535
_WITH_PASSWORD = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_CLIENT_SECRETS = (
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.client.credentials.client.secret",
)
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def require_addresses(text: str) -> None:
    """Raise ValueError unless ``text`` is host:port, or several of these, comma-separated."""
    for part in map(str.strip, text.split(",")):
        address = _ADDRESS.fullmatch(part)
        if address is None or int(address["port"] or 0) > _MOST_PORT:
            raise ValueError(
                f"has {part!r}, which is not host:port; write it like kafka-1:9092,kafka-2:9092, an "
                "IPv6 address in brackets"
            )
        scheme = address["scheme"]
        if scheme is not None and scheme.lower() not in _SCHEMES:
            raise ValueError(
                f"has {part!r}, and brokers have no {scheme}://; write host:port alone: TLS and "
                "SASL are security.protocol in kafka.options"
            )


def require_credentials(
    options: Mapping[str, Option], secrets: Collection[str], *, has_password: bool
) -> None:
    """Raise ValueError if SASL lacks an option of its mechanism, or is set up and not used.

    Args:
        options: Options of librdkafka.
        secrets: Names of options whose values are in files.
        has_password: True if a file with the SASL password is configured.
    """
    protocol = str(options.get("security.protocol", ""))
    if not protocol.lower().startswith("sasl_"):
        unused = [name for name in (*options, *secrets) if "sasl." in name]
        _refuse_unused(protocol, [*unused, *(["password_file"] if has_password else [])])
        return
    mechanism = str(options.get("sasl.mechanism", options.get("sasl.mechanisms", "")))
    if not mechanism:
        raise ValueError(
            f"options: security.protocol is {protocol} and sasl.mechanism is missing; set it to "
            f"{', '.join(_WITH_PASSWORD)} or OAUTHBEARER"
        )
    if mechanism in _WITH_PASSWORD:
        _require_password(mechanism, options, has_password=has_password)
    elif mechanism == "OAUTHBEARER":
        _require_tokens(options, secrets)


def _refuse_unused(protocol: str, names: Sequence[str]) -> None:
    """Raise ValueError for SASL options without SASL's protocol.

    librdkafka would ignore them, and connect without a user.
    """
    if names:
        state = f"is {protocol}" if protocol else "is missing (the default is plaintext)"
        raise ValueError(
            f"options: security.protocol {state}, and {', '.join(names)} would go unused; set "
            "security.protocol to SASL_SSL, or to SASL_PLAINTEXT without TLS, or remove the others"
        )


def _require_password(mechanism: str, options: Mapping[str, Option], *, has_password: bool) -> None:
    missing = [] if "sasl.username" in options else ["sasl.username in kafka.options"]
    missing += [] if has_password else ["kafka.password_file, the file with the password"]
    if missing:
        raise ValueError(
            f"options: sasl.mechanism is {mechanism}, which needs a user and a password; add "
            f"{' and '.join(missing)}"
        )


def _require_tokens(options: Mapping[str, Option], secrets: Collection[str]) -> None:
    known = {**options, **dict.fromkeys(secrets, "")}
    if str(options.get("enable.sasl.oauthbearer.unsecure.jwt", "")).lower() == "true":
        return
    method = str(options.get("sasl.oauthbearer.method", ""))
    if method.lower() != "oidc":
        raise ValueError(
            "options: sasl.mechanism is OAUTHBEARER and nothing gets a token; set "
            "sasl.oauthbearer.method: oidc, sasl.oauthbearer.client.id and "
            "sasl.oauthbearer.token.endpoint.url, and name the file of the client secret in "
            "kafka.secret_files: {sasl.oauthbearer.client.secret: FILE}"
        )
    grant = str(options.get("sasl.oauthbearer.grant.type", ""))
    metadata = str(options.get("sasl.oauthbearer.metadata.authentication.type", "none"))
    if grant == _JWT_BEARER or metadata.lower() != "none":
        return
    if not any(name in known for name in _CLIENT_SECRETS):
        raise ValueError(
            "options: sasl.oauthbearer.method is oidc and the client secret is missing; name its "
            "file in kafka.secret_files: {sasl.oauthbearer.client.secret: FILE}"
        )
