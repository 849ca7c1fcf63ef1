"""The site's generated pages: everything has its place, its words and an example; its checks see what is wrong.

`./run site` builds the site and asks the same of the finished HTML.
"""

from __future__ import annotations

import re
import runpy
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.tree import ROOT
from seg_registry import Config

sys.path.insert(0, str(ROOT / "scripts"))
import site_checks
import site_docstrings
import site_names
import site_pages
import site_reference
import site_registered
import site_screenshots
import site_spelling
import site_tables
import site_tutorial

sys.path.remove(str(ROOT / "scripts"))
DIRECTIVE = re.compile(r"^(:{4,}|```)\{py:(\w+)\} (\w[\w.]*)", re.MULTILINE)


@cache
def pages() -> dict[str, str]:
    return site_reference.pages()


def anchors(text: str) -> set[str]:
    """What can be linked to in a page: marked places, and names of Sphinx's Python domain."""
    found = {site_names.slug(name) for name in re.findall(r"\{#([^}]+)\}|^\(([^)]+)\)=$", text, re.M) for name in name}
    module = owner = ""
    for _, kind, name in DIRECTIVE.findall(text):
        if kind in ("module", "currentmodule"):
            module = name
        elif kind in ("class", "function", "data"):
            owner = f"{module}.{name}"
            found.add(owner)
        else:
            found.add(f"{owner}.{name}")
    return found


def test_every_name_option_key_and_command_has_its_place() -> None:
    places = {page.replace(".md", ".html"): anchors(text) for page, text in pages().items()}
    wanted = list(site_names.expected())
    assert not [what for page, anchor, what in wanted if anchor not in places[page]]
    assert {"names", "config", "entry points", "commands"} <= set(site_names.interface("seg-engine"))
    assert len(wanted) > 1000  # the lists were read


@pytest.mark.parametrize("one", [*site_registered.entries()], ids=lambda one: f"{one.group}.{one.name}")
def test_a_registered_name_has_words_and_an_example_that_loads(one: site_registered.Registered) -> None:
    said = one.documentation
    assert said.summary
    taken = site_names.FROM_THE_RUN.get(one.group, set())
    assert not [name for name in one.options if name not in taken and not described(one, name)]
    example = site_registered.example_of(one)
    if one.group == "build":
        return
    text = re.sub(r"^```.*$", "", example, flags=re.MULTILINE)
    text = "".join(f"{name} = []\n" for name in sorted(set(re.findall(r"\b\w+_pipeline\b(?! =)", text)))) + text
    given = list(dicts(Config.fromstring(text, ".py").to_dict()))
    mine = [each for each in given if one.name in (each.get("type"), each.get("constructor"), each.get("ema_type"))]
    assert mine or f'"{one.name}"' in example
    needs = {name for name, each in one.options.items() if each.default is each.empty} - taken
    needs -= {"save_dir"} if one.group == "vis_backends" else set()  # the run's, unless a config names it
    assert not mine or one.group == "models" or needs <= set(mine[0])


def described(one: site_registered.Registered, name: str) -> str:
    return one.documentation.options.get(name) or site_registered.text_of_key(one, name)


def dicts(value: Any) -> Any:
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        yield from dicts(each)


def test_the_timetable_has_each_hook_where_it_acts() -> None:
    text = pages()["timetable.md"]
    section = text.partition("## after_train_iter\n")[2].partition("\n## ")[0]
    order = re.findall(r"\[(\w+Hook)\]", section)
    assert order.index("RuntimeInfoHook") < order.index("EMAHook") < order.index("LoggerHook")
    assert "**[ParamSchedulerHook]" in section  # every run has it
    assert "EarlyStoppingHook" not in section


def test_remarks_in_the_table_of_arguments_are_read() -> None:
    from seg_runner.assembly import arguments

    found = site_tables.comments(arguments)
    assert found["load_from"][1] == "weights to start from"
    assert found["val_dataloader"][0].startswith("Validation and test")


def test_environment_variables_are_found_in_the_source() -> None:
    assert "`MLFLOW_TRACKING_URI`" in pages()["reference/environment.md"]
    assert "`RANK`" in pages()["reference/environment.md"]


def test_a_docstring_becomes_markdown() -> None:
    parts = site_docstrings.parse("Does *x* to `a*b`.\n\nMore.\n\nArgs:\n    a: The\n        first.\n\n>>> 1 + 1\n2")
    assert parts.summary == r"Does \*x\* to `a*b`."
    assert parts.options == {"a": "The first."}
    assert "```pycon\n>>> 1 + 1\n2\n```" in parts.text


