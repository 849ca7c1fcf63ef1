"""Functions that several packages hold, since islands share no code: the same cases over all of them.

The twins are found in the sources by their names, so a new one is tried, too.
"""

from __future__ import annotations

import ast
import enum
import errno
import functools
import importlib
import math
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from helpers.tree import PACKAGES, ROOT, source_files
from torch import nn

EXPECTED = {
    "did_you_mean": set(PACKAGES),
    "adopt_world": {"seg_hooks", "seg_runner"},
    "edit_distance": {"seg_registry", "seg_hooks", "seg_runner"},
    "find_launch": {"seg_hooks", "seg_runner"},
    "not_finite": {"seg_hooks", "seg_runner"},
    "only_run": {"seg_hooks", "seg_runner"},
    "optimizer_not_finite": {"seg_hooks", "seg_runner"},
    "priority_number": {"seg_hooks", "seg_runner"},
    "unwrap": {"seg_hooks", "seg_optim", "seg_runner"},
    "write_whole": {"seg_registry", "seg_hooks", "seg_runner", "seg_vis"},
}


@functools.cache
def functions() -> dict[str, list[str]]:
    """The functions at the top level of each module of all packages."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in source_files(package):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            module = ".".join((package, *path.relative_to(folder).with_suffix("").parts))
            found[module] = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return found


def modules_with(name: str) -> list[str]:
    """The modules of all packages that define a function of this name at their top level."""
    return [module for module, names in functions().items() if name in names]


def twins(name: str) -> Any:
    return pytest.mark.parametrize("module", modules_with(name))


def load(module: str) -> ModuleType:
    return importlib.import_module(module)


@pytest.mark.parametrize("name", EXPECTED)
def test_each_package_has_one(name: str) -> None:
    assert sorted(module.partition(".")[0] for module in modules_with(name)) == sorted(EXPECTED[name])


# ------------------------------------------------------------------------------------------------------ near names


def test_near_names_come_from_one_function_of_each_package() -> None:
    found = [path for package in PACKAGES for path in source_files(package) if "difflib" in path.read_text("utf-8")]
    assert len(found) == len(EXPECTED["did_you_mean"]), found


@twins("did_you_mean")
def test_a_near_name_is_suggested(module: str) -> None:
    suggest, known = load(module).did_you_mean, ["max_iters", "work_dir", "optim_wrapper"]
    for name, near in (("max_iter", "max_iters"), ("MAX_ITERS", "max_iters"), ("optim_wraper", "optim_wrapper")):
        text = suggest(name, iter(known))
        assert "did you mean" in text.lower()
        assert near in text
        assert "work_dir" not in text
    assert "mIoU" in suggest("miou", ["aAcc", "mIoU"])
    for name in ("colour", ""):
        assert "did you mean" not in suggest(name, known).lower()
    assert suggest("colour", []) == ""


@twins("edit_distance")
def test_slips_of_the_keyboard_are_counted(module: str) -> None:
    distance = load(module).edit_distance
    assert [distance("model", other) for other in ("model", "mode", "models", "modal")] == [0, 1, 1, 1]
    assert [distance(other, "train_cfg") for other in ("tain_cg", "trains_cfgs", "drain_cgg")] == [2, 2, 2]
    assert [distance("loss", other) for other in ("", "optim_wrapper", "hooks")] == [3, 3, 3]
    assert distance("abcdef", "uvwxyz", 5) == 5


# ------------------------------------------------------------------------------------------------------- priorities


class Priority(enum.Enum):
    VERY_LOW = 90


PRIORITIES = [("VERY_LOW", 90), ("very_low", 90), ("highest", 0), ("LOWEST", 100), (42, 42), (0, 0), (100, 100)]
NO_PRIORITIES = [(101, ValueError), (-1, ValueError), ("EARLY", KeyError), (True, TypeError), (1.5, TypeError)]


@twins("priority_number")
def test_priorities_are_names_numbers_or_members(module: str) -> None:
    number = load(module).priority_number
    assert [number(given) for given, _ in PRIORITIES] == [expected for _, expected in PRIORITIES]
    assert number(Priority.VERY_LOW) == 90
    for given, error in (*NO_PRIORITIES, (None, TypeError)):
        with pytest.raises(error, match=str(given)):
            number(given)


def test_priorities_have_the_same_names() -> None:
    assert len({str(load(module).PRIORITIES) for module in modules_with("priority_number")}) == 1


# ------------------------------------------------------------------------------------------------------ whole files


@twins("write_whole")
def test_a_file_is_written_and_replaced(module: str, tmp_path: Path) -> None:
    write, path = load(module).write_whole, tmp_path / "a"
    for content in (b"one", lambda file: file.write(b"two"), b""):
        write(path, content)
        assert path.read_bytes() == (b"two" if callable(content) else content)
    assert list(tmp_path.iterdir()) == [path]


@twins("write_whole")
@pytest.mark.parametrize("moment", ["writing", "renaming"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_what_goes_wrong_leaves_the_old_file_and_no_other(
    module: str, moment: str, error: BaseException, tmp_path: Path, monkeypatch: Any
) -> None:
    write, path = load(module).write_whole, tmp_path / "a"
    write(path, b"old")

    def fail(*_: object) -> None:
        raise error

    if moment == "renaming":
        monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(type(error)) as caught:
        write(path, b"new" if moment == "renaming" else fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    if isinstance(caught.value, OSError):
        assert caught.value.errno == errno.ENOSPC
        assert str(path) in str(caught.value)
        assert ".tmp" not in str(caught.value)


@twins("write_whole")
def test_the_disk_has_the_bytes_before_the_name_and_then_the_name(
    module: str, tmp_path: Path, monkeypatch: Any
) -> None:
    seen: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        seen.append(f"{os.readlink(f'/proc/self/fd/{handle}')} synced")
        fsync(handle)

    def renamed(source: Any, target: Any) -> None:
        seen.append(f"{source} renamed")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    load(module).write_whole(tmp_path / "a", b"x")
    temporary = seen[0].removesuffix(" synced")
    assert temporary != str(tmp_path / "a")
    assert seen == [f"{temporary} synced", f"{temporary} renamed", f"{tmp_path} synced"]


@twins("write_whole")
def test_rights_are_those_of_any_new_file_and_no_thread_sees_another_umask(
    module: str, tmp_path: Path, monkeypatch: Any
) -> None:
    write = load(module).write_whole
    before = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", None)  # setting it, even for a moment, changes it for all threads
        write(tmp_path / "a", b"x")
    finally:
        monkeypatch.undo()
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@twins("write_whole")
def test_a_name_may_be_as_long_as_the_system_allows(module: str, tmp_path: Path) -> None:
    for name in ("a" * 255, "ü" * 127, "路" * 85):
        load(module).write_whole(tmp_path / name, b"x")
        assert (tmp_path / name).read_bytes() == b"x"


KILLED = """
import importlib, os, pathlib, signal, sys
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
importlib.import_module(sys.argv[1]).write_whole(pathlib.Path(sys.argv[2]), b"half")
"""


@twins("clean_leftovers")
def test_what_a_killed_writer_leaves_is_removed_and_what_a_living_one_writes_is_not(
    module: str, tmp_path: Path
) -> None:
    files = load(module)
    done = subprocess.run([sys.executable, "-c", KILLED, module, tmp_path / "a"], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    left = [path.name for path in tmp_path.iterdir()]
    assert len(left) == 1
    (tmp_path / ".mine.tmp").write_text("not ours")
    seen = []
    files.write_whole(tmp_path / "b", lambda file: seen.extend(files.clean_leftovers(tmp_path)))
    assert seen == left
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.tmp", "b"]


# --------------------------------------------------------------------------------------------------- wrapped models


def of_class(name: str, net: nn.Module) -> nn.Module:
    """A wrapper that is known by its class's name only."""
    made: nn.Module = type(name, (nn.Module,), {})()
    made.module = net
    return made


