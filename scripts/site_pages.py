"""The pages of the site that belong to no language: the door, the list of versions, the page for a wrong address."""

from __future__ import annotations

import json
import re
from pathlib import Path

ADDRESS = "https://seg-engine.github.io/seg-engine"
STYLE = "body { font: 1rem/1.6 system-ui, sans-serif; max-width: 34rem; margin: 18vh auto; padding: 0 1rem }"
DOOR = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>seg-engine</title>
<link rel="canonical" href="{ADDRESS}/latest/en/index.html">
<meta name="color-scheme" content="light dark">
<style>{STYLE}</style>
<script>
const chinese = navigator.languages.find((one) => /^(zh|en)/i.test(one))?.toLowerCase().startsWith("zh");
location.replace(`latest/${{chinese ? "zh" : "en"}}/index.html`);
</script>
</head>
<body>
<h1>seg-engine</h1>
<p><a href="latest/en/index.html" hreflang="en">Documentation in English</a></p>
<p lang="zh"><a href="latest/zh/index.html" hreflang="zh">简体中文文档</a></p>
</body>
</html>
"""
MISSING = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>No such page: seg-engine</title>
<meta name="color-scheme" content="light dark">
<style>{STYLE}</style>
</head>
<body>
<h1>There is no such page</h1>
<p>It may have another name in this version. <a href="{ADDRESS}/latest/en/index.html">Documentation in English</a>,
<a href="{ADDRESS}/latest/en/search.html">search</a></p>
<p lang="zh">没有这个页面。<a href="{ADDRESS}/latest/zh/index.html">简体中文文档</a></p>
</body>
</html>
"""


def versions_in(out: Path) -> list[str]:
    """Return the folders of versions: `latest` first, then the newest release."""
    names = [path.name for path in out.iterdir() if (path / "en").is_dir() or (path / "zh").is_dir()]
    releases = sorted((name for name in names if re.fullmatch(r"\d+(\.\d+)*", name)), key=_numbers, reverse=True)
    return [name for name in names if name not in releases] + releases


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def write_root(out: Path) -> None:
    """Write the door, which asks the browser for its language; the list of versions; the page for a wrong address."""
    (out / "index.html").write_text(DOOR, encoding="utf-8")
    (out / "404.html").write_text(MISSING, encoding="utf-8")
    (out / ".nojekyll").touch()  # GitHub Pages leaves out folders such as _static without it
    versions = [{"folder": name, "name": name} for name in versions_in(out)]
    (out / "versions.json").write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")
