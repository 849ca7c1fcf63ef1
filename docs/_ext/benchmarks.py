"""The directive `{benchmark} ema`: the tables of `docs/performance/ema.json`, and what they were measured on.

`./run bench --record docs/performance ema` makes the file.
"""

from __future__ import annotations

import json
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FOLDER = Path(__file__).resolve().parents[1] / "performance"


def as_markdown(record: dict) -> str:
    """Return the tables of a record, and a line that says where they come from."""
    blocks = []
    for table in record["tables"]:
        line = "| " + " | ".join(["---", *["---:"] * (len(table["header"]) - 1)]) + " |"
        rows = ["| " + " | ".join(cell or " " for cell in row) + " |" for row in [table["header"], *table["rows"]]]
        blocks += [f"**{table['title']}**", "\n".join([rows[0], line, *rows[1:]])]
    machine = record["machine"]
    load = "" if machine["load"] is None else f", {machine['load']:.1f} processes at work when it began"
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    where = f"{machine['processor']}, {machine['cores']} cores{load}; {versions}"
    return "\n\n".join([*blocks, f"`{record['command']}`, {record['day']}: {where}."])


class Benchmark(SphinxDirective):
    """Puts the tables of one benchmark here."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Read the record anew where it has changed."""
        path = FOLDER / f"{self.arguments[0]}.json"
        self.env.note_dependency(str(path))
        if not path.is_file():
            raise self.error(f"there is no {path.name}: ./run bench --record docs/performance {path.stem}")
        return self.parse_text_to_nodes(as_markdown(json.loads(path.read_text(encoding="utf-8"))))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("benchmark", Benchmark)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
