"""The scripts of `examples/launch`: that of one machine really runs; programs of Slurm and of clouds have stand-ins."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.small_config import small_config
from helpers.tree import ROOT
from torch.distributed.run import get_args_parser

EXAMPLES = ROOT / "examples" / "launch"
ECHO = '#!/bin/sh\nprintf "%s\\n" "$@"\n'

SRUN = '''#!PYTHON
"""Starts the processes of a step as srun does, from one that has imported everything."""
import os, signal, sys
tasks, words = 1, sys.argv[1:]
while words[0].startswith("-"):
    if words[0].startswith("--ntasks="):
        tasks = int(words[0].partition("=")[2])
    words.pop(0)
assert words[1:4] == ["-u", "-m", "seg_engine"], words
import torch
from seg_engine.cli import main
torch.set_num_threads(1)
tasks = int(os.environ.get("SLURM_NTASKS", tasks))
children = []
for number in range(tasks):
    child = os.fork()
    if not child:
        os.environ |= {"SLURM_PROCID": str(number), "SLURM_LOCALID": str(number), "SLURM_STEP_NUM_TASKS": str(tasks),
            "SLURM_NTASKS": str(tasks), "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "127.0.0.1",
            "SLURM_STEP_TASKS_PER_NODE": str(tasks), "SLURM_NODEID": "0"}
        os.environ.setdefault("SLURM_JOB_ID", str(os.getppid()))
        code = 1
        try:
            code = main(words[4:])
        except SystemExit as left:
            code = left.code
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    children.append(child)
for name in ("SIGUSR1", "SIGTERM"):
    signal.signal(getattr(signal, name), lambda number, frame: [os.kill(child, number) for child in children])
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
'''


def program(folder: Path, name: str, text: str) -> None:
    """Write a program."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text.replace("PYTHON", sys.executable))
    (folder / name).chmod(0o755)


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a script: programs of `folder` before others, and none of ours."""
    kept = {
        name: value for name, value in os.environ.items() if not re.match("RANK|WORLD|LOCAL|SLURM|MASTER|GPUS", name)
    }
    ours = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return {**kept, **ours, **more}


def run(script: str, *words: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the examples."""
    command = ["bash", str(EXAMPLES / script), *words]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=environment(cwd / "bin", **more), check=False
    )


def test_dist_train_really_trains_on_two_processes(tmp_path: Path, scenes: Path) -> None:
    small_config(tmp_path / "small.py", scenes, "default_hooks = dict(logger=dict(interval=2))")
    done = run("dist_train.sh", "small.py", "2", "--work-dir", "work", cwd=tmp_path, PYTHON=sys.executable)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Iter(train) [4/4]") == 1
    (record,) = (tmp_path / "work").glob("*/run.json")
    assert json.loads(record.read_text())["world_size"] == 2
    assert (tmp_path / "work" / "iter_4.pth").is_file()


@pytest.mark.parametrize(
    ("script", "words", "ours", "more"),
    [
        ("dist_train.sh", "c.py 4 --amp", "train c.py --launcher pytorch --amp", {}),
        ("dist_train.sh", "c.py 8", "train c.py --launcher pytorch", {"PORT": "1234"}),
        ("dist_test.sh", "c.py c.pth 8 --tta", "test c.py c.pth --launcher pytorch --tta", {}),
        (
            "dist_train.sh",
            "c.py 8 --work-dir w",
            "train c.py --launcher pytorch --work-dir w",
            {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "gpu07", "PORT": "1234", "MAX_RESTARTS": "3"},
        ),
    ],
)
def test_torchrun_is_given_what_the_variables_say(
    tmp_path: Path, script: str, words: str, ours: str, more: dict[str, str]
) -> None:
    program(tmp_path / "bin", "python", ECHO)
    done = run(script, *words.split(), cwd=tmp_path, **more)
    assert done.returncode == 0, done.stderr
    given = done.stdout.splitlines()
    assert given[:2] == ["-m", "torch.distributed.run"]
    read = get_args_parser().parse_args(given[2:])
    assert (read.module, read.training_script) == (True, "seg_engine")
    assert " ".join(read.training_script_args) == ours
    assert read.nproc_per_node == words.split()[1 if "train" in script else 2]
    assert read.nnodes == more.get("NNODES", "1:1")[: len(read.nnodes)]
    assert (read.node_rank, read.max_restarts) == (int(more.get("NODE_RANK", 0)), int(more.get("MAX_RESTARTS", 0)))
    assert read.standalone is not bool(more)
    if more:
        assert (read.master_addr, read.master_port) == (more.get("MASTER_ADDR", "127.0.0.1"), 1234)


@pytest.mark.parametrize(
    ("script", "words", "ours"),
    [
        ("slurm_train.sh", "dev job c.py", "train c.py --launcher slurm"),
        ("slurm_train.sh", "dev job c.py work --amp", "train c.py --launcher slurm --work-dir work --amp"),
        ("slurm_train.sh", "dev job c.py --resume", "train c.py --launcher slurm --resume"),
        ("slurm_test.sh", "dev job c.py c.pth --tta", "test c.py c.pth --launcher slurm --tta"),
    ],
)
def test_srun_is_given_what_the_variables_say(tmp_path: Path, script: str, words: str, ours: str) -> None:
    program(tmp_path / "bin", "srun", ECHO)
    usual = run(script, *words.split(), cwd=tmp_path)
    assert usual.returncode == 0, usual.stderr
    options, _, command = usual.stdout.partition("\npython\n")
    assert command.split() == ["-u", "-m", "seg_engine", *ours.split()]
    assert options.splitlines()[:5] == [
        *("--partition=dev", "--job-name=job", "--gres=gpu:4", "--ntasks=4", "--ntasks-per-node=4")
    ]
    more = {"GPUS": "16", "GPUS_PER_NODE": "8", "CPUS_PER_TASK": "3", "SRUN_ARGS": "--qos=high --gres=none"}
    given = run(script, *words.split(), cwd=tmp_path, **more).stdout.splitlines()
    for option in ("--gres=gpu:8", "--ntasks=16", "--ntasks-per-node=8", "--cpus-per-task=3", "--qos=high"):
        assert option in given
    assert given.index("--gres=none") > given.index("--gres=gpu:8"), "the last one counts"
    assert "--ntasks-per-node=2" in run(script, *words.split(), cwd=tmp_path, GPUS="2").stdout


