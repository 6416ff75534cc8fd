"""HTML parts of every page; a page refers to nothing outside itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from models.report.style import STYLE


def page(title: str, sections: Iterable[str]) -> str:
    """One HTML file. title: text; sections: HTML."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{''.join(sections)}</main>\n</body>\n</html>\n"
    )


def section(title: str, words: str, content: str) -> str:
    """A box with a heading; all HTML."""
    told = f"<p>{words}</p>" if words else ""
    return f"<section><h2>{title}</h2>{told}{content}</section>\n"


def tiles(given: Iterable[tuple[str, str, str]]) -> str:
    """Numbers to see first: name, value and note of each."""
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile"><span>{name}</span><b>{value}</b><small>{note}</small></div>'
            for name, value, note in given
        )
        + "</div>\n"
    )


def table(titles: Sequence[str], rows: str) -> str:
    """HTML table.

    Args:
        titles: Texts of the head.
        rows: HTML of the rows.
    """
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>{rows}</table></div>'


def facts(items: Mapping[str, str]) -> str:
    """Names with their values, as HTML."""
    inner = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in items.items())
    return f"<dl>{inner}</dl>"


def count(number: int, what: str) -> str:
    """A number of things in words: 1 fold, 2 folds."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
