"""Every file of hostile/ ends in one of the package's own errors with `file:line`; nothing is executed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from seg_registry import Config, ConfigError, ConfigFileError, ConfigSyntaxError, LimitError

FOLDER = Path(__file__).parent / "hostile"
MERGES = "merge_bomb.yaml"  # it loads: a test of its own
BASES = {
    MERGES,
    "plain_a.yaml.json",
    "plain_b.json",
    "plain_c.json",
    "plain_text.json",
    "plain_empty.json",
    "ruff.toml",
    *(f"bases_doubling_{i}.json" for i in range(4, 13)),
}
FILES = sorted(path.name for path in FOLDER.iterdir() if path.name not in BASES)


def needs_yaml(name: str) -> None:
    if name.endswith((".yaml", ".yml")):
        pytest.importorskip("yaml")


def test_there_are_many_of_them() -> None:
    assert len(FILES) >= 60


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_an_error_of_ours(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_yaml(name)
    monkeypatch.chdir(tmp_path)  # where a 'touch canary' would show
    before = set(sys.modules)
    with pytest.raises(ConfigError) as caught:
        Config.fromfile(FOLDER / name)
    error = caught.value
    assert error.file is not None
    assert (error.line or 1) >= 1
    assert str(error).startswith(f"{error.file}:{error.line or 1}: ")
    assert os.path.dirname(error.file) == str(FOLDER)
    assert os.listdir(tmp_path) == []
    assert not {"os.path.evil", "canary", "this", "antigravity", "pty"} & (set(sys.modules) - before)


def test_what_is_merged_many_times_is_taken_once() -> None:
    """PyYAML before 6.0.4 multiplies merged keys, ten for one in each line."""
    pytest.importorskip("yaml")
    assert Config.fromfile(FOLDER / MERGES).a9 == {"x": 1, "y": 2}


@pytest.mark.parametrize("name", ["class_walk.py", "call_open.py", "import_os.py", "statement_def.py"])
def test_what_is_not_evaluated_says_how_to_trust_the_file(name: str) -> None:
    with pytest.raises(ConfigError, match=r"trusted=True.*--trust-config"):
        Config.fromfile(FOLDER / name)


def test_a_large_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "large.py"
    path.write_text("x = 1\n" * 50_000)
    with pytest.raises(LimitError, match="300,000 bytes"):
        Config.fromfile(path)


needs_links = pytest.mark.skipif(os.name == "nt", reason="to make a link, Windows asks for special rights")


@needs_links
def test_a_symbolic_link_to_itself(tmp_path: Path) -> None:
    path = tmp_path / "loop.py"
    path.symlink_to(path)
    with pytest.raises(ConfigFileError, match="cannot read"):
        Config.fromfile(path)


@needs_links
def test_a_circle_through_a_linked_folder(tmp_path: Path) -> None:
    (tmp_path / "again").symlink_to(tmp_path)
    (tmp_path / "a.py").write_text("_base_ = 'again/a.py'\n")
    with pytest.raises(ConfigError, match="circle") as caught:
        Config.fromfile(tmp_path / "a.py")
    assert caught.value.line == 1


def test_a_hard_link_to_the_child_is_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("_base_ = 'b.py'\n")
    os.link(tmp_path / "a.py", tmp_path / "b.py")
    with pytest.raises(ConfigError, match="circle"):
        Config.fromfile(tmp_path / "a.py")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    with pytest.raises(ConfigFileError, match="not a regular file"):
        Config.fromfile(tmp_path / "pipe.py")


def test_a_chain_of_many_bases_is_an_error_not_a_crash(tmp_path: Path) -> None:
    for number in range(1500):
        (tmp_path / f"c{number}.py").write_text(f"_base_ = 'c{number + 1}.py'\n")
    (tmp_path / "c1500.py").write_text("x = 1\n")
    with pytest.raises(ConfigError, match="too many bases"):
        Config.fromfile(tmp_path / "c0.py")


def test_a_byte_order_mark_and_dos_lines_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "dos.py"
    path.write_bytes("\ufeffx = 1\r\ny = 'ü'\r\n".encode())
    assert Config.fromfile(path).to_dict() == {"x": 1, "y": "ü"}


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "pspnet_r50.py").write_text("x = 1\n")
    with pytest.raises(ConfigFileError, match=r"did you mean 'pspnet_r50\.py'"):
        Config.fromfile(tmp_path / "pspnet_r05.py")


def test_errors_are_of_the_families_that_people_catch(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("x = (\n")
    with pytest.raises(SyntaxError):
        Config.fromfile(tmp_path / "broken.py")
    with pytest.raises(FileNotFoundError):
        Config.fromfile(tmp_path / "absent.py")
    with pytest.raises(ValueError, match=r"broken\.py:1"):
        Config.fromfile(tmp_path / "broken.py")
    assert issubclass(ConfigSyntaxError, SyntaxError)
