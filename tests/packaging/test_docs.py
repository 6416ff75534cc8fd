"""What the documentation points to exists: files, headings, commands, targets of make."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer

from tools.cli.commands import app
from tools.demo.prepare import simulate_files

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def links(page: Path) -> Iterator[str]:
    yield from re.findall(r"\]\(([^)\s]+)\)", _FENCED.sub("", page.read_text()))


def anchors(page: Path) -> set[str]:
    """The headings of a page, as its anchors are written."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(group: typer.Typer) -> set[str]:
    """The names of all commands: ``run``, ``dev up``."""
    found = {str(command.name) for command in group.registered_commands if command.name}
    found |= {
        command.callback.__name__
        for command in group.registered_commands
        if command.name is None and command.callback is not None
    }
    for under in group.registered_groups:
        assert under.typer_instance is not None
        found |= {f"{under.name} {name}" for name in commands(under.typer_instance)}
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = (page.parent / parts.path).resolve() if parts.path else page
        assert target.exists(), f"{page.name}: {link}"
        assert target.is_relative_to(ROOT), f"{page.name}: {link}"
        if parts.fragment:
            assert parts.fragment in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_targets_exist(page: Path) -> None:
    text = page.read_text()
    known = commands(app)
    for first, second in re.findall(
        r"(?:`|^ {4})fraud-worker (\w+)(?: (\w+))?", text, re.MULTILINE
    ):
        assert first in known or f"{first} {second}" in known, f"fraud-worker {first} {second}"
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in re.findall(r"(?:`|^ {4})(?:\$ )?make ([a-z ]+)", text, re.MULTILINE):
        named = line.split("  ")[0].split()
        assert set(named) <= targets, f"make {line}"


def test_the_readme_shows_every_command() -> None:
    text = (ROOT / "README.md").read_text()
    rows = " ".join(re.findall(r"^\| (`fraud-worker .+?) \|", text, re.MULTILINE))
    for name in commands(app):
        assert re.search(rf"`(fraud-worker )?{name}\b", rows), name


def parameters(group: Any, before: str = "") -> dict[str, list[Any]]:
    """The parameters of each command, by its name: ``run``, ``dev up``."""
    found: dict[str, list[Any]] = {}
    for name, command in group.commands.items():
        under = hasattr(command, "commands")
        found |= parameters(command, f"{name} ") if under else {before + name: command.params}
    return found


def of_pipeline(own: list[Any]) -> Any:
    return next((parameter for parameter in own if "--pipeline" in parameter.opts), None)


def test_the_readme_knows_which_commands_take_a_pipeline() -> None:
    text = (ROOT / "README.md").read_text()
    every = parameters(typer.main.get_command(app))
    none = re.search(r"No pipeline is taken by (.*?)\. `fraud", text)
    assert none is not None
    assert set(re.findall(r"`([a-z ]+)`", none[1])) == {
        name for name, own in every.items() if of_pipeline(own) is None
    }
    optional = re.search(r"\. (`model verify`.*?) do without one", text)
    assert optional is not None
    assert set(re.findall(r"`([a-z ]+)`", optional[1])) == {
        name
        for name, own in every.items()
        if (option := of_pipeline(own)) is not None and option.default is None
    }


def test_options_in_the_readme_are_the_commands_own() -> None:
    text = (ROOT / "README.md").read_text()
    every = parameters(typer.main.get_command(app))
    rows = re.findall(r"^\| (`fraud-worker .+?) \|(.*)\|$", text, re.MULTILINE)
    for left, right in rows:
        named = [name for name in every if re.search(rf"(`|worker ){name}\b", left)]
        known = {opt for name in named for parameter in every[name] for opt in parameter.opts}
        assert named, left
        for option in re.findall(r"--[a-z-]+", left + right):
            assert option in known, f"{left}: {option}"


def test_the_demo_in_the_readme_has_the_history_that_is_simulated(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    history = simulate_files(tmp_path, 20_000).known
    assert f"computed the features of {history:,} events" in text
    assert re.search(rf"│ of them history +│ +{history:,} │", text)
    assert re.search(rf"│ events in the input topic │ +{history + 20_000:,} │", text)


def test_decisions_are_numbered_without_a_gap() -> None:
    names = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
    for path in (ROOT / "docs" / "decisions").glob("*.md"):
        assert path.read_text().startswith(f"# {int(path.name[:4])}. "), path.name
