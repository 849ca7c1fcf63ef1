"""Checks of the built site: HTML, links, and nothing fetched from elsewhere."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import html5lib
from projects import REPOSITORY, ROOT, SITE


@dataclass
class Page:
    """What the checks need to know of one page."""

    path: Path
    faults: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)


def read_page(path: Path) -> Page:
    """Read a page as a browser does, and note where it is no valid HTML."""
    page = Page(path)
    parser = html5lib.HTMLParser(namespaceHTMLElements=False)
    tree = parser.parse(path.read_text(encoding="utf-8"))
    page.faults += [f"line {place[0]}: {code}" for place, code, _ in parser.errors]
    for node in tree.iter():
        if "id" in node.attrib:
            page.ids.append(node.attrib["id"])
        if node.tag == "a" and "href" in node.attrib:
            page.links.append(node.attrib["href"])
        if node.tag in ("script", "img", "iframe") and "src" in node.attrib:
            page.fetched.append(node.attrib["src"])
        if node.tag == "link" and node.attrib.get("rel") in ("stylesheet", "icon", "preload"):
            page.fetched.append(node.attrib["href"])
        if node.tag == "img" and not node.attrib.get("alt"):
            page.faults.append(f"the picture {node.attrib.get('src')} has no alt text")
    return page


def read_pages(folder: Path) -> dict[Path, Page]:
    """Read every page of a language."""
    paths = sorted(folder.rglob("*.html"))
    with ProcessPoolExecutor() as pool:
        return dict(zip(paths, pool.map(read_page, paths, chunksize=4), strict=True))


def faults_of(folder: Path, pages: Mapping[Path, Page]) -> Iterator[str]:
    """Yield a line for each fault in the pages of a language."""
    for path, page in pages.items():
        name = path.relative_to(folder)
        yield from (f"{name}: {fault}" for fault in page.faults)
        yield from (f"{name}: two elements have the id {one!r}" for one in twice(page.ids))
        yield from (f"{name}: fetches {one} from elsewhere" for one in page.fetched if urlsplit(one).scheme)
        for link in {*page.links, *page.fetched}:
            reason = broken(link, path, pages)
            if reason:
                yield f"{name}: the link {link!r} {reason}"


def search_faults(folder: Path) -> Iterator[str]:
    """Yield a line where the search of a language names a stemmer that its page has not: it would never end."""
    text = (folder / "_static/language_data.js").read_text(encoding="utf-8")
    for name in re.findall(r"window\.Stemmer = (\w+)", text):
        if not re.search(rf"\b{name} ?= ?function", text):
            yield f"search: _static/language_data.js has no {name}"


def twice(values: Iterable[str]) -> list[str]:
    """Return what occurs more than once."""
    seen: set[str] = set()
    return [value for value in values if value in seen or seen.add(value)]  # type: ignore[func-returns-value]


def broken(link: str, path: Path, pages: Mapping[Path, Page]) -> str | None:
    """Return why a link inside of the site, or into the repository, leads nowhere; None where it is well."""
    address, part = urldefrag(link)
    if address.startswith((f"{REPOSITORY}/blob/main/", f"{REPOSITORY}/tree/main/")):
        there = ROOT / unquote(address.removeprefix(REPOSITORY).split("/", 3)[3])
        return None if there.exists() else "names no file of the repository"
    if urlsplit(address).scheme or link in ("#", ""):
        return None
    target = (path.parent / unquote(urlsplit(address).path)).resolve() if address else path
    if target not in pages:
        other_language = not target.is_relative_to(next(iter(pages)).parents[0]) and not target.parent.exists()
        return None if other_language or target.exists() else "leads to no file"
    if part and unquote(part) not in pages[target].ids:
        return "names no part of its page"
    return None


def outside(pages: Iterable[Page]) -> dict[str, str]:
    """Return the addresses of other sites, each with a page that links to it; our own are built and not there yet."""
    found = {link: page.path.name for page in pages for link in page.links if link.startswith("http")}
    return {link: page for link, page in sorted(found.items()) if not link.startswith((REPOSITORY, SITE))}


def dead(addresses: Mapping[str, str]) -> list[str]:
    """Ask for each address; return those that answer with an error, or not at all."""

    def ask(address: str) -> str | None:
        request = urllib.request.Request(urldefrag(address)[0], headers={"User-Agent": "Mozilla/5.0 (link check)"})
        error = ""
        for _ in range(3):
            try:
                with urllib.request.urlopen(request, timeout=30):
                    return None
            except urllib.error.HTTPError as answer:
                if answer.code in (403, 429):  # there, and not for programs
                    return None
                error = f"answers {answer.code}"
            except OSError as fault:
                error = f"does not answer: {fault}"
        return f"{addresses[address]}: {address} {error}"

    with ThreadPoolExecutor(16) as pool:
        return [line for line in pool.map(ask, addresses) if line]
