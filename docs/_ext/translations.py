"""Pages in another language: none of a translated page is left in English, and the others say that they are."""

from __future__ import annotations

from docutils import nodes
from messages import needs_words
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)
NOT_YET = {"zh_CN": "本页还没有中文翻译，以下为英文原文。"}


def look_at_page(app: Sphinx, doctree: nodes.document) -> None:
    """Warn of each message of a translated page that stands there in English; put a line on top of the other pages."""
    if app.config.language == "en":
        return
    if app.env.docname not in app.config.TRANSLATED:
        title = next(iter(doctree.findall(nodes.title)), None)
        if title is not None and not app.env.docname.startswith(("reference/", "api/")):
            line = nodes.paragraph("", NOT_YET[app.config.language], classes=["not-translated"])
            title.parent.insert(title.parent.index(title) + 1, line)
        return
    for node in doctree.findall(nodes.Element):
        if needs_words(text := left_in_english(node)):
            logger.warning("not translated (./run site:catalogues): %s", text[:90], location=node)


def left_in_english(node: nodes.Element) -> str:
    """Return the message of a node that has no translation; of a list of pages, its caption."""
    if isinstance(node, addnodes.toctree):
        return str(node["caption"]) if node.get("caption") and node["caption"] == node.get("rawcaption") else ""
    return node.rawsource if node.get("translated") is False else ""


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_config_value("TRANSLATED", [], "env", list)
    app.connect("doctree-read", look_at_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