def test_a_script_without_its_words_says_which_it_takes(tmp_path: Path) -> None:
    for script in ("dist_train.sh", "dist_test.sh", "slurm_train.sh", "slurm_test.sh"):
        done = run(script, "c.py", cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith(f"usage: bash {script} ")


STOP = """
class Stop:
    priority = "LOWEST"
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        import os, signal
        if runner.iter + 1 == 2 and os.environ["SLURM_RESTART_COUNT"] == "0" and runner.rank == 0:
            os.kill(os.getppid(), signal.SIGUSR1)
"""


def test_a_slurm_job_goes_back_into_the_queue_and_on_from_there(tmp_path: Path, scenes: Path) -> None:
    (tmp_path / "stop.py").write_text(STOP)
    extra = "custom_imports = dict(imports=['stop'])\ncustom_hooks = [dict(type='stop.Stop')]"
    small_config(tmp_path / "small.py", scenes, extra, iters=30)
    program(tmp_path / "bin", "srun", SRUN)
    program(tmp_path / "bin", "scontrol", f'#!/bin/sh\necho "$@" >> {tmp_path}/requeued\n')
    told, codes = "", []
    for count in range(2):  # what sbatch does
        more = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_NTASKS": "2", "SLURM_RESTART_COUNT": str(count)}
        done = run("train.sbatch", "small.py", "--work-dir", "work", cwd=tmp_path, PYTHONPATH=str(tmp_path), **more)
        told += done.stdout + done.stderr
        codes.append(done.returncode)
    assert codes == [138, 0], told
    assert (tmp_path / "requeued").read_text() == f"requeue {os.getpid()}\n"
    assert told.count("SIGUSR1: saved iter_") == 1
    assert told.count("This job was started again: going on from iter_") == 1
    assert told.count("go on with: ") == 1
    assert torch.load(tmp_path / "work" / "iter_30.pth", weights_only=True)["meta"]["iter"] == 30


def options_of(script: Path) -> dict[str, str]:
    """Read the options in a job script."""
    found = re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", script.read_text(), re.MULTILINE)
    return dict(found)


def test_the_job_script_asks_for_the_signal_and_the_queue() -> None:
    options = options_of(EXAMPLES / "train.sbatch")
    assert options["signal"] == "USR1@120", "without B: before it, it goes to the processes, not to the script"
    assert options["ntasks-per-node"] == options["gpus-per-node"], "one process for each device"
    assert {"requeue", "time", "nodes"} <= set(options)


def test_the_file_for_skypilot(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    task = yaml.safe_load((EXAMPLES / "skypilot.yaml").read_text())
    known = {"name", "resources", "num_nodes", "workdir", "envs", "file_mounts", "setup", "run"}
    assert set(task) <= known
    program(tmp_path / "bin", "torchrun", ECHO)
    sets = {"SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "1", "SKYPILOT_NUM_GPUS_PER_NODE": "4"}
    env = environment(tmp_path / "bin", **task["envs"], **sets, SKYPILOT_NODE_IPS="10.0.0.7\n10.0.0.8")
    given = subprocess.run(["bash", "-c", task["run"]], capture_output=True, text=True, env=env, check=True).stdout
    read = get_args_parser().parse_args(given.splitlines())
    assert (read.nnodes, read.node_rank, read.nproc_per_node, read.master_addr) == ("2", 1, "4", "10.0.0.7")
    assert read.training_script_args[:2] == ["train", "configs/my_net.py"]
    assert task["envs"]["WORK_DIR"].startswith(next(iter(task["file_mounts"])))
    assert "--resume" in read.training_script_args


def test_the_file_for_kubeflow(monkeypatch: pytest.MonkeyPatch) -> None:
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load((EXAMPLES / "kubeflow.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("trainer.kubeflow.org/v1alpha1", "TrainJob")
    trainer = job["spec"]["trainer"]
    assert set(trainer) <= {"image", "command", "args", "env", "numNodes", "numProcPerNode", "resourcesPerNode"}
    names = {"NNODES": "2", "NPROC_PER_NODE": "4", "NODE_RANK": "1", "MASTER_ADDR": "pod-0", "MASTER_PORT": "29400"}
    for name, value in names.items():  # what the runtime sets
        monkeypatch.setenv(f"PET_{name}", value)
    read = get_args_parser().parse_args(trainer["command"][1:])
    assert (read.nnodes, read.nproc_per_node, read.node_rank, read.master_addr) == ("2", "4", 1, "pod-0")
    assert read.training_script_args[0] == "train"
    assert "--resume" in read.training_script_args


def test_what_the_readme_shows_is_there() -> None:
    text = (EXAMPLES / "README.md").read_text()
    files = {path.name for path in EXAMPLES.iterdir()} - {"README.md"}
    assert all(f"[{name}]({name})" in text or f"`{name}`" in text for name in files)
    for line in re.findall(r"^(?:\w+=\S+ )*bash (\S+)", text, re.MULTILINE):
        assert (EXAMPLES / shlex.split(line)[0].rpartition("/")[2]).is_file()
