"""What import-linter does not see: the folders that are no packages."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Of tests/support and tests/commands, the modules that system tests are made of.
SUPPORT = ("changes", "command", "exchange", "fleet", "load", "odd_registry", "replica", "rig")
COMMANDS = ("chaos", "hostile", "swaps")
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
    tests = ROOT / "tests"
    parts = [
        *(tests / "system").rglob("*.py"),
        *(tests / "support").glob("hostile_*.py"),
        *(tests / "support" / f"{name}.py" for name in SUPPORT),
        *(tests / "commands" / f"{name}.py" for name in COMMANDS),
    ]
    for path in parts:
        for name in imported(path):
            allowed = name.split(".")[0] not in OURS or name.startswith("tools.embedded")
            assert allowed, f"{path.relative_to(ROOT)} imports {name}"