def derived(kind: type[nn.Module], net: nn.Module) -> nn.Module:
    """An object of a wrapper's own subclass, made without processes."""
    made = object.__new__(type("Mine", (kind,), {}))
    nn.Module.__init__(made)
    made.module = net
    return made


class Held(nn.Module):
    """No wrapper, although a part of it is called `module`."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.module = net


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "DataParallel": nn.DataParallel,
    "DistributedDataParallel": lambda net: derived(nn.parallel.DistributedDataParallel, net),
    "FullyShardedDataParallel": lambda net: of_class("FullyShardedDataParallel", net),
    "MMDistributedDataParallel": lambda net: of_class("MMDistributedDataParallel", net),
    "MMDataParallel": lambda net: of_class("MMDataParallel", net),
    "MyDataParallel": lambda net: of_class("MyDataParallel", net),
    "ModelWrapper": lambda net: of_class("ModelWrapper", net),
    "OptimizedModule": lambda net: torch.compile(net, backend="eager"),
    "AveragedModel": torch.optim.swa_utils.AveragedModel,
    "BaseAveragedModel": lambda net: of_class("BaseAveragedModel", net),
}


@twins("unwrap")
@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapped_model_is_opened(module: str, name: str) -> None:
    unwrap, wrap = load(module).unwrap, WRAPPERS[name]
    net = Held(nn.Linear(1, 1))
    assert unwrap(net) is net
    if name == "AveragedModel":  # which copies the model
        wrapped = wrap(net)
        assert unwrap(wrapped) is wrapped.module
        return
    assert unwrap(wrap(net)) is net
    for other in WRAPPERS.keys() - {"AveragedModel", "OptimizedModule"}:
        assert unwrap(wrap(WRAPPERS[other](net))) is net
        assert unwrap(WRAPPERS[other](wrap(net))) is net


@twins("unwrap")
def test_a_net_that_is_called_like_a_wrapper_keeps_its_head(module: str) -> None:
    unwrap = load(module).unwrap
    net, scaled = of_class("SegModelWrapper", nn.Linear(1, 1)), of_class("SegModelWrapper", nn.Linear(1, 1))
    net.head, scaled.scale = nn.Linear(1, 1), nn.Parameter(torch.ones(1))
    for own in (net, scaled):
        assert unwrap(own) is own
        assert unwrap(nn.DataParallel(own)) is own


# --------------------------------------------------------------------------------------------------------- run lock


def hold(module: str, folder: Path, ready: Any, done: Any) -> None:
    with load(module).only_run(folder):
        ready.set()
        done.wait()


@twins("only_run")
def test_a_folder_that_another_process_trains_in_is_refused(module: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=(module, tmp_path, ready, done))
    process.start()
    try:
        assert ready.wait(300)
        for only_run in (load(other).only_run for other in modules_with("only_run")):
            with pytest.raises(RuntimeError, match=rf"{tmp_path} \(process {process.pid} on"), only_run(tmp_path):
                pass
    finally:
        done.set()
        process.join()
    with load(module).only_run(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@twins("only_run")
@pytest.mark.parametrize("other", modules_with("only_run"))
def test_runs_of_one_process_share_the_folder(module: str, other: str, tmp_path: Path) -> None:
    outer = load(module).only_run(tmp_path)
    with outer:
        with load(other).only_run(tmp_path):
            assert (tmp_path / ".running").exists()
        assert (tmp_path / ".running").exists()
    assert list(tmp_path.iterdir()) == []


@twins("only_run")
def test_a_folder_that_is_not_there_holds_nothing(module: str, tmp_path: Path) -> None:
    with load(module).only_run(tmp_path / "gone"):
        pass
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------------------------------------------- processes

LAUNCHED = {
    "torchrun": ({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}, (5, 8)),
    "torchrun in a step": ({"RANK": "1", "WORLD_SIZE": "2", "SLURM_NTASKS": "4", "SLURM_PROCID": "3"}, (1, 2)),
    "mpirun": ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, (1, 2)),
    "mpiexec": ({"PMI_SIZE": "2", "PMI_RANK": "1"}, (1, 2)),
    "mvapich": ({"MV2_COMM_WORLD_SIZE": "2", "MV2_COMM_WORLD_RANK": "0"}, (0, 2)),
    "jsrun": ({"JSM_NAMESPACE_SIZE": "2", "JSM_NAMESPACE_RANK": "1", "JSM_NAMESPACE_LOCAL_RANK": "0"}, (1, 2)),
    "srun": ({"SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "0"}, (1, 2)),
    "first of srun": ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0"}, (0, 2)),
    "several in a step": ({"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}, (1, 2)),
    "nothing": ({}, (0, 1)),
    "torchrun with one": ({"RANK": "0", "WORLD_SIZE": "1"}, (0, 1)),
    "the shell of salloc": ({"SLURM_NTASKS": "4"}, (0, 1)),
    "the script of a job": ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "ENVIRONMENT": "BATCH"}, (0, 1)),
    "an interactive step": ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_STEP_ID": "4294967290"}, (0, 1)),
    "srun -n1": ({"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, (0, 1)),
}
PLACES = [
    ({"SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_NODELIST": "gpu[03-05,9],login1"}, "gpu03"),
    ({"PMI_SIZE": "2", "PMI_RANK": "1", "MASTER_ADDR": "far"}, "far"),
]


@twins("find_launch")
@pytest.mark.parametrize("name", LAUNCHED)
def test_who_started_a_process_is_found(module: str, name: str) -> None:
    given, expected = LAUNCHED[name]
    found = load(module).find_launch(given)
    assert (found.rank, found.size) == expected
    assert bool(found.says) is (found.size > 1)


@twins("find_launch")
def test_where_ranks_meet_is_found(module: str) -> None:
    found = [load(module).find_launch(given) for given, _ in PLACES]
    assert [one.address for one in found] == [address for _, address in PLACES]
    jobs = [{"SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_JOB_ID": job} for job in ("17", "18")]
    ports = {load(module).find_launch(job).port for job in jobs}
    assert len(ports) == 2
    assert ports == {load(modules_with("find_launch")[0]).find_launch(job).port for job in jobs}


@twins("find_launch")
@pytest.mark.parametrize("given", [{"WORLD_SIZE": "2"}, {"RANK": "2", "WORLD_SIZE": "2"}])
def test_what_does_not_go_together_is_refused(module: str, given: dict[str, str]) -> None:
    with pytest.raises(RuntimeError, match="WORLD_SIZE=2"):
        load(module).find_launch(given)


# ----------------------------------------------------------------------------------------------------------- finite


def tensor(*values: float, kind: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.tensor(values).to(kind)


@twins("not_finite")
def test_weights_that_are_not_finite_are_named(module: str) -> None:
    find = load(module).not_finite
    weights = {"nan": tensor(1, math.nan), "inf": tensor(math.inf), "mask": tensor(-math.inf), "fine": tensor(1)}
    weights |= {"count": torch.tensor([1, 2]), "half": tensor(math.nan, kind=torch.float16), "empty": tensor()}
    weights["eight"] = tensor(math.nan, kind=torch.float8_e4m3fn)
    assert find({"state_dict": weights}) == ["nan", "inf", "half", "eight"]
    assert find({"state_dict": {"fine": tensor(3e38, 3e38)}}) == []  # the sum alone is infinite
    assert find({"state_dict": {}, "ema_state_dict": {"module.a": nn.Parameter(tensor(math.nan))}}) == ["module.a"]
    assert find({}) == find({"state_dict": None}) == []
    assert len(find({"state_dict": {str(number): tensor(math.nan) for number in range(50)}})) == 20


@twins("optimizer_not_finite")
def test_states_of_an_optimizer_that_are_not_finite_are_named(module: str) -> None:
    find = load(module).optimizer_not_finite
    state = {"state": {3: {"exp_avg_sq": tensor(math.inf), "step": 1}, 4: {"exp_avg": tensor(1)}}, "param_groups": []}
    assert find({"optimizer": state}) == ["exp_avg_sq of parameter 3"]
    assert find({"optimizer": {"head": state}}) == ["exp_avg_sq of parameter 3 of head"]
    assert find({}) == find({"optimizer": None}) == []
