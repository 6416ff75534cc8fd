"""Mask the secrets of addresses in messages and logs: user information, query and fragment."""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "***"
# An address that was parsed as a path has one slash instead of two.
_SCHEME: Final = re.compile(r"[A-Za-z][\w+.\-]*:/{1,2}", re.ASCII)
_NEXT_ADDRESS: Final = re.compile(rf",(?={_SCHEME.pattern})", re.ASCII)
_HOST: Final = re.compile(r"(?:[\w.\-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?", re.ASCII)
_PATH: Final = re.compile(r"[\w.~+:/\-]*", re.ASCII)
_BLANK: Final = re.compile(r"\s")
_AFTER_TEXT: Final = re.compile(r"[.,:;)\]}>'\"`]*$")


def shown_address(address: str) -> str:
    """Mask the secrets of an address, so that it may be shown.

    If the parts cannot be separated safely (for example with a slash in the password), everything
    after the scheme is masked.
    """
    if "@" not in address and "?" not in address:
        return ",".join(_shown(part) for part in _NEXT_ADDRESS.split(address))
    return _shown(address)


def mask_addresses(text: str) -> str:
    """Mask the secrets of every address in a message."""
    if ":/" not in text:
        return text
    return "".join(_masked_line(line) for line in text.splitlines(keepends=True))


def _shown(address: str) -> str:
    scheme = _SCHEME.match(address)
    begin = scheme.end() if scheme else 0
    authority = re.split(r"[/?#\\]", address[begin:], maxsplit=1)[0]
    after = address[begin + len(authority) :]
    user, at, host = authority.rpartition("@")
    if "@" in after or not _HOST.fullmatch(host):
        return address[:begin] + MASK
    path = re.split(r"[?#]", after, maxsplit=1)[0]
    return "".join(
        (
            address[:begin],
            f"{MASK}{at}" if user or at else "",
            host,
            path if _PATH.fullmatch(path) else f"/{MASK}",
            f"?{MASK}" if len(path) < len(after) else "",
        )
    )


def _masked_line(line: str) -> str:
    masked, done, last_user = [], 0, line.rfind("@")
    while scheme := _SCHEME.search(line, done):
        # A user or password may contain blanks: it can extend to the last @ of the line.
        blank = _BLANK.search(line, max(scheme.end(), last_user))
        end = blank.start() if blank else len(line)
        punctuation = _AFTER_TEXT.search(line[scheme.end() : end])
        end -= len(punctuation[0]) if punctuation else 0
        masked += [line[done : scheme.start()], shown_address(line[scheme.start() : end])]
        done = end
    return "".join([*masked, line[done:]])
