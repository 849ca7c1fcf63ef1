"""What lies around the pages: the door, the list of versions, the site map, and the files for assistants."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

from projects import SITE

NOT_PAGES = {"search", "genindex", "py-modindex"}
STYLE = "body { font: 1rem/1.6 system-ui, sans-serif; max-width: 34rem; margin: 18vh auto; padding: 0 1rem }"
HEAD = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>{STYLE}</style>
"""
DOOR = f"""{HEAD}<title>seg-engine</title>
<link rel="canonical" href="{SITE}/latest/en/index.html">
<script>
const chinese = navigator.languages.find((one) => /^(zh|en)/i.test(one))?.toLowerCase().startsWith("zh");
location.replace(`latest/${{chinese ? "zh" : "en"}}/index.html`);
</script>
</head>
<body>
<h1>seg-engine</h1>
<p><a href="latest/en/index.html" hreflang="en">Documentation in English</a></p>
<p lang="zh"><a href="latest/zh/index.html" hreflang="zh">简体中文文档</a></p>
</body>
</html>
"""
MISSING = f"""{HEAD}<title>No such page: seg-engine</title>
</head>
<body>
<h1>There is no such page</h1>
<p>It may have another name in this version. <a href="{SITE}/latest/en/index.html">Documentation in English</a>,
<a href="{SITE}/latest/en/search.html">search</a></p>
<p lang="zh">没有这个页面。<a href="{SITE}/latest/zh/index.html">简体中文文档</a></p>
</body>
</html>
"""


def versions_in(out: Path) -> list[str]:
    """Return the folders of versions: `latest` first, then the newest release."""
    names = [path.name for path in out.iterdir() if (path / "en").is_dir() or (path / "zh").is_dir()]
    releases = sorted((name for name in names if re.fullmatch(r"\d+(\.\d+)*", name)), key=_numbers, reverse=True)
    return [name for name in names if name not in releases] + releases


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def pages_of(folder: Path) -> list[str]:
    """Return the pages of a built language, without their endings: those that have a source."""
    found = (path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.html"))
    return sorted(page for page in found if page not in NOT_PAGES and not page.startswith("_"))


def mend_pictures(folder: Path) -> None:
    """Make the pictures in the plain pages those that lie beside the HTML."""
    for path in folder.rglob("*.md"):
        up = "../" * (len(path.relative_to(folder).parts) - 1)
        text = path.read_text(encoding="utf-8")
        mended = re.sub(r"(!\[[^\]]*\]\()(?!https?:)[^)]*?([^)/]+\))", rf"\g<1>{up}_images/\g<2>", text)
        path.write_text(mended, encoding="utf-8")


def contents(docs: Path) -> Iterator[tuple[str, str]]:
    """Yield caption and page, as the tables of contents in the sources have them, pages below pages too."""

    def below(page: str, caption: str) -> Iterator[tuple[str, str]]:
        text = (docs / f"{page}.md").read_text(encoding="utf-8")
        for tree in re.findall(r"^```\{toctree\}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
            found = re.search(r"^:caption: (.*)$", tree, flags=re.MULTILINE)
            name = found[1] if found else caption
            for line in tree.splitlines():
                if line.strip() and not line.startswith(":"):
                    inner = (Path(page).parent / line.strip()).as_posix()
                    yield name, inner
                    yield from below(inner, name)

    yield "", "index"
    yield from below("index", "")


def title_and_line(text: str) -> tuple[str, str]:
    """Return the title of a plain page, and its first line of prose."""
    title = re.search(r"^# (.*)$", text, flags=re.MULTILINE)
    prose = re.search(r"^(?![#\s<`\-*|(!:])\S.*(?:\n\S.*)*", text, flags=re.MULTILINE)
    return (title[1] if title else ""), " ".join(prose[0].split()) if prose else ""


def write_for_assistants(docs: Path, folder: Path, address: str) -> None:
    """Write `llms.txt`, a list of the plain pages, and `llms-full.txt`, all of them, for one language."""
    order = list(contents(docs))
    texts = {page: (folder / f"{page}.md").read_text(encoding="utf-8") for _, page in order}
    lines = ["# seg-engine", "", f"> {title_and_line(texts['index'])[1]}"]
    before = ""
    for caption, page in order[1:]:
        if caption != before:
            lines += ["", f"## {caption}", ""]
            before = caption
        title, line = title_and_line(texts[page])
        lines.append(f"- [{title}]({address}/{page}.md)" + (f": {line}" if line else ""))
    (folder / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    whole = "\n\n".join(f"<!-- {address}/{page}.html -->\n\n{text}" for page, text in texts.items())
    (folder / "llms-full.txt").write_text(whole, encoding="utf-8")


def site_map(out: Path) -> str:
    """Return the site map: each page of the newest state, with its other language."""
    lines = ['<?xml version="1.0" encoding="utf-8"?>']
    lines.append(
        '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:xhtml="http://www.w3.org/1999/xhtml">'
    )
    for language in ("en", "zh"):
        for page in pages_of(out / "latest" / language):
            where = {code: escape(f"{SITE}/latest/{code}/{page}.html") for code in ("en", "zh")}
            others = [f'<xhtml:link rel="alternate" hreflang="{one}" href="{url}"/>' for one, url in where.items()]
            lines.append(f"<url><loc>{where[language]}</loc>{''.join(others)}</url>")
    return "\n".join([*lines, "</urlset>", ""])


def write_root(out: Path) -> None:
    """Write what belongs to no version: the door, which asks the browser for its language, and the lists."""
    (out / ".nojekyll").touch()  # GitHub Pages leaves out folders such as _static without it
    versions = [{"folder": name, "name": name} for name in versions_in(out)]
    files = {
        "index.html": DOOR,
        "404.html": MISSING,
        "versions.json": json.dumps(versions, indent=2) + "\n",
        "sitemap.xml": site_map(out),
        "robots.txt": f"User-agent: *\nAllow: /\nSitemap: {SITE}/sitemap.xml\n",
    }
    for name in ("llms.txt", "llms-full.txt"):
        source = out / "latest" / "en" / name
        if source.exists():
            files[name] = source.read_text(encoding="utf-8")
    for name, text in files.items():
        (out / name).write_text(text, encoding="utf-8")
