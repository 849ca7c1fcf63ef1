"""The report: for people in terminals of any width, for machines as JSON, for scripts as an exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.command import seg
from helpers.migration import CONFIG, report_on

from seg_engine.cli import main
from seg_engine.migrate.findings import CHANGE, DIFFERS, Finding, Report, page_of
from seg_engine.migrate.text import lines_of

MANY = Report("p", "project", {"configs": [f"{at}.py" for at in range(9)]})
STORY, ADVICE = "a long story " * 20, "do this " * 30
MANY.add(Finding(CHANGE, f"{at}.py", 3, STORY, ADVICE, "misspelt-keys") for at in range(7))
MANY.add([Finding(DIFFERS, "8.py", 0, "another", "", "curves-by-mode")])


@pytest.mark.parametrize("width", [1, 40, 80, 120])
def test_lines_fit_the_terminal_but_for_what_is_not_cut(width: int) -> None:
    lines = [line for line, _ in lines_of(MANY, width)]
    assert [line for line in lines if len(line) > max(width, 40) and "://" not in line and "docs/" not in line] == []


def test_one_thing_is_said_once_with_its_places() -> None:
    text = "\n".join(line for line, _ in lines_of(MANY, 120))
    assert text.count("a long story a long") >= 1
    assert "to be changed (1)" in text
    assert "0.py:3, 1.py:3, 2.py:3, 3.py:3 and 3 more" in text
    assert text.rstrip().endswith("as it is: 2 of 9 configs")
    assert text.index("to be changed") < text.index("runs, and differs")


def test_the_address_of_a_difference_is_that_of_the_site() -> None:
    assert page_of("curves-by-mode").endswith("/latest/en/differences.html#curves-by-mode")


def test_the_command_prints_and_leaves_with_the_code(tmp_path: Path) -> None:
    report_on(tmp_path, {"p/a.py": CONFIG, "p/b.py": "{config}modle = 3"})
    done = seg("migrate", "p", cwd=tmp_path, code=1)
    assert "b.py:10" in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stderr == ""
    done = seg("migrate", "p/b.py", "--json", cwd=tmp_path, code=1)
    (found,) = json.loads(done.stdout)["findings"]
    assert (found["file"], found["line"], found["name"]) == ("p/b.py", 10, "misspelt-keys")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "there is no nowhere"),
        (["."], ""),
        (["a.pth", "--to", "seg"], "--to and -o go together"),
        ([".", "--to", "seg", "-o", "b.pth"], "converts a checkpoint"),
        (["a.pth", "--to", "seg", "-o", "b.pth"], "a.pth is empty"),
    ],
)
def test_codes(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if message:
        Path("a.pth").touch()
    assert main(["migrate", *words]) == (2 if message else 0)
    said = capsys.readouterr()
    assert message in said.err
    assert message or "there is nothing here that trains or tests" in said.out
    assert not Path("b.pth").exists()


def test_names_that_a_terminal_would_carry_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report_on(tmp_path, {"\x1b[31mred.py": "import no_such_thing_x"})
    assert main(["migrate", str(tmp_path)]) == 1
    assert "\x1b" not in capsys.readouterr().out
