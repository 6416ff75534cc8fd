"""Names and docstrings of the shipped packages."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("base", "schemas", "features", "models", "worker", "tools")
# An opening that leaves out its noun: "Of one entity: …", "Whether it holds".
OPENINGS = {"What", "Of", "Whether", "How", "Which", "Where", "Who", "As"}
COLUMNS = 100
# Classes that share a name, and why.
SHARED: dict[str, str] = {}
# Modules that nothing imports: they are started by their name.
STARTED = {
    "tools.__main__",
    "models.sandbox.child",
    "tools.embedded.guard",
    "tools.manual.__main__",
}

Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text())


def definitions(tree: ast.Module) -> Iterator[Definition]:
    return (node for node in ast.walk(tree) if isinstance(node, Definition))


def dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("package", PACKAGES)
def test_docstrings_open_with_a_noun_phrase_or_an_imperative(package: str) -> None:
    found = [
        f"{path}: {ast.get_docstring(node)!r:.60}"
        for path, tree in modules()
        if path.parts[0] == package
        for node in definitions(tree)
        if (ast.get_docstring(node) or " -").split()[0].strip(",:;") in OPENINGS
    ]
    assert not found


def test_lines_of_docstrings_have_at_most_100_columns() -> None:
    found = []
    for path, tree in modules():
        lines = (ROOT / path).read_text().splitlines()
        for node in definitions(tree):
            if ast.get_docstring(node) is not None:
                first, last = node.body[0].lineno, node.body[0].end_lineno or 0
                rows = range(first, last + 1)
                found += [f"{path}:{row}" for row in rows if len(lines[row - 1]) > COLUMNS]
    assert not found


def test_no_two_classes_share_a_name() -> None:
    where = defaultdict(list)
    for path, tree in modules():
        for node in definitions(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where[node.name].append(str(path))
    shared = {name: paths for name, paths in where.items() if len(paths) > 1}
    assert {name: paths for name, paths in shared.items() if name not in SHARED} == {}
    assert SHARED.keys() <= shared.keys()


def test_no_file_name_occurs_more_than_twice() -> None:
    where = defaultdict(list)
    for path, _ in modules():
        where[path.name].append(str(path))
    where.pop("__init__.py")
    assert {name: paths for name, paths in where.items() if len(paths) > 2} == {}


def test_every_module_has_an_importer_or_is_started() -> None:
    known = {dotted(path) for path, _ in modules()}
    imported = set()
    for path, tree in modules():
        package = dotted(path) if path.name == "__init__.py" else dotted(path.parent)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: a relative import in {package}"
                imported |= {f"{node.module}.{alias.name}" for alias in node.names}
                imported.add(str(node.module))
    packages = {dotted(path) for path, _ in modules() if path.name == "__init__.py"}
    assert known - imported - packages - STARTED == set()


def test_the_tree_of_exceptions_is_complete() -> None:
    """The tree in the docstring of base/errors.py, line by line, with the base of each class."""
    tree, above = {}, ["Exception"]
    text = ast.get_docstring(ast.parse((ROOT / "base" / "errors.py").read_text())) or ""
    for match in re.finditer(r"^([│ ]*)[├└]── (?:\w+\.)*(\w+)", text, re.MULTILINE):
        depth = len(match[1]) // 4 + 1
        tree[match[2]] = above[depth - 1]
        above[depth:] = [match[2]]
    declared = {
        node.name: ast.unparse(node.bases[0])
        for _, module in modules()
        for node in definitions(module)
        if isinstance(node, ast.ClassDef) and re.match(r"[A-Z].*Error$", node.name) and node.bases
    }
    # The bases that others declare.
    foreign = {"ResponseError": "Exception", "ValueError": "Exception"}
    assert tree == declared | foreign
