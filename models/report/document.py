"""HTML pages without external resources: style sheet, page, sections, tiles and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final

_STYLE: Final = """
:root { color-scheme: light; --ink: #1f2933; --grey: #616e7c; --line: #e4e7eb; --blue: #2563a8; }
* { box-sizing: border-box; }
body { margin: 0; background: #f5f7fa; color: var(--ink);
  font: 15px/1.5 Inter, "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 36px 24px 64px; }
header h1 { margin: 0; font-size: 28px; letter-spacing: -.01em; }
header p { margin: 6px 0 0; color: var(--grey); }
section, .tile { background: #fff; border: 1px solid var(--line); border-radius: 10px; }
section { margin-top: 20px; padding: 22px 26px; }
h2 { margin: 0; font-size: 18px; }
section > p, .pair p { margin: 4px 0 12px; color: var(--grey); max-width: 76ch; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 12px;
  margin-top: 22px; }
.tile { padding: 14px 18px; }
.tile b { display: block; font-size: 26px; font-weight: 600; letter-spacing: -.02em; }
.tile span { display: block; color: var(--grey); font-size: 13px; }
.tile small { color: #9aa5b1; font-size: 12px; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 20px; }
svg { display: block; width: 100%; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; \
font-variant-numeric: tabular-nums; }
th, td { padding: 7px 10px; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { color: var(--grey); font-weight: 500; vertical-align: bottom; }
td small { color: #9aa5b1; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tr.band td { background: #f0f6fc; font-weight: 600; }
td.words { text-align: left; white-space: normal; min-width: 300px; color: var(--grey);
  font-size: 12px; line-height: 1.35; font-weight: 400; }
td.bad { color: #c2410c; }
td .mark { color: #fff; background: var(--blue); border-radius: 4px; padding: 1px 6px;
  margin-left: 8px; font-size: 11.5px; font-weight: 500; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 6px 24px; margin: 12px 0 0; }
dt { color: var(--grey); }
dd { margin: 0; overflow-wrap: anywhere; }
code { font-size: 12.5px; }
@media (max-width: 760px) { .pair { grid-template-columns: 1fr; } }
@media print { body { background: #fff; } section, .tile { break-inside: avoid; } }
"""


def page(title: str, sections: Iterable[str]) -> str:
    """Make an HTML page.

    Args:
        title: Title as plain text.
        sections: Sections as HTML.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{''.join(sections)}</main>\n</body>\n</html>\n"
    )


def section(title: str, text: str, content: str) -> str:
    """Make a box with a heading, an optional paragraph and content; all arguments are HTML."""
    paragraph = f"<p>{text}</p>" if text else ""
    return f"<section><h2>{title}</h2>{paragraph}{content}</section>\n"


def tiles(numbers: Iterable[tuple[str, str, str]]) -> str:
    """Make tiles for the most important numbers, each with (name, value, note)."""
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile"><span>{name}</span><b>{value}</b><small>{note}</small></div>'
            for name, value, note in numbers
        )
        + "</div>\n"
    )


def table(titles: Sequence[str], rows: str) -> str:
    """Make a table.

    Args:
        titles: Column titles as plain text.
        rows: Rows as HTML.
    """
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>{rows}</table></div>'


def facts(items: Mapping[str, str]) -> str:
    """Make a list of names with their values; all are HTML."""
    inner = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in items.items())
    return f"<dl>{inner}</dl>"


def count(number: int, noun: str) -> str:
    """Format a number with its noun: 1 fold, 2 folds."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
