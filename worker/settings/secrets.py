"""Secrets, which are read from files and masked in logs and messages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pydantic import SecretStr

from base.address import MASK, shown_address
from base.errors import ConfigurationError

_SECRET_NAME = re.compile(
    r"pass(?:word|wd|phrase|code)|pwd|secret|token|credential|api[._-]?key|signature|assertion"
    r"|jaas|jwt|kinit\.cmd|user[._]info|oauthbearer\.config|(?:[._-]|^)key(?:$|[._-]pem)",
    re.IGNORECASE,
)


def names_secret(name: str) -> bool:
    """Return True if a value with this name is a secret; the name may be percent-encoded."""
    plain = unquote(unquote(name))
    return bool(_SECRET_NAME.search(plain)) and not plain.endswith(("_file", "_files"))


def read_secret(path: Path, setting: str) -> SecretStr:
    """Read the file of a secret, without byte order mark and line end.

    Args:
        path: Path of the file.
        setting: Name of the setting, for messages.

    Raises:
        ConfigurationError: The file cannot be read, or is empty.
    """
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(
            f"{setting}: {path} cannot be read ({reason}); mount the secret there"
        ) from None
    if not text:
        raise ConfigurationError(f"{setting}: {path} is empty; write the secret into it")
    return SecretStr(text)


def mask(value: Any, name: str = "") -> Any:
    """Copy plain data with ``***`` in place of secrets.

    Secrets are values with a secret's name, text that assigns one, and the user information and the
    query of addresses.
    """
    if value is not None and names_secret(name):
        return MASK
    if isinstance(value, dict):
        return {mask(key): mask(item, str(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [mask(item) for item in value]
    if isinstance(value, str):
        return _masked(value)
    return value


def _masked(text: str) -> str:
    if any(names_secret(part) for part in re.split(r"[=:]", text)[:-1]):
        return MASK
    scheme = re.search(r"[A-Za-z][\w+.\-]*:/", text, re.ASCII)
    begin = scheme.start() if scheme else 0
    if "@" in text[:begin] or "?" in text[:begin]:
        return MASK
    return text[:begin] + shown_address(text[begin:])
