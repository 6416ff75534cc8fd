"""Links, commands, options, paths and generated pages of the documentation, and the built site."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer

from benchmarks.evaluate.libraries import table_of
from benchmarks.pictures import __main__ as pictures
from benchmarks.report import newest
from tools.cli.commands import app
from tools.demo.prepare import simulate_files
from tools.manual import __main__ as manual

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
        r"(?:`|^ {4})fraud-worker (\w[\w-]*)(?: (\w[\w-]*))?", text, re.MULTILINE
    ):
        groups = {name.split()[0] for name in known} if not second else set()
        assert first in known | groups or f"{first} {second}" in known, f"{first} {second}"
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in re.findall(r"(?:`|^ {4})(?:\$ )?make ([a-z ]+)", text, re.MULTILINE):
        named = line.split("  ")[0].split()
        assert set(named) <= targets, f"make {line}"


def test_the_readme_shows_every_command() -> None:
    text = (ROOT / "README.md").read_text()
    shown = set()
    for row in re.findall(r"^\| `fraud-worker (.+?) \|", text, re.MULTILINE):
        first, *others = re.findall(r"[a-z-]+(?: [a-z-]+)?", row)
        group = f"{first.split()[0]} " if " " in first else ""
        shown |= {first, *(group + other.removeprefix(group) for other in others)}
    assert shown == commands(app)


def parameters(group: Any, before: str = "") -> dict[str, list[Any]]:
    """The parameters of each command, by its name: ``run``, ``dev up``."""
    found: dict[str, list[Any]] = {}
    for name, command in group.commands.items():
        under = hasattr(command, "commands")
        found |= parameters(command, f"{name} ") if under else {before + name: command.params}
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_are_those_of_the_command(page: Path) -> None:
    every = parameters(typer.main.get_command(app))
    text = page.read_text()
    for line in re.findall(r"(?:`|^ {4}(?:\$ )?)fraud-worker ([^`\n]+)", text, re.MULTILINE):
        named = [name for name in every if re.match(rf"{name}\b", line)]
        known = {opt for name in named for parameter in every[name] for opt in parameter.opts}
        for option in re.findall(r"(?<= )--[a-z-]+", line):
            assert option in known | {"--help", "--version", "--install-completion"}, line


def test_the_commands_without_a_pipeline_are_named() -> None:
    every = parameters(typer.main.get_command(app))
    optional = re.search(
        r"folders as arguments\. (.*?) need no pipeline;", manual.PAGES["commands.md"]()
    )
    assert optional is not None
    own = {
        name: next((parameter for parameter in known if "--pipeline" in parameter.opts), None)
        for name, known in every.items()
    }
    assert set(re.findall(r"`([a-z ]+)`", optional[1])) == {
        name for name, option in own.items() if option is not None and option.default is None
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_of_the_repository_exist(page: Path) -> None:
    top = "base|schemas|features|models|worker|tools|tests|benchmarks|examples|docs|k8s|locks"
    for path in re.findall(rf"`((?:{top})/[\w./*-]*)`", page.read_text()):
        assert any(ROOT.glob(path.rstrip("/"))), f"{page.name}: {path}"


@pytest.mark.parametrize("name", manual.PAGES)
def test_generated_pages_are_up_to_date(name: str) -> None:
    assert (manual.FOLDER / name).read_text() == manual.MARK + manual.PAGES[name](), (
        "run: make docs"
    )


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 200


def test_the_commands_in_the_readme_are_those_of_the_tutorial() -> None:
    tutorial = (ROOT / "docs" / "tutorials" / "first-pipeline.md").read_text()
    lines = re.findall(r"^ {4,}(\S.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    for begin, least in (("fraud-worker", 6), ("- {name: ", 4), ("{'event_id': 't-3'", 1)):
        shown = [line for line in lines if line.startswith(begin)]
        assert len(shown) >= least
        for line in shown:
            assert f"{line}\n" in tutorial, line


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_pictures_show_the_newest_results(name: str) -> None:
    assert (pictures.FOLDER / name).read_text("utf-8") == pictures.render(name), (
        "run: make pictures"
    )


def test_the_page_on_other_libraries_shows_the_newest_result() -> None:
    recorded = newest("libraries")
    assert recorded is not None
    page = (ROOT / "docs" / "how-to" / "serve-another-model.md").read_text("utf-8")
    result = json.loads(recorded.read_text("utf-8"))
    assert "\n".join(["<!-- libraries -->", *table_of(result), "<!-- /libraries -->"]) in page
    assert f"benchmarks/results/{recorded.name})" in page


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_pictures_are_svg_that_load_nothing(name: str) -> None:
    text = (pictures.FOLDER / name).read_text("utf-8")
    assert ET.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - our own file
    assert text.count("://") == 1


def test_the_recorded_demo_has_the_history_that_is_simulated(tmp_path: Path) -> None:
    recorded = newest("demo")
    assert recorded is not None
    text = "\n".join(line["text"] for line in json.loads(recorded.read_text())["lines"])
    history = simulate_files(tmp_path, 20_000).known
    assert f"computed the features of {history:,} events" in text
    assert re.search(rf"│ of them history +│ +{history:,} │", text)
    assert re.search(rf"│ events in the input topic │ +{history + 20_000:,} │", text)
    assert f"plays {history + 20_000:,} events" in (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as ``make docs`` builds it: strict, so that a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT / "mkdocs.yml", folder)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def build(configuration: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "-f", configuration, "-d", folder],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_page_is_built(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        built = page.relative_to(ROOT / "docs").with_suffix(".html")
        assert (site / built).is_file(), built


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page.read_text()):
            assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", tag), f"{page.name}: {tag}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# Other\n", 'not included in the "nav"'),
        ("# Other\n\n[a](missing.md)\n", "missing.md"),
        ("# Other\n\n[a](index.md#nowhere)\n", "nowhere"),
    ],
)
def test_a_broken_site_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Index\n")
    (tmp_path / "docs" / "other.md").write_text(text)
    shutil.copy(ROOT / "docs" / "links.py", tmp_path / "docs")
    settings, _, _ = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")
    pages = ["index.md"] if "nav" in message else ["index.md", "other.md"]
    (tmp_path / "mkdocs.yml").write_text(f"{settings}\nnav: {json.dumps(pages)}\n")
    built = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert built.returncode == 1
    assert message in built.stdout + built.stderr


def test_decisions_are_numbered_without_a_gap() -> None:
    paths = sorted((ROOT / "docs" / "explanation" / "decisions").glob("0*.md"))
    assert [int(path.name[:4]) for path in paths] == list(range(1, len(paths) + 1))
    for path in paths:
        assert path.read_text().startswith(f"# {int(path.name[:4])}. "), path.name
