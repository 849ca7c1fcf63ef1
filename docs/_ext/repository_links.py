"""A link from a page to a file or folder of the repository that is no page leads to the repository's own address."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)


class RepositoryLinks(SphinxTransform):
    """Turns such links into plain ones, before Sphinx would copy their files into the site."""

    default_priority = 4  # before Sphinx collects downloads

    def apply(self, **kwargs: object) -> None:
        """Replace each link whose target lies in the repository and outside the pages."""
        source = Path(str(self.document["source"]))
        for link in list(self.document.findall(addnodes.download_reference)):
            self.replace(link, link["reftarget"], source)
        for link in list(self.document.findall(addnodes.pending_xref)):
            if link.get("refdomain") != "doc" and link.get("reftype") == "myst":
                self.replace(link, link["reftarget"], source)

    def replace(self, link: nodes.Element, target: str, source: Path) -> None:
        """Put a plain link in the place of one whose target is a file or folder of the repository."""
        path, _, part = unquote(target).partition("#")
        root = Path(self.env.srcdir).parent.resolve()
        places = [(source.parent / path).resolve(), (Path(self.env.srcdir) / path.lstrip("/")).resolve()]
        found = next((place for place in places if path and place.exists() and place.is_relative_to(root)), None)
        if found is None:
            return
        kind = "tree" if found.is_dir() else "blob"
        address = f"{self.config.repository}/{kind}/main/{found.relative_to(root).as_posix()}" + (part and f"#{part}")
        link.replace_self(nodes.reference("", "", *link.children, refuri=address, internal=False))


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_config_value("repository", "", "env", str)
    app.add_config_value("site_address", "", "env", str)
    app.add_transform(RepositoryLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
