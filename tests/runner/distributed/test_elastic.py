"""Workers that are killed and started again by torchrun's own agent: the run is the one that nothing disturbed.

The agent is that of `torchrun`, called by its function, so that it forks workers instead of importing torch in each.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from helpers.ranks import Ranks, on_ranks
from runner.distributed.test_ddp import Blocks, network
from seg_runner import DefaultSampler, Runner
from torch import nn
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

RENDEZVOUS = {"join_timeout": 60, "last_call_timeout": 1, "close_timeout": 5}


class SavesEach:
    """Saves after every second iteration, and calls `act` after each step before that."""

    def __init__(self, act: Callable[[Runner, int], None]) -> None:
        self.act = act

    def after_train_iter(self, runner: Runner, batch_idx: int) -> None:
        """Act, and save."""
        self.act(runner, runner.iter + 1)
        if (runner.iter + 1) % 2 == 0:
            runner.save_last()


def train(folder: Path, act: Callable[[Runner, int], None], **more: Any) -> None:
    """Train twelve steps in a folder."""
    net = network()
    data = {"dataset": Blocks(24), "sampler": {"type": DefaultSampler}, "num_workers": 0}
    Runner(
        model=net,
        loss=nn.CrossEntropyLoss(),
        work_dir=folder,
        train_dataloader={**data, "batch_size": 8 // int(os.environ["WORLD_SIZE"])},
        train_cfg={"max_iters": 12},
        optim_wrapper=torch.optim.SGD(net.parameters(), 0.1, momentum=0.9),
        randomness={"seed": 3},
        hooks=[SavesEach(act)],
        **more,
    ).train()


def nothing(runner: Runner, step: int) -> None:
    """Let it train."""


def killed_at(folder: Path, steps: Mapping[int, int], **more: Any) -> None:
    """Train, and kill a rank at some steps, each once; the first restart is killed before it has met the others."""
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "1" and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)

    def act(runner: Runner, step: int) -> None:
        mark = folder.parent / f"killed_at_{step}"
        if steps.get(step) == int(os.environ["RANK"]) and not mark.exists():
            mark.write_text("")
            os.kill(os.getpid(), signal.SIGKILL)

    train(folder, act, **more)


def scaled(folder: Path, node: str) -> None:
    """Train on two machines, of which one dies at step 5; alone, wait at step 8 until another one has come."""
    world = int(os.environ["WORLD_SIZE"])

    def act(runner: Runner, step: int) -> None:
        if node == "dies" and step == 5:
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        if world == 1 and step == 8:
            (folder.parent / "alone").write_text("")
            while runner.signals.requested is None:
                time.sleep(0.02)

    train(folder, act)


def agent(
    nodes: tuple[int, int], processes: int, endpoint: str, restarts: int, work: Callable[..., Any], *args: Any
) -> None:
    """Do what one `torchrun` does."""
    for name in [name for name in os.environ if "RANK" in name or "MASTER" in name or "WORLD" in name]:
        del os.environ[name]
    if nodes[0] != nodes[1]:  # else a machine that comes waits for an address that nobody gives (torch 2.13)
        os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    configs = {**RENDEZVOUS, "is_host": args[-1] != "dies" and args[-1] != "comes"}
    config = LaunchConfig(
        *nodes, processes, rdzv_backend="c10d", rdzv_endpoint=endpoint, run_id="1", max_restarts=restarts,
        monitor_interval=0.05, start_method="fork", rdzv_configs=configs,
    )  # fmt: skip
    elastic_launch(config, work)(*args)


def started_by(folder: Path, restarts: int, work: Callable[..., Any], *args: Any) -> tuple[list[int], str]:
    """Have one agent start two workers; returns its exit code, and what they say."""
    with Ranks(1, folder, agent, (1, 1), 2, "127.0.0.1:0", restarts, work, *args) as ranks:
        return ranks.codes(), ranks.said(0)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Read the last weights of a run."""
    found: dict[str, torch.Tensor] = torch.load(folder / "iter_12.pth", weights_only=True)["state_dict"]
    return found


def test_workers_that_are_killed_cost_the_steps_since_the_last_save(tmp_path):
    (tmp_path / "killed").mkdir()
    on_ranks(2, tmp_path / "whole", train, tmp_path / "whole", nothing)
    codes, said = started_by(tmp_path / "said", 4, killed_at, tmp_path / "killed" / "run", {5: 1, 9: 0})
    assert codes == [0], said
    assert said.count("This job was started again: going on from iter_") == 2
    assert "going on from iter_4.pth" in said
    assert "going on from iter_8.pth" in said
    whole, killed = weights(tmp_path / "whole"), weights(tmp_path / "killed" / "run")
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    records = sorted((tmp_path / "killed" / "run").glob("*/run.json"))
    jobs = [json.loads(path.read_text())["tries"] for path in records]
    assert len(jobs) == 3
    assert len({name for job in jobs for name in job}) == 1, "one agent is one job"


def test_a_restart_never_goes_on_with_another_run(tmp_path):
    on_ranks(2, tmp_path / "before", train, tmp_path / "run", nothing)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.pth")}
    codes, said = started_by(tmp_path / "said", 1, train, tmp_path / "run", nothing)
    assert codes == [1]
    assert said.count("FileExistsError: an earlier run has left the checkpoints") >= 2
    assert "started again" not in said
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.pth")} == before


def test_machines_leave_and_come(tmp_path):
    on_ranks(2, tmp_path / "whole", train, tmp_path / "whole", nothing)
    run = tmp_path / "scaled" / "run"
    run.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"127.0.0.1:{server.getsockname()[1]}"
    given = ((1, 2), 1, endpoint, 4, scaled, run)
    with Ranks(1, tmp_path / "stays", agent, *given, "stays") as stays:
        with Ranks(1, tmp_path / "dies", agent, *given, "dies") as dies:
            assert dies.codes() == [-signal.SIGKILL], dies.said(0)
        while not (run.parent / "alone").exists():
            assert stays.processes[0].is_alive(), stays.said(0)
            time.sleep(0.05)
        with Ranks(1, tmp_path / "comes", agent, *given, "comes") as comes:
            assert stays.codes() == [0], stays.said(0) + comes.said(0)
            assert comes.codes() == [0], comes.said(0)
    records = sorted(run.glob("*/run.json"))
    assert [json.loads(path.read_text())["world_size"] for path in records] == [2, 1, 2]
    torch.testing.assert_close(weights(run), weights(tmp_path / "whole"), rtol=1e-5, atol=1e-7)
