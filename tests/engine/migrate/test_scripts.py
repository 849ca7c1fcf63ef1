"""Which of MMSegmentation's tools a shell script calls, and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.migration import report_on, said
from helpers.tree import ROOT

from seg_engine.migrate.project import look_at
from seg_engine.migrate.tools import TOOLS


@pytest.mark.parametrize(
    ("call", "advice"),
    [
        ("python tools/train.py a.py --amp", "seg train a.py --amp"),
        ("python ../mmseg/tools/test.py a.py b.pth --show-dir 'x y'", "seg test a.py b.pth --show-dir 'x y'"),
        (
            "bash tools/dist_train.sh a.py 4 --work-dir w",
            "torchrun --nproc-per-node=4 -m seg_engine train a.py --work-dir w",
        ),
        (
            "PORT=29500 ./tools/dist_test.sh $CONFIG $CHECKPOINT 8",
            "torchrun --nproc-per-node=8 -m seg_engine test $CONFIG $CHECKPOINT",
        ),
        (
            "GPUS=8 sh slurm_train.sh dev job a.py --resume",
            "srun --partition=dev --job-name=job --ntasks=8 --gpus-per-task=1 seg train a.py --resume --launcher slurm",
        ),
        (
            "python -m torch.distributed.launch --nproc_per_node=4 tools/train.py a.py --launcher pytorch",
            "torchrun --nproc_per_node=4 -m seg_engine train a.py --launcher pytorch",
        ),
        ("srun -n 4 python -u tools/train.py a.py --launcher slurm", "srun -n 4 seg train a.py --launcher slurm"),
        ("cd x && python tools/misc/print_config.py a.py", "print(Config.fromfile(CONFIG).pretty_text)"),
        ("python tools/analysis_tools/get_flops.py a.py # count", "torch.utils.flop_counter.FlopCounterMode"),
    ],
)
def test_a_call_of_a_tool_has_its_command(tmp_path: Path, call: str, advice: str) -> None:
    (found,) = report_on(tmp_path, {"run.sh": f"#!/bin/sh\n# tools/train.py\n{call}\n"}).findings
    assert (found.place, found.advice) == ("run.sh:3", advice)


def test_processes_that_would_train_alone_there_are_named(tmp_path: Path) -> None:
    (found,) = report_on(tmp_path, {"run.sh": "torchrun --nproc-per-node=4 tools/train.py a.py\n"}).findings
    assert found.name == "several-processes-are-found"
    assert found.advice == "torchrun --nproc-per-node=4 -m seg_engine train a.py"


def test_a_call_that_goes_on_over_lines_has_the_line_of_its_begin(tmp_path: Path) -> None:
    report = report_on(tmp_path, {"run.sh": "\npython tools/train.py \\\n  a.py \\\n  --amp\necho 'done\n"})
    assert said(report) == ["run.sh:2: tools/train.py is MMSegmentation's"]
    assert report.findings[0].advice == "seg train a.py --amp"


@pytest.mark.parametrize("name", ["train.sh", "a.slurm", "a.sbatch"])
def test_one_script_by_its_path(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("python tools/train.py a.py\n", encoding="utf-8")
    report = look_at(tmp_path / name)
    assert (report.kind, report.code, report.files) == ("script", 1, {"scripts": [str(tmp_path / name)]})
    assert said(report) == [f"{tmp_path / name}:1: tools/train.py is MMSegmentation's"]
    (tmp_path / name).write_bytes(b"\xff\xfe")
    assert look_at(tmp_path / name).code == 2


def test_other_commands_are_no_finding(tmp_path: Path) -> None:
    assert not report_on(tmp_path, {"run.sh": "python train.py a.py\nseg train a.py\npip install tools\n"}).findings


def test_the_page_of_the_tools_has_a_row_for_each() -> None:
    page = (ROOT / "docs/mmseg-tools.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    named = [(name.strip("` "), here, word) for names, here, word in rows for name in names[2:].split(", ")]
    shown = {name: (here, word.removesuffix(" |")) for name, here, word in named}
    assert shown == {name: (tool.here or "nothing", tool.word) for name, tool in TOOLS.items()}
