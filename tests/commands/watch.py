"""Run the unit tests that concern a change, each time a file is saved: `make watch`.

A test concerns a module when it, or a module of tests/support that it uses, imports the module or
the package that holds it.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
WATCHED = (
    "base",
    "schemas",
    "features",
    "models",
    "worker",
    "tools",
    "tests/support",
    "tests/unit",
)
POLL_S = 0.5


def changed_at() -> dict[Path, int]:
    """Modification times of the watched files."""
    times = {}
    for folder in WATCHED:
        for path in (ROOT / folder).rglob("*.py"):
            try:
                times[path] = path.stat().st_mtime_ns
            except FileNotFoundError:
                continue
    return times


def imports(path: Path) -> set[str]:
    """Names of the modules that a file imports."""
    try:
        tree = ast.parse(path.read_text())
    except SyntaxError:
        return set()
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def name_of(path: Path) -> str:
    """Dotted name of a module."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def concerned(changed: set[Path]) -> list[Path]:
    """Unit tests of the changed files, or the changed tests themselves."""
    names = {name for path in changed for name in (name_of(path), name_of(path.parent))}
    for helper in (ROOT / "tests" / "support").glob("*.py"):
        if imports(helper) & names:
            names.add(name_of(helper))
    tests = (ROOT / "tests" / "unit").rglob("test_*.py")
    return sorted(path for path in tests if path in changed or imports(path) & names)


def main() -> None:
    """Watch until interrupted."""
    before = changed_at()
    print(f"watching {', '.join(WATCHED)}; Ctrl-C ends it")
    while True:
        time.sleep(POLL_S)
        now = changed_at()
        changed = {path for path, at in now.items() if before.get(path) != at}
        before = now
        if not changed:
            continue
        tests = [str(path.relative_to(ROOT)) for path in concerned(changed)]
        print(f"\n{', '.join(sorted(path.name for path in changed))}: {len(tests)} test files")
        if tests:
            command = [sys.executable, "-m", "pytest", "-q", "--no-header", *tests]
            subprocess.run(command, cwd=ROOT, check=False)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print()
