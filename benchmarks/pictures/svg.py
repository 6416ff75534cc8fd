"""Parts that both pictures share: a dark card, readable on a light and on a dark page."""

from __future__ import annotations

from html import escape

TEXT = "#e6edf3"
MUTED = "#9198a1"
BLUE = "#58a6ff"
GREEN = "#3fb950"
GREY = "#4d5763"
_BACKGROUND = "#0d1117"
_BORDER = "#3d444d"


def card(width: int, height: int, title: str, body: str, style: str = "") -> str:
    """A whole SVG file. title: text for readers who do not see the picture."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" font-size="13">\n'
        f"<title>{escape(title)}</title>\n"
        "<style>text { font-family: ui-sans-serif, system-ui, sans-serif } "
        ".mono { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 12px; "
        f"white-space: pre }} {style}</style>\n"
        f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8" '
        f'fill="{_BACKGROUND}" stroke="{_BORDER}"/>\n'
        f"{body}</svg>\n"
    )


def text(x: float, y: float, content: str, fill: str = TEXT, more: str = "") -> str:
    """One line of text. more: further attributes."""
    return f'<text x="{x:g}" y="{y:g}" fill="{fill}" {more}>{escape(content)}</text>\n'


def bar(x: float, y: float, width: float, fill: str) -> str:
    """A horizontal bar."""
    return f'<rect x="{x:g}" y="{y:g}" width="{max(width, 2):.1f}" height="16" rx="2" fill="{fill}"/>\n'
