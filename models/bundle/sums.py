"""SHA256SUMS: the checksums of a bundle, in the format of `sha256sum -c`, read strictly.

The folder must have exactly the files that SHA256SUMS names, as plain files. Their number and total
size are limited before any file is read. Each file is read once, and the bytes that were hashed are
the bytes that are used, so nothing can change in between.
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
"""Largest total size of a bundle's files; a process that reads a bundle holds all in memory."""
MAX_FILES = 100
MAX_SUMS_BYTES = 64 * 1024

_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9][A-Za-z0-9._-]{0,127})")


def format_sums(files: Mapping[str, bytes]) -> bytes:
    """Format the SHA256SUMS of files, given as contents by name."""
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)]
    return "".join(lines).encode("ascii")


def parse_sums(text: bytes, where: str) -> dict[str, str]:
    """Parse the bytes of a SHA256SUMS.

    Args:
        text: Content of the file.
        where: Name of the file in messages.

    Returns:
        Hex digests by file name.

    Raises:
        BundleRefusedError: for a line in another form than `<64 lower-case hex>  <plain name>`, for
            a name that occurs twice, and for a file that does not end with a newline.
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
            raise BundleRefusedError(
                f"{where}:{number}: {name} must not be listed here (again); write the bundle again"
            )
        sums[name] = digest
    return sums


def read_verified(folder: Path) -> tuple[dict[str, bytes], str]:
    """Read all files of a bundle except SHA256SUMS, and check them against it.

    Args:
        folder: The bundle's folder.

    Returns:
        Contents by name, and the SHA-256 of SHA256SUMS itself, which identifies the bundle's exact
        content.

    Raises:
        BundleRefusedError: if the folder has other files than SHA256SUMS names, has links or
            folders, has too many files or bytes, or if a file has another digest.
    """
    present = _plain_files(folder)
    if SUMS_FILE not in present:
        raise BundleRefusedError(
            f"{folder}: has no {SUMS_FILE}; it is not a model bundle, or its copy is not complete"
        )
    check_size(present, folder)
    contents = {SUMS_FILE: read_plain(folder / SUMS_FILE, MAX_SUMS_BYTES)}
    named = _named(present.keys(), contents[SUMS_FILE], folder)
    # Each file is limited to its size above: a file that has grown since could exceed the total.
    contents |= {name: read_plain(folder / name, present[name]) for name in named}
    return checked(contents, folder), hashlib.sha256(contents[SUMS_FILE]).hexdigest()


def check_size(sizes: Mapping[str, int], folder: Path) -> None:
    """Refuse files whose total size is too large.

    Args:
        sizes: Sizes in bytes, by name.
        folder: The bundle's folder, for messages.

    Raises:
        BundleRefusedError: naming the largest file.
    """
    total = sum(sizes.values())
    if total > MAX_BUNDLE_BYTES:
        largest = max(sizes, key=lambda name: sizes[name])
        raise BundleRefusedError(
            f"{folder}: its files have {total:,} bytes together, {largest} {sizes[largest]:,} of "
            f"them; a bundle may have {MAX_BUNDLE_BYTES:,}: write a smaller one"
        )


def checked(contents: Mapping[str, bytes], folder: Path) -> dict[str, bytes]:
    """Check the files of a bundle against its SHA256SUMS.

    Args:
        contents: Contents by name, with SHA256SUMS.
        folder: The bundle's folder, for messages.

    Returns:
        Contents by name, without SHA256SUMS.

    Raises:
        BundleRefusedError: if a file is missing, not listed or changed.
    """
    sums = _named(contents.keys(), contents[SUMS_FILE], folder)
    for name, expected in sums.items():
        actual = hashlib.sha256(contents[name]).hexdigest()
        if actual != expected:
            raise BundleRefusedError(
                f"{folder / name}: has the SHA-256 {actual}, {SUMS_FILE} says {expected}; "
                "the file was changed or damaged: copy the bundle again"
            )
    return {name: contents[name] for name in sums}


def _named(present: AbstractSet[str], text: bytes, folder: Path) -> dict[str, str]:
    """Parse SHA256SUMS, and check that it names exactly the files that are present."""
    sums = parse_sums(text, str(folder / SUMS_FILE))
    missing = sorted(sums.keys() - present)
    unlisted = sorted(present - sums.keys() - {SUMS_FILE})
    if missing:
        raise BundleRefusedError(
            f"{folder}: {', '.join(missing)} named in {SUMS_FILE} but not there; copy the bundle "
            "again"
        )
    if unlisted:
        raise BundleRefusedError(
            f"{folder}: {', '.join(unlisted)} not named in {SUMS_FILE}; "
            "remove what does not belong to the bundle"
        )
    return sums


def _plain_files(folder: Path) -> dict[str, int]:
    """Sizes in bytes of the files in a folder, by name; other entries raise BundleRefusedError."""
    sizes: dict[str, int] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.is_file(follow_symlinks=False):
                    raise BundleRefusedError(
                        f"{entry.path}: is a link, a folder or a special file; "
                        "a bundle holds plain files only"
                    )
                if len(sizes) == MAX_FILES:
                    raise BundleRefusedError(
                        f"{folder}: holds more than {MAX_FILES} files; it is not a model bundle"
                    )
                sizes[entry.name] = entry.stat(follow_symlinks=False).st_size
    except OSError as error:
        raise BundleRefusedError(
            f"{folder}: cannot be read as a model bundle folder ({error.strerror}); put a "
            "bundle there, or name another"
        ) from error
    return sizes


def read_plain(path: Path, bound: int) -> bytes:
    """Read a plain file of at most `bound` bytes; links are not followed.

    Raises:
        BundleRefusedError: if it is not a plain file, is larger, or cannot be read.
    """
    try:
        # Without O_NONBLOCK, the opening of a FIFO would wait for a writer.
        flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        handle = os.open(path, os.O_RDONLY | flags)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise BundleRefusedError(f"{path}: is not a plain file")
            content = file.read(status.st_size + 1) if status.st_size <= bound else None
    except OSError as error:
        raise BundleRefusedError(f"{path}: cannot be read ({error.strerror})") from error
    if content is None or len(content) > bound:
        raise BundleRefusedError(
            f"{path}: is larger than the {bound:,} bytes allowed here; it is another kind of file, "
            "or is still being written"
        )
    return content
