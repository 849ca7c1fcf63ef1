"""What the plain Markdown of each page needs beside sphinx-markdown-builder: `./run site` writes it beside the HTML."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def _children(_translator: object, _node: nodes.Node) -> None:
    """Write what is inside, and nothing for the mark-up itself."""


def _begin_caption(translator: Any, node: nodes.Node) -> None:
    translator.visit_paragraph(node)


def _end_caption(translator: Any, node: nodes.Node) -> None:
    translator.depart_paragraph(node)


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx how the builder writes nodes that it does not know: the `*` in a signature, captions."""
    app.setup_extension("sphinx_markdown_builder")
    app.add_node(nodes.abbreviation, override=True, markdown=(_children, _children))
    app.add_node(nodes.caption, override=True, markdown=(_begin_caption, _end_caption))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
