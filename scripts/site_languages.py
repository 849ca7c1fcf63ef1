"""Compare the pages of two languages as they were built: same headings, code, figures, tables and links."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

SORTED = {"genindex.html", "py-modindex.html"}
"""Pages that Sphinx makes, in the order of the language's own letters."""
PARTS = ("headings", "code", "figures", "tables", "links")


class Outline(HTMLParser):
    """What of a page is no prose: each kind of part as a list, in the order of the page.

    >>> outline_of("<article><section id='a'><h1>A</h1><pre>x = 1</pre></section></article>")["headings"]
    ['a', 'h1']
    """

    def __init__(self) -> None:
        super().__init__()
        self.parts: dict[str, list[str]] = {name: [] for name in PARTS}
        self._inside = self._in_code = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a part that begins."""
        given = {name: value or "" for name, value in attrs}
        self._inside = self._inside or tag == "article"
        if not self._inside:
            return
        if tag in ("h1", "h2", "h3", "h4", "h5", "h6"):
            self.parts["headings"].append(tag)
        elif tag == "section":
            self.parts["headings"].append(given.get("id", ""))
        elif tag == "pre":
            self._in_code = True
            self.parts["code"].append("")
        elif tag == "img":
            self.parts["figures"].append(given.get("src", ""))
        elif tag in ("table", "tr", "th", "td"):
            self.parts["tables"].append(tag)
        elif tag == "a":
            self.parts["links"].append(given.get("href", ""))

    def handle_endtag(self, tag: str) -> None:
        """Note what ends."""
        self._inside = self._inside and tag != "article"
        self._in_code = self._in_code and tag != "pre"

    def handle_data(self, data: str) -> None:
        """Keep code, and no other text."""
        if self._in_code:
            self.parts["code"][-1] += data


def outline_of(page: str) -> dict[str, list[str]]:
    """Return the parts of a page; links without their order, as a sentence may turn round."""
    outline = Outline()
    outline.feed(page)
    return outline.parts | {"links": sorted(outline.parts["links"])}


def differences(one: Path, other: Path) -> list[str]:
    """Say in which parts the pages of two folders differ, and which pages only one of them has."""
    pages = [{str(path.relative_to(folder)) for path in folder.rglob("*.html")} - SORTED for folder in (one, other)]
    found = [f"{name}: in one language only" for name in sorted(pages[0] ^ pages[1])]
    for name in sorted(pages[0] & pages[1]):
        first, second = (outline_of((folder / name).read_text(encoding="utf-8")) for folder in (one, other))
        for part in PARTS:
            if first[part] != second[part]:
                pairs = zip([*first[part], "nothing"], [*second[part], "nothing"], strict=False)
                left, right = next((pair for pair in pairs if pair[0] != pair[1]), ("", ""))
                found.append(f"{name}: {part} differ: {left!r} and {right!r}")
    return found
