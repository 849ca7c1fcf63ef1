"""Shell scripts: which of MMSegmentation's tools they call, and the command that does it here."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from seg_engine.migrate.findings import CHANGE, Finding
from seg_engine.migrate.tools import TOOLS, Tool, tool_of
from seg_engine.migrate.tree import text_of

__all__ = ["findings_of_script"]


def findings_of_script(path: Path, file: str) -> Iterator[Finding]:
    """Yield each call of a tool in a script, with what to write instead.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large, or no text.
    """
    for line, text in commands(text_of(path).decode("utf-8")):
        for tool, advice in calls(text):
            name = "several-processes-are-refused" if starts_several(text) else ""
            yield Finding(CHANGE, file, line, f"tools/{tool} is MMSegmentation's", advice, name)


def commands(text: str) -> Iterator[tuple[int, str]]:
    r"""Yield each command and its line; lines that end with a backslash go on, comments are left out.

    >>> list(commands("a \\\n  b\n# c\nd"))
    [(1, 'a    b'), (4, 'd')]
    """
    kept, begin = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        begin = begin or number
        if line.endswith("\\"):
            kept += line[:-1] + " "
            continue
        whole = kept + line
        if whole.strip() and not whole.lstrip().startswith("#"):
            yield begin, whole
        kept, begin = "", 0


def starts_several(text: str) -> bool:
    """Tell whether a command starts several processes.

    >>> starts_several("bash tools/dist_train.sh a.py 4"), starts_several("python tools/train.py a.py")
    (True, False)
    """
    return any(word in text for word in ("dist_t", "torchrun", "torch.distributed", "--launcher"))


def calls(text: str) -> Iterator[tuple[str, str]]:
    """Yield the tools that a command calls, and what to write instead."""
    for command in text.replace("&&", ";").replace("||", ";").split(";"):
        words = split(command)
        at = next((index for index, word in enumerate(words) if tool_of(word)), None)
        if at is not None:
            tool = TOOLS[tool_of(words[at])]
            yield tool_of(words[at]), instead(tool, words[at + 1 :])


def split(command: str) -> list[str]:
    """Return the words of a command, quotes kept: variables stay what they are."""
    try:
        lexer = shlex.shlex(command, posix=False, punctuation_chars=False)
        lexer.whitespace_split, lexer.commenters = True, "#"
        return list(lexer)
    except ValueError:  # a quote that ends on another line
        return command.split()


def instead(tool: Tool, words: list[str]) -> str:
    """Return the command that does the work here; in words, where it takes other arguments.

    >>> instead(TOOLS["dist_train.sh"], ["a.py", "4", "--work-dir", "w"])
    'seg train a.py --work-dir w'
    >>> instead(TOOLS["misc/print_config.py"], ["a.py"])
    'print(Config.fromfile(CONFIG).pretty_text)'
    """
    if not tool.verb:
        return (tool.here or tool.word).replace("`", "")
    own = without_launcher(words[tool.before :])
    return " ".join(["seg", tool.verb, *own[: tool.arguments], *own[tool.arguments + tool.after :]])


def without_launcher(words: list[str]) -> list[str]:
    """Return the words of a command without `--launcher`.

    >>> without_launcher(["a.py", "--launcher", "slurm", "--amp", "--launcher=none"])
    ['a.py', '--amp']
    """
    values = [at + 1 for at, word in enumerate(words) if word == "--launcher"]
    return [word for at, word in enumerate(words) if at not in values and not word.startswith("--launcher")]
