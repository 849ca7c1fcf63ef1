"""The command on several processes: each launcher, one voice, and an error that is told once."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
from helpers.ranks import Ranks
from helpers.small_config import small_config
from seg_runner.distributed.world import OtherRankError
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from seg_engine.cli import main
from seg_engine.ranks import tell_error


def seg(*words: str) -> None:
    """Run the command as torchrun has started it."""
    sys.exit(main(words))


def seg_by(names: dict[str, str], *words: str) -> None:
    """Run the command with other variables than torchrun's; `#` stands for the number of the process."""
    number = os.environ["RANK"]
    for name in [
        name for name in os.environ if any(part in name for part in ("RANK", "WORLD", "TORCHELASTIC", "PORT"))
    ]:
        del os.environ[name]
    os.environ |= {name: value.replace("#", number) for name, value in names.items()}
    seg(*words)


def by_srun(*words: str) -> None:
    """Run the command as srun would have started it."""
    numbers = {"SLURM_PROCID": "#", "SLURM_LOCALID": "#", "SLURM_NTASKS": "2", "SLURM_STEP_ID": "0"}
    seg_by({**numbers, "SLURM_NODELIST": "127.0.0.1", "SLURM_JOB_ID": str(os.getppid())}, *words)


def by_mpirun(*words: str) -> None:
    """Run the command as mpirun would have started it."""
    numbers = {"OMPI_COMM_WORLD_RANK": "#", "OMPI_COMM_WORLD_SIZE": "2"}
    seg_by({**numbers, "PMIX_NAMESPACE": str(os.getppid())}, *words)


def said(ranks: Ranks) -> str:
    """What all ranks have printed."""
    return "".join(ranks.said(rank) for rank in range(ranks.world))


@pytest.fixture
def config(tmp_path: Path, scenes: Path) -> str:
    return str(small_config(tmp_path / "small.py", scenes, "default_hooks = dict(logger=dict(interval=2))"))


def test_train_test_and_rerun_with_every_launcher(tmp_path: Path, config: str, capsys) -> None:
    weights = []
    for name, how in (("pytorch", seg), ("slurm", by_srun), ("mpi", by_mpirun)):
        work = str(tmp_path / name)
        words = ("train", config, "--work-dir", work, "--launcher", name, "--local-rank=0")
        with Ranks(2, tmp_path / f"ranks_{name}", how, *words) as ranks:
            assert ranks.codes() == [0, 0], said(ranks)
            assert ranks.said(0).count("Iter(train)") == 2
            assert ranks.said(1) == ""
        weights.append(torch.load(Path(work) / "iter_4.pth", weights_only=True)["state_dict"])
    for other in weights[1:]:
        assert all(torch.equal(other[key], weights[0][key]) for key in other)

    trained = str(tmp_path / "pytorch" / "iter_4.pth")
    with Ranks(2, tmp_path / "test", seg, "test", config, trained, "--work-dir", str(tmp_path / "tested")) as ranks:
        assert ranks.codes() == [0, 0], said(ranks)
        assert ranks.said(0).splitlines()[-1].startswith("aAcc: ")
        assert ranks.said(1) == ""

    with Ranks(2, tmp_path / "rerun", seg, "rerun", str(tmp_path / "pytorch"), "--launcher", "pytorch") as ranks:
        assert ranks.codes() == [0, 0], said(ranks)
        assert ranks.said(1) == ""
    again = torch.load(tmp_path / "pytorch_rerun" / "iter_4.pth", weights_only=True)["state_dict"]
    assert all(torch.equal(again[key], weights[0][key]) for key in again)
    assert not (tmp_path / "pytorch_rerun_2").exists()

    assert main(["rerun", str(tmp_path / "pytorch")]) == 0
    assert "note: the run had 2 processes, and this one has 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (("train", "nowhere.py"), 1, "error: there is no config nowhere.py"),
        (("train", "a.py", "--resmue"), 2, "did you mean --resume?"),
        (("predict", "c.pth", "i.png"), 1, "seg predict works in one process, but this is one of 2"),
    ],
    ids=["no config", "usage", "one process"],
)
def test_an_error_is_told_once(tmp_path: Path, words: tuple[str, ...], code: int, line: str) -> None:
    with Ranks(2, tmp_path / "ranks", seg, *words) as ranks:
        assert ranks.codes() == [code, code]
        assert said(ranks).count(line) == 1


def test_an_error_that_comes_back_after_each_restart_is_named(tmp_path: Path) -> None:
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    told = []
    for number in range(3):
        environment = {"MASTER_PORT": str(store.port), "TORCHELASTIC_RESTART_COUNT": str(number)}
        with Ranks(2, tmp_path / f"try{number}", seg, "train", "nowhere.py", environment=environment) as ranks:
            assert ranks.codes() == [1, 1]
            told.append(said(ranks))
    assert told[0].count("error: there is no config") == 1
    for number in (1, 2):
        assert told[number].count(f"the same after restart {number}: ") == 1
        assert told[number].count("error: there is no config") == 1


def test_half_of_the_variables_trains_nothing(tmp_path: Path, config: str, monkeypatch, capsys) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    assert main(["train", config, "--work-dir", str(tmp_path / "work")]) == 1
    assert "RANK, which says which of them this is, is not set" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_a_launcher_that_did_not_start_this_process(tmp_path: Path, config: str, capsys) -> None:
    for name, program in (("pytorch", "torchrun"), ("slurm", "srun"), ("mpi", "mpirun")):
        assert main(["train", config, "--work-dir", str(tmp_path / "work"), "--launcher", name]) == 1
        assert f"was not started by {program}" in capsys.readouterr().err


@pytest.mark.parametrize(("unsaid", "told"), [(False, ""), (True, "rank 1: was killed\n")])
def test_what_another_process_could_not_say_itself_is_told(capsys, unsaid: bool, told: str) -> None:
    error = OtherRankError(1, "was killed", unsaid)
    tell_error(error, str(error))
    assert capsys.readouterr().err == told
