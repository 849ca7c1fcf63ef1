"""What a translation of a message may change, and what it must keep."""

from __future__ import annotations

import re
from collections import Counter

CODE = re.compile(r"(`+)(.+?)\1(?!`)", re.DOTALL)
LINK = re.compile(r"\]\(([^()\s]+(?:\([^()\s]*\)[^()\s]*)*)\)")
ROLE = re.compile(r"\{[\w:-]+\}(?=`)")
ADDRESS = re.compile(r"<?https?://[^\s>)\]]+>?")
NAME = re.compile(r"\bseg-\w+|\b\w+[./_]\w+\b|\b(?:Python|Linux|Windows|Sphinx|Furo)\b|</?\w[^>]*>")
WORD = re.compile(r"(?<![\w-])[A-Z]?[a-z]{2,}(?![A-Z\d_])")


def needs_words(message: str) -> bool:
    """Tell whether a message holds anything but code, links' addresses, names and numbers.

    >>> needs_words("`EMAHook`"), needs_words("NORMAL (50)"), needs_words("Hooks"), needs_words("[Hooks](hooks.md)")
    (False, False, True, True)
    """
    for pattern, left in ((CODE, " "), (LINK, "] "), (ADDRESS, " "), (NAME, " ")):
        message = pattern.sub(left, message)
    return WORD.search(message) is not None


def fixed_parts(message: str) -> Counter[str]:
    """Count what a translation must keep: inline code, roles, the targets of links, addresses.

    >>> sorted(fixed_parts("see [`Hook`](hooks.md) on <https://a.org>"))
    ['`Hook`', 'hooks.md', 'https://a.org']
    """
    code = ["`" + " ".join(found[1].split()) + "`" for found in CODE.findall(message)]
    plain = CODE.sub(" ", message)
    links = LINK.findall(plain)
    addresses = [found.strip("<>.,") for found in ADDRESS.findall(LINK.sub("] ", plain))]
    return Counter([*code, *ROLE.findall(message), *links, *addresses])
