"""Hebrew, Arabic and other right-to-left writing, in the order in which a pen that goes to the right draws it."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["visual_order"]

MIRRORED = str.maketrans("()[]{}<>«»‹›", ")(][}{><»«›‹")
KINDS = {"R": "R", "AL": "R", "L": "L", "EN": "N", "AN": "N"}
LEFT_WITHIN_RIGHT = re.compile(r"L(?:[^R]*[LN])?|N+")
RIGHT_WITHIN_LEFT = re.compile(r"R(?:[^L]*[RN])?")


def visual_order(text: str) -> str:
    """Return a line as it looks from left to right; text without right-to-left letters stays as it is.

    The rules of the Unicode Bidirectional Algorithm (UAX #9) for one line without embeddings: the first letter says
    where the line begins, numbers keep their order, brackets are mirrored and marks stay behind their letter.

    Example:
        >>> visual_order("abc")
        'abc'
        >>> [hex(ord(letter)) for letter in visual_order("\\u05d0\\u05d1 12")]
        ['0x31', '0x32', '0x20', '0x5d1', '0x5d0']
    """
    letters: list[str] = []
    for letter in text:
        if unicodedata.combining(letter) and letters:
            letters[-1] += letter
        else:
            letters.append(letter)
    kinds = "".join(KINDS.get(unicodedata.bidirectional(letter[0]), " ") for letter in letters)
    if "R" not in kinds:
        return text
    if re.search("[LR]", kinds)[0] == "R":  # type: ignore[index]
        return backwards(letters, kinds)
    for run in RIGHT_WITHIN_LEFT.finditer(kinds):
        letters[run.start()] = backwards(letters[slice(*run.span())], run[0])
        letters[run.start() + 1 : run.end()] = [""] * (len(run[0]) - 1)
    return "".join(letters)


def backwards(letters: list[str], kinds: str) -> str:
    """Return right-to-left letters from last to first; words and numbers of the other direction as they are."""
    pieces, done = [], 0
    for run in LEFT_WITHIN_RIGHT.finditer(kinds):
        pieces += [letter.translate(MIRRORED) for letter in letters[done : run.start()]]
        pieces.append("".join(letters[slice(*run.span())]))
        done = run.end()
    pieces += [letter.translate(MIRRORED) for letter in letters[done:]]
    return "".join(reversed(pieces))
