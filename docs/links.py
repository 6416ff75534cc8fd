"""Hook of MkDocs: links from pages to files of the repository outside docs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

_LINK = re.compile(r"\[([^\]]*)\]\((\.\.?/[^)\s#]+)\)")
_SHOWN = {".avsc", ".json", ".png", ".svg", ".yaml"}


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Copy data files and pictures that a page links to into the site; other links become text."""
    docs = Path(config.docs_dir)
    here = docs / Path(page.file.src_uri).parent

    def resolve(link: re.Match[str]) -> str:
        label, path = link.groups()
        target = (here / path).resolve()
        if target.is_relative_to(docs):
            return link[0]
        if not target.exists():
            raise FileNotFoundError(f"{page.file.src_uri}: {path}")
        if target.suffix not in _SHOWN:
            return label
        uri = f"repository/{target.relative_to(docs.parent).as_posix()}"
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, abs_src_path=str(target)))
        depth = page.file.src_uri.count("/")
        return f"[{label}]({'../' * depth}{uri})"

    return _LINK.sub(resolve, markdown)
