"""Trees that were made to harm, or just happen: the walk is bounded, waits for nothing, and ends in a report."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.migration import CONFIG, report_on, said

from seg_engine.migrate import project, tree
from seg_engine.migrate.project import look_at


def test_circles_of_links_and_links_that_lead_out(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "again").symlink_to(tmp_path)
    (tmp_path / "in" / "self.py").symlink_to(tmp_path / "in" / "self.py")
    (tmp_path / "in" / "gone.py").symlink_to("/nowhere.py")
    report = report_on(tmp_path, {"in/a.py": CONFIG})
    assert report.files["configs"] == ["in/a.py"]
    assert said(report, "note") == [".: links to folders are not followed (1 here)"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    for name in ("a.py", "b.pth", "c.sh"):
        os.mkfifo(tmp_path / name)
    assert (look_at(tmp_path).code, look_at(tmp_path).findings) == (0, [])
    with pytest.raises(ValueError, match="neither a folder nor a file"):
        look_at(tmp_path / "a.py")


def test_more_files_than_anybody_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MOST_FILES", 5)
    report = report_on(tmp_path, {f"{at}.sh": "" for at in range(9)})
    assert len(report.files["scripts"]) == 5
    assert said(report, "unread") == [".: there are more than 5 files of code; the rest was not looked at"]
    monkeypatch.setattr(tree, "MOST_ENTRIES", 5)
    assert said(look_at(tmp_path), "unread") == [".: there are more than 5 entries; the rest was not looked at"]


def test_files_that_nobody_wrote(tmp_path: Path) -> None:
    (tmp_path / "large.py").write_text("x = 1\n" * 100_000)
    (tmp_path / "bytes.py").write_bytes(b"x = '\xff\xfe'")
    (tmp_path / "zero.py").write_bytes(b"x = 1\0")
    (tmp_path / "deep.py").write_text("x = " + "(" * 5000)
    (tmp_path / "long.py").write_text("x = " + "-" * 50_000 + "1")
    (tmp_path / "chain.py").write_text("import a\na" + ".b" * 20_000)
    (tmp_path / "old.py").write_text("print 'a'")
    (tmp_path / "bytes.sh").write_bytes(b"\xff\xfe tools/train.py")
    report = look_at(tmp_path)
    unread = {each.file for each in report.findings if each.level == "unread"}
    assert {"large.py", "bytes.py", "zero.py", "deep.py", "long.py", "old.py", "bytes.sh"} <= unread
    assert report.code == 2


@pytest.mark.parametrize("depth", [60, 400])
def test_a_config_of_many_values_inside_one_another(tmp_path: Path, depth: int) -> None:
    """Four hundred are more than Python parses; sixty are looked through to the last."""
    deep = "dict(type='Nothing', a=" * depth + "dict(type='Nowhere')" + ")" * depth
    report = report_on(tmp_path, {"a.py": "{config}model.backbone = " + deep})
    assert report.code in (1, 2)
    assert (depth == 60) == any("'Nowhere' is not in" in line for line in said(report))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="everything can be read here")
def test_what_may_not_be_read_is_named(tmp_path: Path) -> None:
    report_on(tmp_path, {"a/b.py": "", "c.py": ""})
    (tmp_path / "a").chmod(0)
    (tmp_path / "c.py").chmod(0)
    try:
        assert len(said(look_at(tmp_path), "unread")) == 2
    finally:
        (tmp_path / "a").chmod(0o700)


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As above, where the tests run as root."""
    report_on(tmp_path, {"a/b.py": "", "c.py": "x = 1"})
    scan, text = os.scandir, project.text_of

    def refuse(path: Path) -> object:
        if Path(path).name in ("a", "c.py"):
            raise PermissionError(13, "Permission denied")
        return scan(path) if Path(path).is_dir() else text(path)

    monkeypatch.setattr(os, "scandir", refuse)
    monkeypatch.setattr(project, "text_of", refuse)
    assert said(look_at(tmp_path), "unread") == [
        "a: this folder cannot be read: Permission denied",
        "c.py: it cannot be read: Permission denied",
    ]


def test_environments_and_what_others_made_are_left_out(tmp_path: Path) -> None:
    names = (".git/a.py", "__pycache__/a.py", "env/lib/a.py", "x/vis_data/config.py", "p.egg-info/a.py")
    report = report_on(tmp_path, {**dict.fromkeys(names, "import nowhere"), "env/pyvenv.cfg": ""})
    assert (report.findings, report.files["code"]) == ([], [])


@pytest.mark.parametrize(
    ("part", "file"),
    [
        ("findings_of_checkpoint", "a.pth"),
        ("findings_of_script", "a.sh"),
        ("findings_in", "code.py"),
        ("findings_of", "config.py"),
        ("load", "config.py"),
    ],
)
def test_an_error_that_nobody_thought_of_costs_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, file: str
) -> None:
    files = {"a.pth": "x", "a.sh": "tools/train.py\n", "code.py": "import nowhere\n", "config.py": CONFIG}
    before = said(report_on(tmp_path, files)) + said(look_at(tmp_path), "unread")

    def fail(*_: object) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr(project, part, fail)
    after = said(look_at(tmp_path)) + said(look_at(tmp_path), "unread")
    line = f"{file}: it could not be looked at: KeyError: 'surprise'"
    assert line in after
    assert {each for each in before if not each.startswith(file)} <= set(after)
    assert look_at(tmp_path).code == 2
