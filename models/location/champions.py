"""Champion of a location and its former champions: the rules that all kinds of locations share."""

from __future__ import annotations

import re
from shlex import quote
from typing import NamedTuple

from base.errors import BundleRefusedError

CHAMPION_FILE = "CHAMPION"
MAX_BYTES = 64 * 1024
"""Largest size of a file with names of bundles."""
_REMEMBERED = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")


class Champions(NamedTuple):
    """Names of the champion and of the former ones.

    Attributes:
        champion: The bundle that serves; None if none is named.
        former: Former champions, the latest last.
    """

    champion: str | None = None
    former: tuple[str, ...] = ()

    def promoted(self, name: str) -> Champions:
        """Champions after `name` was promoted."""
        if name == self.champion:
            return self
        former = self.former if self.champion is None else (*self.former, self.champion)
        return Champions(name, former[-_REMEMBERED:])

    def rolled_back(self, where: str, to: str | None = None) -> Champions:
        """Champions after a rollback.

        Args:
            where: The location, for messages.
            to: The expected name of the former champion; None for any.

        Raises:
            BundleRefusedError: if there is no former champion, or it is not `to`.
        """
        former = list(self.former)
        # A crash between two writes leaves the champion among the former ones as well.
        while former and former[-1] == self.champion:
            former.pop()
        if self.champion is None or not former:
            raise BundleRefusedError(
                f"{where}: has no champion before {self.champion or 'the first'}; name one "
                f"with `fraud-worker model promote {quote(where)} NAME`"
            )
        *remaining, name = former
        if to not in (None, name):
            raise BundleRefusedError(
                f"{where}: another bundle was promoted or rolled back meanwhile, and the "
                f"former champion is {name}, not {to}; see "
                f"`fraud-worker model show {quote(where)}`"
            )
        return Champions(name, tuple(remaining))


def parse_names(content: bytes, where: str) -> tuple[str, ...]:
    """Parse the names of bundles, one on each line. Raises BundleRefusedError."""
    text = content.decode("ascii", errors="replace")
    if text and not text.endswith("\n"):
        raise BundleRefusedError(f"{where}: its last line is cut off; promote a bundle again")
    return tuple(require_name(line, where) for line in text.splitlines())


def format_names(names: tuple[str, ...]) -> bytes:
    """Format names for `parse_names`."""
    return "".join(f"{name}\n" for name in names).encode("ascii")


def is_name(name: str) -> bool:
    """Return True if a bundle may have this name in its location."""
    return _NAME.fullmatch(name) is not None


def require_name(name: str, where: str) -> str:
    """Return the name. Raises BundleRefusedError if no bundle may have it."""
    if not is_name(name):
        raise BundleRefusedError(
            f"{where}: {name[:80]!r} is not the name of a bundle; give the name of a folder in the "
            "location: letters, digits and . _ + - without a path"
        )
    return name