PAGE = """<!doctype html><html lang="en"><head><title>x</title></head><body><article>{}</article></body></html>"""


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<p id="a">x</p><a href="#a">x</a><a href="b.html#c">x</a><img src="p.png" alt="p">', None),
        ('<a href="nowhere.html">x</a>', "leads to no file"),
        ('<a href="#nowhere">x</a>', "names no part"),
        ('<a href="b.html#d">x</a>', "names no part"),
        ('<p id="a">x</p><p id="a">y</p>', "two elements have the id"),
        ('<img src="p.png">', "has no alt text"),
        ('<img src="https://a.org/p.png" alt="p">', "from elsewhere"),
        ("<p><table></p></table>", "line 1"),
        (f'<a href="{site_checks.REPOSITORY}/blob/main/no/such/file.py">x</a>', "no file of the repository"),
        (f'<a href="{site_checks.REPOSITORY}/blob/main/README.md">x</a>', None),
    ],
)
def test_a_fault_of_a_page_is_seen(tmp_path: Path, body: str, fault: str | None) -> None:
    (tmp_path / "a.html").write_text(PAGE.format(body))
    (tmp_path / "b.html").write_text(PAGE.format('<p id="c">x</p>'))
    (tmp_path / "p.png").touch()
    read = {path: site_checks.read_page(path) for path in sorted(tmp_path.glob("*.html"))}
    found = list(site_checks.faults_of(tmp_path, read))
    assert any(fault in line for line in found) if fault else not found


def test_links_out_of_the_pages_lead_to_the_repository() -> None:
    made = runpy.run_path(str(ROOT / "docs/_ext/repository_links.py"))
    app = SimpleNamespace(srcdir=str(ROOT / "docs"), config=SimpleNamespace(repository="https://r"))
    source = ["[a](../SECURITY.md#x) [b](install.md) [c](https://a.org)\n\n```md\n[d](../SECURITY.md)\n```\n"]
    made["lead_to_repository"](app, "tour", source)
    outside, inside = source[0].split("```md")
    assert "](https://r/blob/main/SECURITY.md#x) [b](install.md) [c](https://a.org)" in outside
    assert "](../SECURITY.md)" in inside
    source = ["`tests/architecture/test_site.py::test_links_out_of_the_pages_lead_to_the_repository` `tests/no.py::no`"]
    made["lead_to_tests"](app, "differences", source)
    assert re.search(r"\]\(https://r/blob/main/tests/architecture/test_site\.py#L\d+\) `tests/no", source[0])


@pytest.mark.parametrize("stemmer", ["EnglishStemmer", "ChineseStemmer"])
def test_a_search_that_would_never_end_is_seen(tmp_path: Path, stemmer: str) -> None:
    (tmp_path / "_static").mkdir()
    script = f"var EnglishStemmer=function(){{}};\nwindow.Stemmer = {stemmer};"
    (tmp_path / "_static/language_data.js").write_text(script)
    assert bool(list(site_checks.search_faults(tmp_path))) is (stemmer == "ChineseStemmer")


def test_addresses_of_other_sites_are_gathered(tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    page.write_text(PAGE.format(f'<a href="https://a.org">x</a><a href="{site_checks.SITE}/latest">y</a>'))
    assert site_checks.outside([site_checks.read_page(page)]) == {"https://a.org": "a.html"}


def test_an_address_that_does_not_answer_is_told(tmp_path: Path) -> None:
    (tmp_path / "here.html").write_text("x")
    with site_screenshots.served(tmp_path) as address:
        asked = {f"{address}/here.html#part": "a.html", f"{address}/gone.html": "b.html"}
        assert site_checks.dead(asked) == [f"b.html: {address}/gone.html answers 404"]


@pytest.mark.filterwarnings("ignore:.*en_US:pytest.PytestUnraisableExceptionWarning")  # spylls leaves it open
def test_a_misspelt_word_is_seen_and_code_is_not_read() -> None:
    text = "A recieved word, `cdoe` and [lnk](adress.md).\n\n```python\nxyzzy = 1\n```\n\nconfigs"
    words = [word for _, word in site_spelling.words_of(text)]
    assert "recieved" in words
    assert not {"cdoe", "xyzzy", "adress"} & set(words)
    assert not site_spelling.in_dictionary("recieved")
    assert "configs" in site_spelling.own_words()


def test_without_a_browser_no_screenshots_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(site_screenshots, "BROWSERS", ("no-such-browser",))
    assert site_screenshots.take_all(tmp_path / "latest", tmp_path / "pictures") == 0
    assert "no-such-browser" in capsys.readouterr().out


def test_versions_are_in_order_and_the_door_leads_to_both_languages(tmp_path: Path) -> None:
    for version in ("0.2", "latest", "0.10", "0.1"):
        (tmp_path / version / "en").mkdir(parents=True)
    site_pages.write_root(tmp_path)
    assert site_pages.versions_in(tmp_path) == ["latest", "0.10", "0.2", "0.1"]
    door = (tmp_path / "index.html").read_text()
    assert 'href="latest/en/index.html"' in door
    assert 'href="latest/zh/index.html"' in door


def test_a_step_of_the_tutorial_that_fails_stops_the_build(tmp_path: Path) -> None:
    bad, mistake = tmp_path / "01_bad.sh", tmp_path / "02_mistake.sh"
    bad.write_text("echo before\nfalse\necho after\n")
    mistake.write_text("pwd\nfalse\n")
    assert site_tutorial.run_step(mistake, tmp_path.resolve()) == ".\n"
    with pytest.raises(SystemExit, match="before"):
        site_tutorial.run_step(bad, tmp_path)
