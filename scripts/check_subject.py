"""Refuse a commit whose subject has no prefix or is too long; pre-commit hands over the file that holds the message."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = sorted(path.name for path in (ROOT / "packages").glob("seg-*"))
PREFIXES = ["all", "ci", "docs", "examples", "tests", "seg-engine", *PACKAGES]
SUBJECT = re.compile(rf"(?:(?:{'|'.join(PREFIXES)})(?:, )?)+: \S.*|(?:Merge|Revert|fixup!|squash!) .*")


def fault(subject: str) -> str | None:
    """Return what is wrong with a subject, or None."""
    if len(subject) > 71:
        return f"the subject has {len(subject)} characters, at most 71 are shown everywhere"
    if not SUBJECT.fullmatch(subject):
        return f"the subject begins with what it changes: {', '.join(PREFIXES)}; as in 'seg-optim: name frozen groups'"
    return None


def main() -> int:
    """Return 1 where the message's first line is refused."""
    subject = Path(sys.argv[1]).read_text(encoding="utf-8").partition("\n")[0]
    if found := fault(subject):
        print(f"{subject!r}: {found}", file=sys.stderr)
    return int(found is not None)


if __name__ == "__main__":
    sys.exit(main())
