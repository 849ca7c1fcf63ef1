"""What the pages say can be done: commands parse, tests that they name are there, install lines lead to packages."""

from __future__ import annotations

import re
import runpy
import shlex
import tomllib
from pathlib import Path

import pytest
from helpers.tree import ROOT

from seg_engine.cli import make_parser

PAGES = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))
SHORT = runpy.run_path(str(ROOT / "run"), run_name="run")["SHORT"]
HATCH = tomllib.loads((ROOT / "hatch.toml").read_text(encoding="utf-8"))["envs"]
INSTALL = re.compile(r'pip install "(seg-\w+)(?:\[\w+\])? @ git\+https://github\.com/seg-engine/seg-engine(\S*)"')


def text_of(page: str) -> str:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


def shell_lines(text: str) -> list[str]:
    blocks = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def seg_commands(text: str) -> list[list[str]]:
    words = (shlex.split(line, comments=True) for line in shell_lines(text))
    return [line[line.index("seg") + 1 :] for line in words if line[:1] == ["seg"] or line[:2] == ["./run", "seg"]]


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_are_taken(page: str) -> None:
    for words in seg_commands(text_of(page)):
        if words != ["--version"]:
            make_parser().parse_args(words)  # leaves with an error where a verb or a flag is unknown


def test_a_wrong_flag_would_be_seen() -> None:
    (words,) = seg_commands("```sh\nseg train a.py --rezume\n```\n")
    with pytest.raises(SystemExit):
        make_parser().parse_args(words)


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_the_repository_are_there(page: str) -> None:
    words = set(re.findall(r"\./run ([a-z][\w.:-]*)", text_of(page)))
    known = {*HATCH["default"]["scripts"], *HATCH, *SHORT}
    assert not {word for word in words if re.split(r"[:.]", word)[0] not in known}


@pytest.mark.parametrize("page", PAGES)
def test_the_tests_that_a_page_names_are_there(page: str) -> None:
    for path, name in re.findall(r"`(tests/[\w/.]+)(?:::(\w+))?`", text_of(page)):
        assert (ROOT / path).exists(), path
        assert not name or f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), name


def test_each_package_has_its_line_to_install_it() -> None:
    lines = INSTALL.findall(text_of("docs/install.md"))
    found = {name: folder.removeprefix("#subdirectory=") for name, folder in lines}
    for name, folder in found.items():
        project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert project["name"] == name
    assert set(found) == {"seg-engine", *(path.parent.name for path in Path(ROOT).glob("packages/*/pyproject.toml"))}


def test_what_each_package_needs_is_what_it_declares() -> None:
    rows = re.findall(r"^\| `(seg-\w+)` \| ([^|`]+) \| [^|]+ \|$", text_of("docs/packages.md"), flags=re.MULTILINE)
    assert {name for name, _ in rows} == {"seg-engine", *(path.name for path in ROOT.glob("packages/*"))}
    names = {"opencv-python": "opencv"}
    for name, told in rows:
        folder = ROOT if name == "seg-engine" else ROOT / "packages" / name
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        needs = {re.split(r"[\[<>=~! ;]", line)[0] for line in project["dependencies"]}
        words = set(re.split(r", ", told.lower())) - {"nothing but python"}
        if "all five" in words:
            words |= {path.name for path in ROOT.glob("packages/*")} - {"all five"}
            words.discard("all five")
        assert words == {names.get(need, need) for need in needs}, name
