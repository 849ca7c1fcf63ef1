"""How Sphinx builds the site; `./run site` runs it, once for each language."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE / "_ext"))

project = "seg-engine"
author = "the seg-engine authors"
copyright = author
release = version = runpy.run_path(str(ROOT / "src/seg_engine/__about__.py"))["__version__"]
language = "en"  # the other one: -D language=zh_CN

extensions = ["myst_parser", "sphinx_copybutton", "sphinx_design"]
extensions += ["repository_links", "plain_pages", "chinese_search", "translations"]  # of _ext
exclude_patterns = ["_*", "locale", "**/steps"]
source_suffix = {".md": "markdown"}
nitpicky = False  # types in signatures are not links; links in the text are checked
maximum_signature_line_length = 88
add_module_names = False
toc_object_entries = False
needs_sphinx = "9.0"

# Markdown
myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
suppress_warnings = ["config.cache"]

# Links from a page to a file of the repository that is no page.
repository = "https://github.com/seg-engine/seg-engine"

# The second language: catalogues in locale/zh_CN/LC_MESSAGES. Of these pages every message is translated; of the others
# what a catalogue has.
locale_dirs = ["locale"]
gettext_compact = False
gettext_uuid = False
gettext_location = False
TRANSLATED = ["index", "install", "from-mmseg", "tutorial/index", "hooks", "optimizers"]

# The look. Nothing is fetched from elsewhere when a page is read.
smartquotes = False
html_theme = "furo"
html_title = "seg-engine"
html_static_path = ["_static"]
templates_path = ["_templates"]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_copy_source = False
html_show_sourcelink = False
html_last_updated_fmt = None
html_baseurl = ""
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "switches.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
html_theme_options = {
    "source_repository": repository,
    "source_branch": "main",
    "source_directory": "docs/",
    "top_of_page_buttons": [],
}
html_context = {"languages": {"en": "English", "zh": "简体中文"}}
pygments_style = "friendly"
pygments_dark_style = "github-dark"

# Copy buttons leave out what a shell or Python prints in front.
copybutton_prompt_text = r"^(\$ |>>> |\.\.\. )"
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True


def setup(app):
    """Tell the templates which of the languages' folders a page lies in."""
    folder = "zh" if app.config.language.startswith("zh") else "en"
    app.connect("html-page-context", lambda *given: given[3].update(language_folder=folder))
