"""Each README stands alone: a sentence, the install line, the first example, what sets it apart, links that lead on."""

from __future__ import annotations

import re
import tomllib

import pytest
from helpers.tree import ROOT
from projects import ISLANDS, META, NAMES, Project

REPOSITORY = "https://github.com/seg-engine/seg-engine"
READMES = {name: (Project(name).folder / "README.md").read_text(encoding="utf-8") for name in NAMES}
SCRIPTS = tomllib.loads((ROOT / "hatch.toml").read_text(encoding="utf-8"))["envs"]


def install_line(name: str) -> str:
    where = "" if name == META else f"#subdirectory=packages/{name}"
    return f'pip install "{name} @ git+{REPOSITORY}{where}"'


def part(text: str, heading: str) -> str:
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert found, f"no part '## {heading}'"
    return found[1]


@pytest.mark.parametrize("name", ISLANDS)
def test_a_package_is_told_in_four_parts(name: str) -> None:
    text = READMES[name]
    assert re.match(rf"# {name}\n\n[A-Z][^#`]+\n\n## Install\n", text), "the name, what it is in words, how to get it"
    assert f"```sh\n{install_line(name)}\n```" in part(text, "Install")
    assert part(text, "First example").strip().startswith("```python\n")
    assert len(re.findall(r"^- \*\*", part(text, "What sets it apart"), flags=re.MULTILINE)) == 3
    links = part(text, "Links")
    assert all(f"[{other}]: {REPOSITORY}/tree/main/packages/{other}\n" in links for other in ISLANDS if other != name)


def test_the_first_page_says_which_package_one_needs() -> None:
    rows = part(READMES[META], "Which package do I need\\?")
    assert [name for name in NAMES if f"`{install_line(name)}` |\n" not in rows] == []


def test_the_first_page_is_decided_on_in_a_minute() -> None:
    """Picture and commands come first, then for whom it is, which package, what is different."""
    text = READMES[META]
    order = [
        "](docs/demo.png)",
        "./run demo ",
        "./run test ",
        "## Who it is for",
        "## Which package",
        "## What is diff",
        "## The whole stack",
    ]
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    rows = part(text, "What is different").strip().splitlines()[2:]
    told = [row.split(" | ")[-1].strip(" |`") for row in rows if row.startswith("|")]
    assert all(command.startswith("./run ") for command in told)


@pytest.mark.parametrize("name", NAMES)
def test_commands_that_are_named_are_there(name: str) -> None:
    for words in re.findall(r"`\./run ([^`…]+)`", READMES[name]):
        command, *rest = words.split()
        environment, _, script = command.rpartition(":")
        assert script in SCRIPTS[environment or "default"]["scripts"] or command in SCRIPTS, command
        if script == "bench":
            assert [each for each in rest if not (ROOT / f"benchmarks/{each}.py").is_file()] == []
        if "-k" in rest:
            assert list(ROOT.glob(f"tests/{command}/test_*{rest[rest.index('-k') + 1]}*.py")), words
        assert [each for each in rest if "/" in each and "/" in each.strip("/") and not (ROOT / each).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_links_within_the_repository_lead_somewhere(name: str) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", READMES[name])
    targets += re.findall(rf"{REPOSITORY}/(?:tree|blob)/main/([\w./-]+)", READMES[name])
    folder = Project(name).folder
    assert [path for path in targets if not ((folder / path).exists() or (ROOT / path).exists())] == []
