"""Search in Chinese pages: Sphinx's own, mended, and the words of a question split as those of the pages are.

Sphinx 9.0 names a stemmer `ChineseStemmer` that it does not bring, and the search never ends; it takes English words to
their stems, as here. Pages are split into words by jieba, the question by what every browser has; both leave out words
of one character.
"""

from __future__ import annotations

from sphinx.application import Sphinx
from sphinx.search.zh import SearchChinese

SPLIT = """
var splitQuery = (query) =>
  [...new Intl.Segmenter("zh", { granularity: "word" }).segment(query)]
    .filter((part) => part.isWordLike && part.segment.length > 1)
    .map((part) => part.segment);
"""


class Chinese(SearchChinese):
    """Chinese pages with English words among them."""

    language_name = "English"  # the stemmer in the browser
    js_splitter_code = SPLIT


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_search_language(Chinese)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
