"""SHA256SUMS: the format of `sha256sum -c`, read strictly.

The folder must hold exactly the files that the sums name, as plain files. Their number and the sum
of their sizes are bounded before any of them is read. A file is read once and the bytes that were
summed are the bytes that are used, so nothing can change in between.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

from base.errors import BundleRefusedError

SUMS_FILE = "SHA256SUMS"
MAX_BUNDLE_BYTES = 512 * 1024 * 1024
"""Sum of the sizes of a bundle's files: a process that reads a bundle holds all of them at once."""
MAX_FILES = 100
MAX_SUMS_BYTES = 64 * 1024

_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9][A-Za-z0-9._-]{0,127})")


def format_sums(files: Mapping[str, bytes]) -> bytes:
    """The bytes of a SHA256SUMS for files given as name → content."""
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)]
    return "".join(lines).encode("ascii")


def parse_sums(text: bytes, where: str) -> dict[str, str]:
    """Name → hex digest from the bytes of a SHA256SUMS; `where` names the file in messages.

    Raises BundleRefusedError for a line in any other form than `<64 lower-case hex>  <plain name>`,
    for a name given twice, and for a file that does not end in a newline.
    """
    if not text.endswith(b"\n"):
        raise BundleRefusedError(
            f"{where}: is empty or its last line is cut off; write the bundle again"
        )
    sums: dict[str, str] = {}
    for number, raw in enumerate(text[:-1].split(b"\n"), start=1):
        match = _LINE.fullmatch(raw.decode("ascii", errors="replace"))
        if match is None:
            raise BundleRefusedError(
                f"{where}:{number}: expected `<64 lower-case hex digits>  <plain file name>`, "
                "as `sha256sum` writes it; write the bundle again"
            )
        digest, name = match.groups()
        if name in sums or name == SUMS_FILE:
            raise BundleRefusedError(f"{where}:{number}: {name} must not be listed here (again)")
        sums[name] = digest
    return sums


def read_verified(folder: Path) -> tuple[dict[str, bytes], str]:
    """Read every file of a bundle folder but SHA256SUMS, checked against the sums.

    Returns:
        Contents by name, and the SHA-256 of SHA256SUMS itself, which identifies the bundle to the
        last bit.

    Raises:
        BundleRefusedError: where the folder holds other files than the sums name, links or folders,
            too many files or bytes, or a file with another digest.
    """
    present = _plain_files(folder)
    if SUMS_FILE not in present:
        raise BundleRefusedError(
            f"{folder}: has no {SUMS_FILE}; it is no model bundle, or its copy is not complete"
        )
    check_size(present, folder)
    contents = {SUMS_FILE: read_plain(folder / SUMS_FILE, MAX_SUMS_BYTES)}
    named = _named(present.keys(), contents[SUMS_FILE], folder)
    # a file that has grown since would break the bound on their sum
    contents |= {name: read_plain(folder / name, present[name]) for name in named}
    return checked(contents, folder), hashlib.sha256(contents[SUMS_FILE]).hexdigest()


def check_size(sizes: Mapping[str, int], folder: Path) -> None:
    """Raise BundleRefusedError where the files are too large together; sizes: bytes by name."""
    total = sum(sizes.values())
    if total > MAX_BUNDLE_BYTES:
        largest = max(sizes, key=lambda name: sizes[name])
        raise BundleRefusedError(
            f"{folder}: its files have {total:,} bytes together, {largest} {sizes[largest]:,} of "
            f"them; a bundle may have {MAX_BUNDLE_BYTES:,}: write a smaller one"
        )


def checked(contents: Mapping[str, bytes], folder: Path) -> dict[str, bytes]:
    """The files of a bundle but SHA256SUMS, where all `contents` agree with it.

    Raises BundleRefusedError, with paths in `folder`, where they do not.
    """
    sums = _named(contents.keys(), contents[SUMS_FILE], folder)
    for name, wanted in sums.items():
        found = hashlib.sha256(contents[name]).hexdigest()
        if found != wanted:
            raise BundleRefusedError(
                f"{folder / name}: has the SHA-256 {found}, {SUMS_FILE} says {wanted}; "
                "the file was changed or damaged: copy the bundle again"
            )
    return {name: contents[name] for name in sums}


def _named(present: AbstractSet[str], text: bytes, folder: Path) -> dict[str, str]:
    """The sums, which name exactly the files that are there."""
    sums = parse_sums(text, str(folder / SUMS_FILE))
    missing = sorted(sums.keys() - present)
    unlisted = sorted(present - sums.keys() - {SUMS_FILE})
    if missing:
        raise BundleRefusedError(
            f"{folder}: {', '.join(missing)} named in {SUMS_FILE} but not there; copy it again"
        )
    if unlisted:
        raise BundleRefusedError(
            f"{folder}: {', '.join(unlisted)} not named in {SUMS_FILE}; "
            "remove what does not belong to the bundle"
        )
    return sums


def _plain_files(folder: Path) -> dict[str, int]:
    """Name → size in bytes of each file in a folder of plain files. Raises BundleRefusedError."""
    found: dict[str, int] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.is_file(follow_symlinks=False):
                    raise BundleRefusedError(
                        f"{entry.path}: is a link, a folder or a special file; "
                        "a bundle holds plain files only"
                    )
                if len(found) == MAX_FILES:
                    raise BundleRefusedError(
                        f"{folder}: holds more than {MAX_FILES} files; it is no model bundle"
                    )
                found[entry.name] = entry.stat(follow_symlinks=False).st_size
    except OSError as error:
        raise BundleRefusedError(
            f"{folder}: cannot be read as a model bundle folder ({error.strerror}); put a "
            "bundle there, or name another"
        ) from error
    return found


def read_plain(path: Path, bound: int) -> bytes:
    """The content of a plain file of at most `bound` bytes; links are not followed."""
    try:
        # without O_NONBLOCK the opening of a FIFO would wait for a writer
        flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        handle = os.open(path, os.O_RDONLY | flags)
        with os.fdopen(handle, "rb") as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise BundleRefusedError(f"{path}: is not a plain file")
            content = file.read(found.st_size + 1) if found.st_size <= bound else None
    except OSError as error:
        raise BundleRefusedError(f"{path}: cannot be read ({error.strerror})") from error
    if content is None or len(content) > bound:
        raise BundleRefusedError(
            f"{path}: is larger than the {bound:,} bytes expected here; it is no such file, or is "
            "still being written"
        )
    return content
