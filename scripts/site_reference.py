"""Makes the generated pages: reference, API, timetable, changelog. Nothing in them is listed by hand."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import site_api
import site_registered
import site_tables
from projects import NAMES, ROOT, project

DOCS = ROOT / "docs"
TABLES = {
    "config-keys.md": site_tables.config_keys,
    "commands.md": site_tables.commands,
    "environment.md": site_tables.variables,
}


def changelog() -> str:
    """Return the changelogs of all packages as one page: the meta-package's first."""
    blocks = ["# Changelog", "What users notice, in each package; each has its own version."]
    for name in reversed(NAMES):
        text = project(name).changelog.read_text(encoding="utf-8")
        body = text.partition("\n")[2].strip()
        here = f"../{project(name).folder.relative_to(ROOT).as_posix()}/".replace("/./", "/")
        body = re.sub(r"\]\((?!https?:|#)", f"]({here}", body)
        blocks += [f"## {name}", re.sub(r"^(#+) (.*)$", rf"#\1 {name} \2", body, flags=re.MULTILINE)]
    return "\n\n".join(blocks) + "\n"


def index(groups: list[str]) -> str:
    """Return the front page of the reference."""
    titles = {site_registered.page_of(group): what for group, (_, what, _) in site_registered.GROUPS.items()}
    lines = [f"- [{site_registered.GROUPS[name[:-3].replace('-', '_')][0]}]({name}): {titles[name]}" for name in groups]
    tree = ["```{toctree}", ":hidden:", "", *(name.removesuffix(".md") for name in (*TABLES, *groups)), "```"]
    return (
        "\n\n".join(
            [
                "# Reference",
                "All that a config can name, with every option, its type and its default. Made from the packages as "
                "they are. The [timetable](../timetable.md) shows which hook does what at which point.",
                "## What a config can name",
                "\n".join(lines),
                "## What else can be set",
                "- [Keys of a config](config-keys.md)\n- [Commands](commands.md)\n"
                "- [Environment variables](environment.md)",
                "\n".join(tree),
            ]
        )
        + "\n"
    )


def write_if_changed(path: Path, text: str) -> None:
    """Write a page, unless it is there as it is: Sphinx reads again what is newer than its last build."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """Return file and text of every generated page."""
    groups = dict(site_registered.pages())
    made = {f"reference/{name}": text for name, text in groups.items()}
    made |= {f"reference/{name}": make() for name, make in TABLES.items()}
    made |= {
        "reference/index.md": index(list(groups)),
        "timetable.md": site_tables.timetable(),
        "changelog.md": changelog(),
    }
    made |= {f"api/{name}": text for name, text in site_api.pages()}
    return made


def write_all() -> None:
    """Write every generated page, and delete those of names that are gone."""
    made = pages()
    for folder in ("reference", "api"):
        for path in (DOCS / folder).glob("*"):
            if f"{folder}/{path.name}" not in made:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, text in made.items():
        write_if_changed(DOCS / name, text)
