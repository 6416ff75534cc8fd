"""Read JSON lines in UTF-8, UTF-16 or UTF-32, and detect files of other formats."""

from __future__ import annotations

import io
import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from base.errors import ConfigurationError
from base.file_path import FilePath

MAGIC_BYTES = 8
_HEAD_BYTES = 4_096
_TO_LINES = "write one object on each line: jq -c {} FILE > LINES.jsonl"


class DetectedFormat(NamedTuple):
    """A file format, detected by the first bytes.

    Attributes:
        name: Name of the format, for a message.
        remedy: Advice to the user.
        suffixes: File name suffixes of the format; empty if the format is not supported.
    """

    name: str
    remedy: str
    suffixes: tuple[str, ...] = ()


_BY_MAGIC = {
    b"PAR1": DetectedFormat("a Parquet file", "name it .parquet", (".parquet",)),
    b"Obj\x01": DetectedFormat("an Avro container", "name it .avro", (".avro",)),
    b"\x1f\x8b": DetectedFormat("compressed with gzip", "unpack it first (gunzip)"),
    b"\x28\xb5\x2f\xfd": DetectedFormat("compressed with zstandard", "unpack it first (unzstd)"),
    b"BZh": DetectedFormat("compressed with bzip2", "unpack it first (bunzip2)"),
    b"\xfd7zXZ": DetectedFormat("compressed with xz", "unpack it first (unxz)"),
    b"PK\x03\x04": DetectedFormat(
        "a ZIP archive or a workbook", "unpack it, or convert it to Parquet"
    ),
}
_BY_TEXT = {
    r"\[\s*\{": DetectedFormat("a JSON array", _TO_LINES.format("'.[]'")),
    r"\{[ \t\r]*\n": DetectedFormat("JSON over several lines", _TO_LINES.format(".")),
    # Two lines with separators, neither of them JSON.
    r"(?![\[{])[^\n]*[,;\t][^\n]*\n(?![\[{])[^\n]*[,;\t]": DetectedFormat(
        "a text table (such as CSV)", "convert it to Parquet"
    ),
}


def detect_format(head: bytes) -> DetectedFormat | None:
    """Format of a file that begins with these bytes; None if it is not known."""
    return next((known for magic, known in _BY_MAGIC.items() if head.startswith(magic)), None)


@contextmanager
def json_lines(path: FilePath) -> Iterator[Iterator[str | bytes]]:
    """Read the lines of a file that are not blank, as bytes of UTF-8 or as text.

    Raises:
        ConfigurationError: The file is JSON but not JSON lines, or a text table.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        encoding = json.detect_encoding(head)
        text = head.decode(encoding, "replace").lstrip()
        for pattern, other in _BY_TEXT.items():
            if re.match(pattern, text):
                raise ConfigurationError(f"event file {path} is {other.name}: {other.remedy}")
        lines: Iterator[str | bytes] = file
        if encoding.startswith("utf-8"):
            file.seek(len(BOM_UTF8) if head.startswith(BOM_UTF8) else 0)
        else:
            file.seek(0)
            lines = io.TextIOWrapper(file, encoding, "surrogatepass", newline="\n")
        yield (line for line in lines if not line.isspace())
