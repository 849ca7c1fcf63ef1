"""`./run site:catalogues`: bring the Chinese catalogues up to date with the English pages.

One catalogue for each page: with all its messages where `docs/conf.py` lists it as translated, else with its title,
which the navigation shows. `sphinx.po` has the words of the theme. What an author does after a change of an English
page: run this; write the `msgstr` lines that it names; run it again.

Messages that are nothing but code, names and numbers are left out, and so are line numbers and dates: a catalogue
changes where a text changes. A message whose English changed keeps its old translation, marked as fuzzy, until the mark
is taken away.
"""

from __future__ import annotations

import gettext
import io
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

import furo
import site_reference
import sphinx
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po
from projects import ROOT

DOCS = ROOT / "docs"
CATALOGUES = DOCS / "locale/zh_CN/LC_MESSAGES"
THEME = Path(furo.__file__).parent / "theme/furo"
sys.path.insert(0, str(DOCS / "_ext"))

from messages import needs_words  # noqa: E402 (from the folder above)

HEADER = """\
# Simplified Chinese of {page}. Written by `./run site:catalogues`; msgstr lines by hand, with the words of terms.toml.
msgid ""
msgstr ""
"Language: zh_CN\\n"
"Content-Type: text/plain; charset=UTF-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"""


def templates(folder: Path) -> None:
    """Have Sphinx write the messages of all pages, and of the theme, below a folder."""
    command = [sys.executable, "-m", "sphinx", "--builder", "gettext", "--quiet"]
    command += ["--define", f"templates_path=_templates,{THEME}", "--doctree-dir", str(folder / "doctrees")]
    subprocess.run([*command, str(DOCS), str(folder)], check=True)


def is_known(message: str) -> bool:
    """Tell whether Sphinx brings a Chinese word for a message of the theme itself."""
    own = gettext.translation("sphinx", Path(sphinx.__file__).parent / "locale", ["zh_CN"])
    return own.gettext(message) != message


def pages() -> dict[str, bool]:
    """Return the pages, those that the build makes too, and whether all of each is translated."""
    translated = runpy.run_path(str(DOCS / "conf.py"))["TRANSLATED"]
    found = [path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")]
    names = {name for name in found if not name.startswith(("_", "locale/")) and "/steps/" not in name}
    return {name: name in translated for name in sorted({*names, *translated})} | {"sphinx": True}


def wanted(page: str, template: Path, whole: bool) -> Catalog:
    """Return the messages of a page that need a translation; where not the `whole` page has one, its title."""
    with template.open("rb") as file:
        messages = [str(message.id) for message in read_po(file) if message.id]
    catalogue = Catalog()
    for text in messages if whole else messages[:1]:
        if needs_words(text) and not (page == "sphinx" and is_known(text)):
            catalogue.add(text)
    return catalogue


def update(page: str, template: Path, whole: bool) -> list[str]:
    """Write the catalogue of a page anew; return the messages that it has no valid translation for."""
    path = CATALOGUES / f"{page}.po"
    catalogue = Catalog(locale="zh_CN", fuzzy=False)
    if path.exists():
        with path.open("rb") as file:
            catalogue = read_po(file, locale="zh_CN")
    catalogue.update(wanted(page, template, whole))
    written = io.BytesIO()
    write_po(written, catalogue, width=110, omit_header=True, no_location=True, ignore_obsolete=True)
    if not any(message.id for message in catalogue):  # a page whose title is a name
        return []
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(HEADER.format(page=page).encode() + b"\n" + written.getvalue().strip(b"\n") + b"\n")
    return [str(message.id) for message in catalogue if message.id and (not message.string or message.fuzzy)]


def main() -> int:
    """Bring all catalogues up to date; 1 where translations are missing."""
    site_reference.write_all()
    with tempfile.TemporaryDirectory() as folder:
        templates(Path(folder))
        missing = {page: update(page, Path(folder) / f"{page}.pot", whole) for page, whole in pages().items()}
    for page, messages in missing.items():
        for message in messages:
            print(f"{page}: {message[:100]}")
    print(f"catalogues: {len(missing)}, messages to translate: {sum(map(len, missing.values()))}")
    return int(any(missing.values()))


if __name__ == "__main__":
    sys.exit(main())
