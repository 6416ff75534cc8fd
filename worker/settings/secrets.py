"""Secrets: read from files, never shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from schemas.errors import ConfigurationError

_SECRET_NAME = re.compile(
    r"password|secret|token|credential|(?:\.|_)key(?:$|\.pem|_pem)|oauthbearer\.config",
    re.IGNORECASE,
)
MASK = "***"


def read_secret(path: Path, setting: str) -> SecretStr:
    """The text of a secret's file, without the line's end. Raises ConfigurationError."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(
            f"{setting}: {path} cannot be read ({reason}); mount the secret there"
        ) from None
    if not text:
        raise ConfigurationError(f"{setting}: {path} is empty; write the secret into it")
    return SecretStr(text)


def mask(value: Any, name: str = "") -> Any:
    """Plain data as it may be shown, with ``***`` in place of secrets.

    A secret is what stands under the name of one, and the user and password in an address.
    """
    if value is not None and _SECRET_NAME.search(name) and not name.endswith(("_file", "_files")):
        return MASK
    if isinstance(value, dict):
        return {key: mask(item, str(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [mask(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"//\S*@", f"//{MASK}@", value)
    return value
