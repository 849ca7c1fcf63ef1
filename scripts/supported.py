"""Which versions of the packages get fixes: the table of SECURITY.md, made from the changelogs.

`./run release` writes it with each release; a test compares.
"""

from __future__ import annotations

import re

from projects import NAMES, ROOT, Project

PAGE = ROOT / "SECURITY.md"
TABLE = re.compile(r"(?<=<!-- supported -->\n).*?(?=<!-- end of supported -->)", re.DOTALL)
DATED = re.compile(r"^## (\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)", re.MULTILINE)


def row(it: Project) -> str:
    """Return the line of one package: its newest release, and from which version on there are fixes for it."""
    released = DATED.findall(it.changelog.read_text(encoding="utf-8"))
    if not released:
        return f"| {it.name} | not yet released | the newest commit of `main` |"
    minor = released[0].rpartition(".")[0]
    return f"| {it.name} | {released[0]} | {minor}.0 and newer |"


def table() -> str:
    """Return the table as it must stand in SECURITY.md."""
    lines = ["| package | newest release | gets fixes |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(row(Project(name)) for name in NAMES)]) + "\n"


def write() -> None:
    """Put the table into SECURITY.md."""
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(TABLE.sub(lambda _: table(), text), encoding="utf-8")


if __name__ == "__main__":
    write()
