"""The Chinese pages: every message is there, keeps its code and links, and uses the same words for the same things."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from runpy import run_path

import pytest
from babel.messages.pofile import read_po
from helpers.tree import ROOT

DOCS = ROOT / "docs"
CATALOGUES = DOCS / "locale/zh_CN/LC_MESSAGES"
PARTS = run_path(str(DOCS / "_ext/messages.py"))
CODE, LINK, needs_words, fixed_parts = (PARTS[name] for name in ("CODE", "LINK", "needs_words", "fixed_parts"))
LANGUAGES = run_path(str(ROOT / "scripts/site_languages.py"))
TERMS = tomllib.loads((DOCS / "locale/terms.toml").read_text(encoding="utf-8"))
PAGES = sorted(str(path.relative_to(CATALOGUES).with_suffix("")) for path in CATALOGUES.rglob("*.po"))
HAN = re.compile(r"[\u4e00-\u9fff]")
HALF_WIDTH = re.compile(r"[\u4e00-\u9fff][,;:!?]|[,;:!?][\u4e00-\u9fff]|[\u4e00-\u9fff]\(|\)[\u4e00-\u9fff]")


def messages(page: str) -> dict[str, str]:
    """English to Chinese; what is marked as not sure is empty."""
    with (CATALOGUES / f"{page}.po").open("rb") as file:
        found = read_po(file, locale="zh_CN")
    return {str(each.id): "" if each.fuzzy else str(each.string) for each in found if each.id}


def translated() -> list[str]:
    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        return list(run_path(str(DOCS / "conf.py"))["TRANSLATED"])
    finally:
        sys.path.remove(str(DOCS / "_ext"))


def test_the_pages_that_most_need_it_are_translated() -> None:
    least = {"index", "install", "tutorial/index", "from-mmseg", "hooks", "optimizers"}
    assert least <= set(translated()) <= set(PAGES)
    for page in translated():
        assert len(messages(page)) > 10  # and not its title alone


@pytest.mark.parametrize("page", PAGES)
def test_every_message_is_translated_into_chinese(page: str) -> None:
    missing = [english for english, chinese in messages(page).items() if not HAN.search(chinese)]
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_code_and_links_are_the_same_in_both_languages(page: str) -> None:
    differ = {
        english: (fixed_parts(english) - fixed_parts(chinese), fixed_parts(chinese) - fixed_parts(english))
        for english, chinese in messages(page).items()
        if fixed_parts(english) != fixed_parts(chinese)
    }
    assert not differ


@pytest.mark.parametrize("page", PAGES)
def test_the_same_word_stands_for_the_same_thing(page: str) -> None:
    other = []
    for english, chinese in messages(page).items():
        text = LINK.sub("]", CODE.sub(" ", english))
        for term, words in TERMS.items():
            if re.search(rf"\b{term}s?\b", text, re.IGNORECASE) and not any(word in chinese for word in words):
                other.append((term, english, chinese))
    assert not other


@pytest.mark.parametrize("page", PAGES)
def test_punctuation_between_chinese_words_is_full_width(page: str) -> None:
    found = [chinese for chinese in messages(page).values() if HALF_WIDTH.search(LINK.sub("]", CODE.sub("x", chinese)))]
    assert not found


@pytest.mark.parametrize("page", PAGES)
def test_bold_words_do_not_end_in_punctuation(page: str) -> None:
    """Markdown leaves `**` as it stands between a full-width mark and a word."""
    assert not [chinese for chinese in messages(page).values() if re.search(r"[，。：；！？）]\*\*\S", chinese)]


@pytest.mark.parametrize("page", PAGES)
def test_a_catalogue_holds_what_is_translated_and_nothing_else(page: str) -> None:
    text = (CATALOGUES / f"{page}.po").read_text(encoding="utf-8")
    assert not re.search(r"^#[:~]|POT-Creation-Date|PO-Revision-Date|Generated-By", text, flags=re.MULTILINE)
    assert not [english for english in messages(page) if not needs_words(english)]


@pytest.mark.parametrize(
    ("english", "chinese", "same"),
    [
        ("see [`Hook`](hooks.md)", "见 [`Hook`](hooks.md)", True),
        ("see [`Hook`](hooks.md)", "见 [`Hook`](hook.md)", False),
        ("`lr` and `lr`", "`lr`", False),
        ("at <https://a.org/b>.", "在 <https://a.org/c>。", False),
        ("{term}`hook` here", "这里 `hook`", False),
    ],
)
def test_a_lost_piece_of_code_or_link_is_seen(english: str, chinese: str, same: bool) -> None:
    assert (fixed_parts(english) == fixed_parts(chinese)) is same


@pytest.mark.parametrize(
    ("message", "expected"),
    [("`EMAHook`", False), ("NORMAL (50)", False), ("0.5", False), ("seg-optim", False), ("MMEngine 0.10.7", False),
     ("Hooks", True), ("[Hooks](hooks.md)", True), ("see `x`", True), ("{{ x }}, `y`", False)],
)  # fmt: skip
def test_what_is_left_as_it_is(message: str, expected: bool) -> None:
    assert needs_words(message) is expected


def test_the_terms_are_in_use() -> None:
    """A word that no page has any more is taken out of the list."""
    every = " ".join(text for page in PAGES for text in messages(page)).lower()
    assert not [term for term in TERMS if term not in every]


def test_catalogues_lie_where_pages_are() -> None:
    written = {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md")}
    made = {page for page in PAGES if page.startswith("reference/")} | {"timetable", "changelog"}
    assert set(PAGES) - {"sphinx"} <= written | made


PAGE = """<body><nav><h1>seg-engine</h1><a href="other.html">Other</a></nav><article><section id="hooks"><h1>Hooks
<a href="#hooks">#</a></h1><pre><span>x = </span>1</pre><img src="a.png"><table><tr><td>one</td></tr></table>
<a href="b.html">b</a> <a href="c.html">c</a></section></article></body>"""
LINKS = '<a href="b.html">b</a> <a href="c.html">c</a>'


def test_two_languages_may_differ_in_words_and_their_order(tmp_path: Path) -> None:
    other = PAGE.replace("Hooks", "钩子").replace('"other.html">Other', '"zh.html">其他').replace("one", "一")
    other = other.replace(LINKS, '<a href="c.html">c</a>，<a href="b.html">b</a>')
    assert built_differences(tmp_path, PAGE, other) == []


@pytest.mark.parametrize(
    ("there", "here", "part"),
    [
        ("<h1>Hooks", "<h2>Hooks", "headings"),
        ('id="hooks"', 'id="gou-zi"', "headings"),
        ("x = </span>1", "x = </span>2", "code"),
        ("a.png", "b.png", "figures"),
        ("<tr><td>one</td></tr>", "", "tables"),
        ("c.html", "d.html", "links"),
        ("</pre>", "</pre><pre>more</pre>", "code"),
    ],
)
def test_two_languages_have_the_same_parts(tmp_path: Path, there: str, here: str, part: str) -> None:
    (line,) = built_differences(tmp_path, PAGE, PAGE.replace(there, here))
    assert line.startswith(f"hooks.html: {part} differ: ")


def test_a_page_of_one_language_alone_is_told(tmp_path: Path) -> None:
    (tmp_path / "en").mkdir()
    (tmp_path / "en/more.html").write_text(PAGE, encoding="utf-8")
    assert built_differences(tmp_path, PAGE, PAGE) == ["more.html: in one language only"]


def built_differences(folder: Path, english: str, chinese: str) -> list[str]:
    for language, text in (("en", english), ("zh", chinese)):
        (folder / language).mkdir(exist_ok=True)
        (folder / language / "hooks.html").write_text(text, encoding="utf-8")
    return list(LANGUAGES["differences"](folder / "en", folder / "zh"))
