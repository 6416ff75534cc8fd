"""Files that the options of librdkafka and redis-py name."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from base.errors import ConfigurationError

_NAMES_A_FILE = re.compile(
    r"(?:ssl|https)\.[a-z.]*location|sasl\.oauthbearer\.assertion\.(?:[a-z.]*\.)?file"
    r"|ssl_(?:ca_certs|ca_path|certfile|keyfile)"
)
# librdkafka looks for the system's certificates itself.
_NO_FILE = frozenset(("", "probe", "system"))


def require_option_files(setting: str, options: Mapping[str, object]) -> None:
    """Raise ConfigurationError for an option that names a file which cannot be read.

    librdkafka then speaks of OpenSSL's error numbers, and redis-py as if the store were away.
    """
    for name, value in options.items():
        if not _NAMES_A_FILE.fullmatch(name) or str(value) in _NO_FILE:
            continue
        path = Path(str(value))
        if path.exists() and os.access(path, os.R_OK):
            continue
        found = "may not be read by this user" if path.exists() else "there is no such file"
        at = "" if path.is_absolute() else f" in {Path.cwd()}, where the process was started"
        raise ConfigurationError(
            f"{setting}: {name} is {value}: {found}{at}; mount it there, or give its whole path"
        )
