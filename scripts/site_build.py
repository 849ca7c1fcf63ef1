"""`./run site`: the documentation, from nothing, in both languages, into `site/`.

The steps of the tutorial are run, if they or the packages changed; the reference is made from the packages; Sphinx
builds each language, with warnings as errors; then the pages that belong to no language are written.

    ./run site                      # both languages, into site/
    ./run site --language en        # one of them
    ./run site --version 0.1        # as the site of a release: site/0.1/en, beside site/latest
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import site_pages
import site_reference
import site_tutorial

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
MADE = DOCS / "_made"
LANGUAGES = {"en": "en", "zh": "zh_CN"}


def options_of(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="./run site", description="Builds the documentation.")
    parser.add_argument("--language", choices=LANGUAGES, help="one language instead of both")
    parser.add_argument("--out", type=Path, default=ROOT / "site", metavar="DIR", help="folder to write to (site)")
    parser.add_argument("--version", default="latest", metavar="NAME", help="folder of this version (latest)")
    return parser.parse_args(words)


def build_language(folder: str, target: Path) -> subprocess.Popen[bytes]:
    """Start Sphinx for one language; its folder is the language's, beside the other's."""
    command = [sys.executable, "-m", "sphinx", "--builder", "html", "--fail-on-warning", "--keep-going", "--quiet"]
    command += ["--define", f"language={LANGUAGES[folder]}", "--doctree-dir", str(MADE / "doctrees" / folder)]
    return subprocess.Popen([*command, str(DOCS), str(target)], cwd=ROOT)


def main(words: list[str]) -> int:
    """Build the site; the exit status is the number of languages that have faults."""
    options = options_of(words)
    folders = [options.language] if options.language else list(LANGUAGES)
    version = options.out / options.version
    site_tutorial.run_steps()
    site_reference.write_all()
    builds = {folder: build_language(folder, version / folder) for folder in folders}
    faulty = [folder for folder, build in builds.items() if build.wait()]
    for folder in faulty:
        print(f"site: the pages of {folder!r} have the faults above", file=sys.stderr)
    if not faulty:
        site_pages.write_root(options.out)
        print(f"site: {version / folders[0] / 'index.html'}")
    return len(faulty)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
