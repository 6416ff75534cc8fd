"""What import-linter does not see: the folders that are no packages."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
# A worker with a bug built in, run as a process: it is what the tests look at, not one of them.
LOOKED_AT = {"buggy_worker.py"}
OURS = {"base", "schemas", "features", "models", "worker", "tools"}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_system_tests_see_the_worker_from_outside() -> None:
    for path in (ROOT / "tests" / "system").rglob("*.py"):
        if path.name in LOOKED_AT:
            continue
        for name in imported(path):
            allowed = name.split(".")[0] not in OURS or name.startswith("tools.embedded")
            assert allowed, f"{path.relative_to(ROOT)} imports {name}"
