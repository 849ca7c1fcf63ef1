"""`./run site`: the documentation, from nothing, in both languages, into `site/`.

The steps of the tutorial are run, if they or the packages changed; the reference is made from the packages; Sphinx
builds each language, with warnings as errors, as HTML and beside it as plain Markdown; then what belongs to no language
is written, and the whole is checked: HTML, links, a place for each name, the same in both languages, spelling.

    ./run site                      # both languages, into site/
    ./run site --language en        # one of them
    ./run site --version 0.1        # as the site of a release: site/0.1/en, beside site/latest, listed
    ./run site --screenshots DIR    # and pictures of one page of each kind, to be looked at
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import site_checks
import site_languages
import site_names
import site_pages
import site_reference
import site_screenshots
import site_spelling
import site_tutorial
from projects import ROOT, SITE

DOCS = ROOT / "docs"
MADE = DOCS / "_made"
LANGUAGES = {"en": "en", "zh": "zh_CN"}


def options_of(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="./run site", description="Builds the documentation.")
    parser.add_argument("--language", choices=LANGUAGES, help="one language instead of both")
    parser.add_argument("--out", type=Path, default=ROOT / "site", metavar="DIR", help="folder to write to (site)")
    parser.add_argument("--version", default="latest", metavar="NAME", help="folder of this version (latest)")
    parser.add_argument("--links", action="store_true", help="also ask for every address of other sites")
    parser.add_argument("--screenshots", type=Path, metavar="DIR", help="also take pictures of pages, with chromium")
    return parser.parse_args(words)


def build(builder: str, language: str, version: str, target: Path) -> int:
    """Let Sphinx write one language; both builders read the sources once."""
    command = [sys.executable, "-m", "sphinx", "--builder", builder, "--fail-on-warning", "--keep-going", "--quiet"]
    command += ["--define", f"language={LANGUAGES[language]}"]
    command += ["--define", f"html_baseurl={SITE}/{version}/{language}/"]
    command += ["--doctree-dir", str(MADE / "doctrees" / language), str(DOCS), str(target)]
    return subprocess.call(command, cwd=ROOT)


def build_language(language: str, version: str, out: Path) -> bool:
    """Write HTML, plain Markdown and the files for assistants of one language; tells whether all is well."""
    target = out / version / language
    if build("html", language, version, target) or build("markdown", language, version, target):
        return False
    site_pages.mend_pictures(target)
    site_pages.write_for_assistants(DOCS, target, f"{SITE}/{version}/{language}")
    return True


def faults_of(out: Path, languages: list[str], links: bool) -> Iterator[str]:
    """Yield a line for each fault of what was built: pages, names without a place, languages, spelling, dead links."""
    read = {language: site_checks.read_pages(out / language) for language in languages}
    for language, pages in read.items():
        yield from (f"{language}/{fault}" for fault in site_checks.faults_of(out / language, pages))
        yield from (f"{language}/{fault}" for fault in site_checks.search_faults(out / language))
        yield from (f"{language}: {what}" for what in site_names.missing(out / language))
    if len(languages) == len(LANGUAGES):
        differing = site_languages.differences(*(out / language for language in languages))
        yield from (f"the languages differ: {line}" for line in differing)
    yield from site_spelling.faults()
    if links:
        yield from site_checks.dead(site_checks.outside(page for pages in read.values() for page in pages.values()))


def main(words: list[str]) -> int:
    """Build the site and check it; the exit status is 0 where all is well."""
    options = options_of(words)
    languages = [options.language] if options.language else list(LANGUAGES)
    site_tutorial.run_steps()
    site_reference.write_all()
    with ThreadPoolExecutor() as pool:  # a process of Sphinx each
        well = list(pool.map(lambda one: build_language(one, options.version, options.out), languages))
    faulty = [language for language, good in zip(languages, well, strict=True) if not good]
    for language in faulty:
        print(f"site: the pages of {language!r} have the faults above", file=sys.stderr)
    if faulty:
        return 1
    site_pages.write_root(options.out)
    faults = list(faults_of(options.out / options.version, languages, options.links))
    for fault in faults:
        print(f"site: {fault}", file=sys.stderr)
    print(f"site: {options.out / options.version / languages[0] / 'index.html'}, {len(faults)} faults")
    if options.screenshots:
        site_screenshots.take_all(options.out / options.version, options.screenshots)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
