"""A config that says where to write: below the work directory, or told, or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from seg_runner import Runner
from seg_runner.process.places import NAMES, PLACES, check_places


def hook(**options: str) -> dict[str, Any]:
    return {"hooks": [options]}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The work directory `runs/a` below the current folder."""
    (tmp_path / "here" / "runs" / "a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here" / "runs" / "a"


@pytest.mark.parametrize("key", sorted(PLACES))
def test_every_key_of_a_place_is_looked_at(key: str, work: Path) -> None:
    for inside in (str(work), f"{work}/x", "runs/a/x", "runs/a/../a/x", "./runs//a/x/y"):
        assert check_places(hook(**{key: inside}), ["hooks"], work, strict=True) == []
    for outside in ("/elsewhere", "elsewhere", f"{work}x", "runs", f"{work}/../b", "~/x", "/", "C:\\x"):
        (line,) = check_places(hook(**{key: outside}), ["hooks"], work)
        assert line.startswith(f"hooks.0.{key}={outside!r} is {Path(outside).resolve()}")
        with pytest.raises(ValueError, match=rf"hooks\.0\.{key}=.* outside of the work directory"):
            check_places(hook(**{key: outside}), ["hooks"], work, strict=True)
    for climbs in ("..", "../x", "runs/a/../../x", "../../../../etc"):
        with pytest.raises(ValueError, match=r"leaves the work directory .* or write the whole path"):
            check_places(hook(**{key: climbs}), ["hooks"], work)
    with pytest.raises(ValueError, match="zero character"):
        check_places(hook(**{key: f"{work}/a\0b"}), ["hooks"], work)


@pytest.mark.parametrize("key", sorted(NAMES))
def test_a_name_is_one_inside_of_its_folder(key: str, work: Path) -> None:
    for good in ("iter_{}.pth", "pictures/val", "a..b", "x.json"):
        assert check_places(hook(**{key: good}), ["hooks"], work, strict=True) == []
    for bad in ("../x", "/x", "a/../../x", "..", "..\\x", "C:\\x", "c:x", "\\\\server\\x", "\\x", "a\0"):
        for strict in (False, True):
            with pytest.raises(ValueError, match=rf"hooks\.0\.{key}="):
                check_places(hook(**{key: bad}), ["hooks"], work, strict=strict)
    for long in ("x" * 256, "a/" + "é" * 128):
        with pytest.raises(ValueError, match=rf"hooks\.0\.{key}=.* longer than the 255 bytes"):
            check_places(hook(**{key: long}), ["hooks"], work)


def test_links_count_where_they_lead(work: Path, tmp_path: Path) -> None:
    (work / "out").symlink_to(tmp_path)
    (tmp_path / "in").symlink_to(work)
    assert check_places(hook(out_dir="runs/a/out/x"), ["hooks"], work)
    assert not check_places(hook(out_dir=f"{tmp_path}/in/x"), ["hooks"], work)


class Case(NamedTuple):
    value: str
    is_told: bool
    is_refused: bool


@pytest.mark.parametrize(
    "case",
    [
        Case("sqlite:///runs/a/x.db", False, False),
        Case("sqlite:////tmp/x.db", True, True),
        Case("sqlite+pysqlite:////tmp/x.db", True, True),
        Case("file:///tmp/x", True, True),
        Case("file:/tmp/x", True, True),
        Case("FILE://localhost/tmp/x", True, True),
        Case("file:///%74mp/x", True, True),
        Case("file:runs/a", False, False),
        Case("http://tracker:5000", False, True),
        Case("postgresql://u@host/db", False, True),
        Case("s3://bucket/x", False, True),
        Case("databricks", False, True),
    ],
    ids=lambda case: case.value,
)
def test_addresses(case: Case, work: Path) -> None:
    named = hook(tracking_uri=case.value)
    assert bool(check_places(named, ["hooks"], work)) is case.is_told
    if case.is_refused:
        with pytest.raises(ValueError, match="outside of the work directory"):
            check_places(named, ["hooks"], work, strict=True)
    else:
        assert not check_places(named, ["hooks"], work, strict=True)


def test_what_trackers_are_given_is_looked_at(work: Path) -> None:
    for inside in ({"dir": "/x"}, {"settings": {"root_dir": "/x"}}, {"repo": "/x"}, {"output_uri": "/x"}):
        assert check_places({"visualizer": {"vis_backends": [{"init_kwargs": inside}]}}, ["visualizer"], work)
    server = {"init_kwargs": {"settings": {"base_url": "https://elsewhere.example"}}}  # it is sent the user's key
    assert not check_places({"visualizer": {"vis_backends": [server]}}, ["visualizer"], work)
    with pytest.raises(ValueError, match=r"base_url='https://elsewhere\.example' is a server"):
        check_places({"visualizer": {"vis_backends": [server]}}, ["visualizer"], work, strict=True)
    assert not check_places({"train_dataloader": {"dir": "/data", "img_path": "/data"}}, ["train_dataloader"], work)


def test_only_keys_that_are_used_count_and_lists_in_a_ring_end(work: Path) -> None:
    ring: list[Any] = [{"out_dir": "/x"}]
    ring.append(ring)
    for _ in range(60):  # 2**60 ways to the same place
        ring = [ring, ring]
    assert len(check_places({"hooks": ring, "helper": {"out_dir": "/y"}}, ["hooks"], work)) == 1


def test_a_line_shows_no_control_characters(work: Path) -> None:
    (line,) = check_places(hook(out_dir="/a\x1b[31m\nb"), ["hooks"], work)
    assert "\x1b" not in line
    assert "\n" not in line


def test_a_place_inside_of_the_model_counts(tmp_path: Path) -> None:
    cfg = {"model": {"type": "X", "head": {"out_dir": "/x"}}, "work_dir": str(tmp_path), "strict_paths": True}
    with pytest.raises(ValueError, match=r"model\.head\.out_dir='/x' is /x, outside"):
        Runner.from_cfg(cfg)


def test_a_run_tells_once_and_refuses_on_request(
    make_runner: Callable[..., Runner], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Named:
        """A hook that takes the keys of others."""

        def __init__(self, out_dir: str, json_trace_path: str) -> None:
            self.out_dir = out_dir

        def before_run(self, runner: Any) -> None:
            """Nothing."""

    named = {"hooks": [{"type": Named, "out_dir": str(tmp_path), "json_trace_path": "/x.json"}]}
    make_runner(**named)
    (line,) = [one for one in capsys.readouterr().out.splitlines() if "outside of work_dir" in one]
    assert f"hooks.0.out_dir='{tmp_path}' is {tmp_path}; hooks.0.json_trace_path='/x.json' is /x.json" in line
    with pytest.raises(ValueError, match="outside of the work directory"):
        make_runner(**named, strict_paths=True, work_dir=tmp_path / "new")
    assert not (tmp_path / "new").exists()
