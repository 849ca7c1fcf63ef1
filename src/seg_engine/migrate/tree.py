"""The files of a project: a bounded walk that follows no link to a folder, waits for nothing, and reads little."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from seg_engine.migrate.findings import NOTE, UNREAD, Finding

__all__ = ["Tree", "kind_of", "text_of", "walk"]

MOST_ENTRIES = 1_000_000
MOST_FILES = 20_000
LARGEST_TEXT = 2**19
"""Bytes of a file of code or a script: parsing takes a thousand times the memory."""

ENDS = {
    ".py": "python",
    ".sh": "scripts",
    ".slurm": "scripts",
    ".sbatch": "scripts",
    ".pth": "checkpoints",
    ".pt": "checkpoints",
    ".ckpt": "checkpoints",
}
LEFT_OUT = frozenset({"__pycache__", "node_modules", "site-packages", "vis_data"})
"""Folders of others, and where a run keeps a copy of its config."""


@dataclass
class Tree:
    """What a folder holds.

    Attributes:
        root: The folder.
        files: Paths by kind: `python`, `scripts`, `checkpoints`.
        findings: What could not be looked at.
        runs: Folders below the root that runs write into, with copies of their configs.
    """

    root: Path
    files: dict[str, list[Path]] = field(default_factory=lambda: {kind: [] for kind in ENDS.values()})
    findings: list[Finding] = field(default_factory=list)
    entries: int = 0
    taken: int = 0
    runs: set[Path] = field(default_factory=set)

    def name(self, path: str | Path) -> str:
        """Return a path as seen from the root, where that is shorter."""
        return relative(path, self.root)


def relative(path: str | Path, root: Path) -> str:
    """Return a path as seen from a folder, where that is shorter.

    >>> relative("/a/b/c.py", Path("/a")), relative("/a/long/x.py", Path("/a/b")), relative("/x.py", Path("/a/b/c"))
    ('b/c.py', '../long/x.py', '/x.py')
    """
    if not os.path.isabs(path):
        return str(path)
    return min(os.path.relpath(path, root), str(path), key=len)


def walk(root: Path) -> Tree:
    """Return what a folder holds; hidden folders, environments and links to folders are left out.

    Raises:
        OSError: the folder itself cannot be read.
    """
    tree, folders, links = Tree(root), [root], 0
    os.scandir(root).close()
    while folders and not is_full(tree):
        folder = folders.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            tree.findings.append(unread(tree.name(folder), f"this folder cannot be read: {error.strerror}"))
            continue
        if folder != root and any(entry.name == "pyvenv.cfg" for entry in entries):
            continue
        if folder != root and is_of_a_run(folder.name, entries):
            tree.runs.add(folder)
        below = [one for one in entries if one.is_dir(follow_symlinks=False) and is_looked_into(one.name)]
        links += sum(one.is_symlink() and os.path.isdir(one.path) for one in entries)
        tree.entries += len(entries)
        take(tree, entries)
        folders += [Path(one.path) for one in reversed(below)]
    tree.findings += told(tree, links)
    return tree


def is_of_a_run(name: str, entries: list[os.DirEntry[str]]) -> bool:
    """Tell whether a run wrote into a folder: one of its sessions, or one that holds sessions or names a checkpoint."""
    from seg_runner.log.setup import SESSION

    held = (entry.name == "last_checkpoint" or SESSION.fullmatch(entry.name) is not None for entry in entries)
    return SESSION.fullmatch(name) is not None or any(held)


def is_full(tree: Tree) -> bool:
    """Tell whether so much was found that the rest is left."""
    return tree.entries > MOST_ENTRIES or tree.taken >= MOST_FILES


def is_looked_into(name: str) -> bool:
    """Tell whether a folder of this name may hold the project's own files.

    >>> [name for name in ("configs", ".git", "__pycache__", "my.egg-info") if is_looked_into(name)]
    ['configs']
    """
    return not name.startswith(".") and name not in LEFT_OUT and not name.endswith((".egg-info", ".dist-info"))


def kind_of(name: str) -> str:
    """Return the kind of a file: `python`, `scripts` or `checkpoints`; empty for others.

    >>> kind_of("train.sh"), kind_of("a.txt")
    ('scripts', '')
    """
    return ENDS.get(os.path.splitext(name)[1], "")


def take(tree: Tree, entries: list[os.DirEntry[str]]) -> None:
    """Take the files of a folder that are of a kind to be looked at."""
    for entry in entries:
        kind = kind_of(entry.name)
        if not kind or tree.taken >= MOST_FILES:
            continue
        try:
            regular = entry.is_file()
        except OSError:  # a circle of links
            regular = False
        if regular:
            tree.files[kind].append(Path(entry.path))
            tree.taken += 1


def told(tree: Tree, links: int) -> list[Finding]:
    """Say what of the folder was left out."""
    said = []
    if is_full(tree):
        limit = f"{MOST_ENTRIES:,} entries" if tree.entries > MOST_ENTRIES else f"{MOST_FILES:,} files of code"
        said.append(unread(".", f"there are more than {limit}; the rest was not looked at", "give a smaller folder"))
    if links:
        said.append(
            Finding(NOTE, ".", 0, f"links to folders are not followed ({links} here)", "give those folders by name")
        )
    return said


def unread(file: str, what: str, advice: str = "") -> Finding:
    """Return what says that a file could not be read."""
    return Finding(UNREAD, file, 0, what, advice)


def text_of(path: Path) -> bytes:
    """Return the bytes of a text of the project.

    Raises:
        OSError: it cannot be read.
        ValueError: it is larger than any text that a person wrote.
    """
    with open(path, "rb") as file:
        data = file.read(LARGEST_TEXT + 1)
    if len(data) > LARGEST_TEXT:
        raise ValueError(f"it has more than {LARGEST_TEXT:,} bytes, so nobody wrote it by hand")
    return data
