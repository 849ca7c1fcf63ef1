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
            name = "several-processes-are-found" if without_launcher(text) else ""
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


def without_launcher(text: str) -> bool:
    """Tell whether a command starts several processes of which each would train alone there.

    >>> without_launcher("torchrun tools/train.py a.py"), without_launcher("bash tools/dist_train.sh a.py 4")
    (True, False)
    """
    return any(word in text for word in ("torchrun", "torch.distributed")) and "--launcher" not in text


def calls(text: str) -> Iterator[tuple[str, str]]:
    """Yield the tools that a command calls, and what to write instead."""
    for command in text.replace("&&", ";").replace("||", ";").split(";"):
        words = split(command)
        at = next((index for index, word in enumerate(words) if tool_of(word)), None)
        if at is not None:
            tool = TOOLS[tool_of(words[at])]
            yield tool_of(words[at]), instead(tool, words[at + 1 :], words[:at])


def split(command: str) -> list[str]:
    """Return the words of a command, quotes kept: variables stay what they are."""
    try:
        lexer = shlex.shlex(command, posix=False, punctuation_chars=False)
        lexer.whitespace_split, lexer.commenters = True, "#"
        return list(lexer)
    except ValueError:  # a quote that ends on another line
        return command.split()


def instead(tool: Tool, words: list[str], before: list[str] | None = None) -> str:
    """Return the command that does the work here; in words, where it takes other arguments.

    Args:
        tool: The tool.
        words: Those behind it.
        before: Those before it: who starts it.

    >>> instead(TOOLS["dist_train.sh"], ["a.py", "4", "--work-dir", "w"])
    'torchrun --nproc-per-node=4 -m seg_engine train a.py --work-dir w'
    >>> instead(TOOLS["misc/print_config.py"], ["a.py"])
    'print(Config.fromfile(CONFIG).pretty_text)'
    """
    if not tool.verb:
        return (tool.here or tool.word).replace("`", "")
    own, there = words[tool.before :], before or []
    rest = [*own[: tool.arguments], *own[tool.arguments + tool.after :]]
    if tool.after:
        return " ".join(["torchrun", *each(own[tool.arguments :]), "-m", "seg_engine", tool.verb, *rest])
    if tool.before:
        begin = ["srun", *job(words), f"--ntasks={variable(there, 'GPUS', '4')}", "--gpus-per-task=1"]
        return " ".join([*begin, "seg", tool.verb, *rest, "--launcher", "slurm"])
    return " ".join([*starter(there), tool.verb, *rest])


def each(words: list[str]) -> list[str]:
    """Return how many processes torchrun is to start, where a script is told it."""
    return [f"--nproc-per-node={words[0]}"] if words else []


def job(words: list[str]) -> list[str]:
    """Return the options of srun for what stands first behind MMSegmentation's script: partition, and name."""
    return [f"--{name}={word}" for name, word in zip(("partition", "job-name"), words, strict=False)]


def variable(words: list[str], name: str, usual: str) -> str:
    """Return what a variable is set to before a command."""
    return next((word.partition("=")[2] for word in words if word.startswith(f"{name}=")), usual)


def starter(words: list[str]) -> list[str]:
    """Return what is to be written before the verb: who starts the processes as before, and our command.

    >>> starter(["python"]), starter(["PORT=1", "torchrun", "--nnodes=2"])
    (['seg'], ['torchrun', '--nnodes=2', '-m', 'seg_engine'])
    >>> starter(["srun", "-n", "4", "python", "-u"])
    ['srun', '-n', '4', 'seg']
    """
    launchers = ("torchrun", "torch.distributed.launch", "torch.distributed.run")
    for at, word in enumerate(words):
        if word in launchers:
            return ["torchrun", *words[at + 1 :], "-m", "seg_engine"]
        if word in ("srun", "mpirun", "mpiexec"):
            python = next((index for index in range(at, len(words)) if "python" in words[index]), len(words))
            return [*words[at:python], "seg"]
    return ["seg"]
