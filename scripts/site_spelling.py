"""Spelling: every English word of the documents and docstrings is in a dictionary (Hunspell's), or in `docs/words.txt`.

python scripts/site_spelling.py     # in the environment of `./run site`: prints what is in neither
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from projects import ROOT
from spylls.hunspell import Dictionary

LIST = ROOT / "docs/words.txt"
GENERATED = ("docs/reference/*.md", "docs/api/*.md", "docs/timetable.md")
NO_PROSE = [
    (r"^([ \t]*)(```+|~~~+|:::+\{).*?^\1(?:```+|~~~+|:::+)$", re.DOTALL | re.MULTILINE),  # code, directives
    (r"<!--.*?-->", re.DOTALL),
    (r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL),
    (r"\]\([^)]*\)", 0),
    (r"\{[^}\n]*\}|</?\w[^>]*>|https?://\S+", 0),
    (r"^:+.*$|^\([^)]*\)=$", re.MULTILINE),
]
WORD = re.compile(r"(?<![\w./@-])[A-Za-z][a-z]+(?:'[a-z]+)?(?![\w/@_(-]|\.\w)")


def words_of(text: str) -> Iterator[tuple[int, str]]:
    """Yield line and word of the prose of a document; code, links and names with capitals inside are left out."""
    for pattern, flags in NO_PROSE:
        text = re.sub(pattern, lambda found: "\n" * found[0].count("\n") + " ", text, flags=flags)
    for number, line in enumerate(text.splitlines(), 1):
        for found in WORD.finditer(line):
            yield number, found[0]


@cache
def dictionary() -> Dictionary:
    """Load the dictionary."""
    return Dictionary.from_files("en_US")


@cache
def in_dictionary(word: str) -> bool:
    """Tell whether the dictionary has a word."""
    return bool(dictionary().lookup(word))


def documents() -> list[Path]:
    """Return the English documents: those in git, and the pages that the site makes."""
    pages = ["*.md", ":!docs/performance.md"]  # made of what the benchmarks print: names of libraries and functions
    listed = subprocess.run(["git", "ls-files", *pages], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines()] + sorted(
        path for pattern in GENERATED for path in ROOT.glob(pattern)
    )


def own_words() -> list[str]:
    """Return the words of the list; `#` begins a remark."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def faults() -> Iterator[str]:
    """Yield a line for each word in neither."""
    own = {word.lower() for word in own_words()}
    for path in documents():
        for number, word in words_of(path.read_text(encoding="utf-8")):
            if word.lower().removesuffix("'s") not in own and not in_dictionary(word):
                place = f"{path.relative_to(ROOT)}:{number}"
                yield f"{place}: {word!r} is in no dictionary; mend it, or add it to docs/words.txt"


if __name__ == "__main__":
    found = list(faults())
    print("\n".join(found))
    sys.exit(bool(found))
