"""A link from a page to a file or folder of the repository that is no page leads to the repository's own address."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from sphinx.application import Sphinx

LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
CODE = re.compile(r"^(?:```|~~~|:::).*?^(?:```|~~~|:::)$", re.DOTALL | re.MULTILINE)


def lead_to_repository(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace the target of each such link in a page's source; pictures and pages stay."""
    pages = Path(app.srcdir).resolve()
    here = (pages / page).parent

    def address(match: re.Match[str]) -> str:
        found = (here / unquote(match[1])).resolve()
        if not found.exists() or found.is_relative_to(pages) or not found.is_relative_to(pages.parent):
            return match[0]
        kind = "tree" if found.is_dir() else "blob"
        return f"{app.config.repository}/{kind}/main/{found.relative_to(pages.parent).as_posix()}{match[2] or ''}"

    parts, end = [], 0
    for code in CODE.finditer(source[0]):
        parts += [LINK.sub(address, source[0][end : code.start()]), code[0]]
        end = code.end()
    source[0] = "".join([*parts, LINK.sub(address, source[0][end:])])


def lead_to_tests(app: Sphinx, page: str, source: list[str]) -> None:
    """On the page of differences, make the name of each test a link to its line."""
    root = Path(app.srcdir).resolve().parent

    def link(match: re.Match[str]) -> str:
        path = root / match[1]
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        found = [at for at, line in enumerate(lines, 1) if re.match(rf"\s*def {match[2]}\b", line)]
        return f"[{match[0]}]({app.config.repository}/blob/main/{match[1]}#L{found[0]})" if found else match[0]

    if page == "differences":
        source[0] = TEST.sub(link, source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_config_value("repository", "", "env", str)
    app.connect("source-read", lead_to_repository)
    app.connect("source-read", lead_to_tests)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
