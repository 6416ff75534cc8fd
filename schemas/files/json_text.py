"""Read JSON lines in UTF-8, UTF-16 or UTF-32, and recognise files of other formats."""

from __future__ import annotations

import io
import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from base.errors import ConfigurationError

MAGIC_BYTES = 8
_HEAD_BYTES = 4_096
_TO_LINES = "one object on each line is read; jq -c {} FILE > LINES.jsonl writes it so"


class Looks(NamedTuple):
    """A file format, recognised by the first bytes.

    Attributes:
        found: The format, in words for a message.
        remedy: Advice to the user.
        suffixes: File name suffixes that are right for the format.
    """

    found: str
    remedy: str
    suffixes: tuple[str, ...] = ()


_BY_MAGIC = {
    b"PAR1": Looks("a Parquet file", "name it .parquet", (".parquet",)),
    b"Obj\x01": Looks("an Avro container", "name it .avro", (".avro",)),
    b"\x1f\x8b": Looks("compressed with gzip", "unpack it first (gunzip)"),
    b"\x28\xb5\x2f\xfd": Looks("compressed with zstandard", "unpack it first (unzstd)"),
    b"BZh": Looks("compressed with bzip2", "unpack it first (bunzip2)"),
    b"\xfd7zXZ": Looks("compressed with xz", "unpack it first (unxz)"),
    b"PK\x03\x04": Looks("a ZIP archive or a workbook", "unpack it, or convert it to Parquet"),
}
_BY_TEXT = {
    r"\[\s*\{": Looks("a JSON array", _TO_LINES.format("'.[]'")),
    r"\{[ \t\r]*\n": Looks("JSON over several lines", _TO_LINES.format(".")),
    # Two lines with separators, neither of them an object.
    r"(?![\[{])[^\n]*[,;\t][^\n]*\n(?![\[{])[^\n]*[,;\t]": Looks(
        "a table in text (CSV, say)", "convert it to Parquet"
    ),
}


def described(head: bytes) -> Looks | None:
    """The format of a file that begins with these bytes; None if they do not tell."""
    return next((looks for magic, looks in _BY_MAGIC.items() if head.startswith(magic)), None)


@contextmanager
def json_lines(path: Path) -> Iterator[Iterator[str | bytes]]:
    """The lines of a file that are not blank, as bytes of UTF-8 or as text.

    Raises:
        ConfigurationError: The file is JSON, but not JSON lines.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        encoding = json.detect_encoding(head)
        text = head.decode(encoding, "replace").lstrip()
        for pattern, looks in _BY_TEXT.items():
            if re.match(pattern, text):
                raise ConfigurationError(f"event file {path} is {looks.found}: {looks.remedy}")
        lines: Iterator[str | bytes] = file
        if encoding.startswith("utf-8"):
            file.seek(len(BOM_UTF8) if head.startswith(BOM_UTF8) else 0)
        else:
            file.seek(0)
            lines = io.TextIOWrapper(file, encoding, "surrogatepass", newline="\n")
        yield (line for line in lines if not line.isspace())
