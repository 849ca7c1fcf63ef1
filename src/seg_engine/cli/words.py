"""The words of a command line, in the order and spelling that `argparse` understands."""

from __future__ import annotations

import argparse
import difflib
import os
import shlex
from collections.abc import Iterable, Sequence

__all__ = ["in_order"]

CONFIGS = (".py", ".json", ".yaml", ".yml", ".toml")
FILES = (*CONFIGS, ".pth", ".pt")


def in_order(words: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """Put the verb first, then what has no name, then the options: `--resume CONFIG` and `--cfg-options a=1 CONFIG`.

    `argparse` gives an option that takes a value, or many, whatever comes behind it, the config too. An underscore in
    the name of an option is a dash; a name that there is none of is an error with the nearest one.

    >>> parser = argparse.ArgumentParser()
    >>> train = parser.add_subparsers().add_parser("train")
    >>> for name, count in (("--resume", "?"), ("--cfg-options", "+"), ("--work-dir", None)):
    ...     _ = train.add_argument(name, nargs=count)
    >>> in_order(["train", "--resume", "a.py", "--work_dir", "out"], parser)
    ['train', 'a.py', '--resume', '--work-dir', 'out']
    >>> in_order(["train", "--cfg-options", "x=1", "y=2", "a.py"], parser)
    ['train', 'a.py', '--cfg-options', 'x=1', 'y=2']
    """
    verbs = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if words and verbs and words[0] not in verbs[0]:
        _refuse_verb(words[0], list(verbs[0]), parser)
    if not words or not verbs or words[0] not in verbs[0]:
        return list(words)
    verb: argparse.ArgumentParser = verbs[0][words[0]]
    rest, positional, options = list(words[1:]), [words[0]], list[str]()
    while rest:
        word = rest.pop(0)
        if word == "--":
            options += [word, *rest]
            break
        if not word.startswith("-") or word == "-":
            positional.append(word)
            continue
        name, equals, value = word.partition("=")
        name = spelled(name, verb)
        options.append(name + equals + value)
        action = verb._option_string_actions.get(name)
        if action is not None and not equals:
            options += _values(action.nargs, rest)
    return [*positional, *options]


def _refuse_verb(word: str, verbs: list[str], parser: argparse.ArgumentParser) -> None:
    """End the program for a verb that there is none of, with the nearest one; options are `argparse`'s."""
    from seg_vis.names import printable

    if word.startswith("-"):
        return
    config = f"; to train with a config: seg train {shlex.quote(word)}" if word.endswith(CONFIGS) else ""
    meant = config or did_you_mean(word, verbs)
    parser.error(printable(f"there is no verb {word!r}{meant} (verbs: {', '.join(verbs)})", lines=False))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a message that names the known word most like this one, capitals not counted, or nothing.

    >>> did_you_mean("Trian", ["train", "test"])
    '; did you mean train?'
    """
    spellings = {each.lower(): each for each in known}
    near = difflib.get_close_matches(word.lower(), spellings, n=1, cutoff=0.6)
    return f"; did you mean {spellings[near[0]]}?" if near else ""


def _values(count: int | str | None, rest: list[str]) -> list[str]:
    """Return what belongs to an option, taken away from what comes behind it."""
    if count == 0 or not rest or rest[0] == "--":
        return []
    if count is None:
        return [rest.pop(0)]
    taken: list[str] = []
    while rest and not rest[0].startswith("--") and not (count == "?" and taken):
        if rest[0].endswith(CONFIGS) if count == "?" else is_path(rest[0]):
            break
        taken.append(rest.pop(0))
    return taken


def is_path(word: str) -> bool:
    """Tell whether a word among `KEY=VALUE` words is a file or folder that stands there for itself."""
    return "=" not in word and (word.endswith(FILES) or os.path.exists(word))


def spelled(name: str, parser: argparse.ArgumentParser) -> str:
    """Return an option's name as the parser knows it; unknown ones end the program, with the nearest name."""
    known = parser._option_string_actions
    dashed = name.replace("_", "-")
    if name in known or not name.startswith("--"):
        return name
    if dashed in known:
        return dashed
    begins = [each for each in known if each.startswith(dashed)]
    if len(begins) != 1:
        parser.error(f"there is no option {name}{did_you_mean(dashed, begins or known) or ': --help lists them'}")
    return begins[0]
