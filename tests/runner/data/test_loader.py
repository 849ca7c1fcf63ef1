from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest
import torch
from seg_runner import DefaultSampler, default_collate, pseudo_collate
from seg_runner.data.loader import build_dataloader, choose_num_workers
from seg_runner.data.named_dataset import describe_sample
from seg_runner.data.samples import SeededDataset
from seg_runner.data.workers import WorkerInit
from seg_runner.distributed.world import World
from seg_runner.process.randomness import Randomness
from torch.utils.data import DataLoader

RUN = Randomness(seed=5)


class Names:
    """A builder with what these tests ask for."""

    def get(self, kind, name):
        return {"pseudo_collate": pseudo_collate, "default_collate": default_collate}[name]

    def build(self, kind, cfg, **defaults):
        options = {**defaults, **cfg}
        kinds = {"dataset": Data, "data_sampler": DefaultSampler}
        options.pop("type")
        return kinds[kind](**options)


class Data:
    metainfo = {"classes": ("a", "b")}

    def __init__(self, size=10):
        self.size, self.ready = size, False

    def full_init(self):
        self.ready = True

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return {"inputs": torch.tensor(index)}


def build(**cfg):
    options = {"dataset": {"type": "Data"}, "batch_size": 2, "num_workers": 0, **cfg}
    return build_dataloader(options, Names(), RUN)


def test_a_config_of_the_reference():
    loader = build(
        sampler={"type": "DefaultSampler", "shuffle": True},
        collate_fn={"type": "default_collate"},
        persistent_workers=True,
    )
    assert isinstance(loader, DataLoader)
    assert loader.dataset.ready
    assert loader.sampler.seed == 5
    assert loader.batch_size == 2
    assert next(iter(loader))["inputs"].shape == (2,)
    assert not loader.persistent_workers


def test_samples_stay_apart_by_default():
    assert isinstance(next(iter(build()))["inputs"], list)


def test_a_ready_loader_passes_through():
    loader = DataLoader([1, 2])
    assert build_dataloader(loader, None, RUN) is loader


def test_objects_need_no_builder():
    loader = build_dataloader({"dataset": Data(), "num_workers": 0}, None, RUN)
    assert len(loader) == 10


def test_the_number_of_batches_can_be_cut():
    loader = build(num_batch_per_epoch=3)
    assert len(loader) == 3
    assert loader.dataset.metainfo == Data.metainfo


def test_num_workers_is_chosen_and_logged(caplog):
    caplog.set_level("INFO", "seg_runner")
    loader = build_dataloader({"dataset": Data()}, None, RUN)
    assert loader.num_workers == choose_num_workers(len(os.sched_getaffinity(0)))
    assert "num_workers was not given" in caplog.text
    parity = Randomness(seed=5, stream="mmengine")
    assert build_dataloader({"dataset": Data()}, None, parity).num_workers == 0


@pytest.mark.parametrize(("cores", "processes", "wanted"), [(1, 1, 0), (2, 1, 2), (64, 1, 8), (16, 8, 2), (8, 8, 0)])
def test_workers_are_a_share_of_the_cores(cores, processes, wanted):
    assert choose_num_workers(cores, processes) == wanted


def test_missing_parts_say_what_to_give():
    with pytest.raises(TypeError, match="needs `dataset`"):
        build_dataloader({"batch_size": 2}, Names(), RUN)
    with pytest.raises(TypeError, match="seg-registry"):
        build_dataloader({"dataset": {"type": "Data"}}, None, RUN)
    with pytest.raises(TypeError, match="collate_fn is given by name"):
        build_dataloader({"dataset": Data(), "collate_fn": {"type": "x"}}, None, RUN)
    with pytest.raises(TypeError, match="must be a function"):
        build(collate_fn=3)


def test_a_function_with_options_can_travel_to_a_worker():
    import pickle

    def_ = build(collate_fn={"type": describe_sample, "index": 3}).collate_fn
    assert pickle.loads(pickle.dumps(def_))([0]) == "sample 3 of list"


def test_the_reference_seeds_of_workers():
    run = Randomness(seed=5, stream="mmengine")
    loader = build_dataloader({"dataset": Data(), "num_workers": 2}, None, run, world=World(3, 4))
    assert loader.worker_init_fn.seed == 2 * 3 + 5


def test_a_sample_is_named_by_what_the_data_set_tells():
    class Listed:
        images = ["a.png", "b.png"]

    class Informed:
        def get_data_info(self, index):
            return {"img_path": f"{index}.jpg"}

    assert describe_sample(Listed(), 1) == "sample 1 of Listed (b.png)"
    assert describe_sample(Informed(), 1) == "sample 1 of Informed (1.jpg)"
    assert describe_sample(object(), 1) == "sample 1 of object"


def test_the_data_set_can_be_seen_through_its_wrapper():
    wrapped = SeededDataset(Data(), seed=1)
    assert wrapped.metainfo == Data.metainfo
    assert len(wrapped) == 10
    with pytest.raises(AttributeError):
        wrapped.nothing


PARENT = """
import os, signal, sys, time, torch
from torch.utils.data import DataLoader
from seg_runner.data.workers import WorkerInit

class Data(torch.utils.data.Dataset):
    def __len__(self): return 4
    def __getitem__(self, index): return index

def main():
    loader = DataLoader(Data(), num_workers=1, persistent_workers=True, worker_init_fn=WorkerInit())
    batches = iter(loader)
    next(batches)
    worker = batches._workers[0].pid
    os.system(f"kill -TERM {worker}; kill -INT {worker}; kill -USR1 {worker}")
    print([int(batch) for batch in batches], flush=True)
    # and now the interpreter ends with the worker still there

main()
"""


def test_workers_outlive_signals_but_not_their_parent():
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(PARENT)], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[1, 2, 3]"
    assert done.returncode == 0, done.stderr


def test_the_users_init_runs_after_ours():
    called = []
    init = WorkerInit(called.append)
    before = signal.getsignal(signal.SIGINT)
    pid = os.fork()
    if not pid:
        init(3)
        os._exit(0 if called == [3] and signal.getsignal(signal.SIGINT) == signal.SIG_IGN else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert signal.getsignal(signal.SIGINT) == before


class OpenCV:
    """Notes how many threads it is told to use."""

    def __init__(self) -> None:
        self.threads = [8]

    def setNumThreads(self, count: int) -> None:  # its own name
        self.threads.append(count)


@pytest.mark.parametrize(("given", "threads"), [(None, [8, 0]), ("4", [8])])
def test_a_worker_uses_one_thread_of_opencv_unless_the_user_says_how_many(monkeypatch, given, threads):
    opencv = OpenCV()
    monkeypatch.setitem(sys.modules, "cv2", opencv)
    monkeypatch.delenv("OPENCV_FOR_THREADS_NUM", raising=False)
    if given is not None:
        monkeypatch.setenv("OPENCV_FOR_THREADS_NUM", given)
    pid = os.fork()
    if not pid:
        WorkerInit()(0)
        os._exit(0 if opencv.threads == threads and os.environ["OPENCV_FOR_THREADS_NUM"] == (given or "1") else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize(
    ("changed", "error", "text"),
    [
        ({"batch_size": 2.5}, ValueError, r"batch_size must be a whole number of at least 1, not 2.5"),
        ({"batch_size": "4"}, TypeError, r"batch_size must be a whole number of at least 1, not '4'"),
        ({"batch_size": 0}, ValueError, r"batch_size must be a whole number of at least 1, not 0"),
        ({"num_batch_per_epoch": -2}, ValueError, r"num_batch_per_epoch must be a whole number of at least 1, not -2"),
        ({"num_batch_per_epoch": "x"}, TypeError, r"num_batch_per_epoch must be .* not 'x'"),
        ({"sampler": "DefaultSampler"}, TypeError, r"sampler is the text 'DefaultSampler': write dict\(type="),
        ({"batchsize": 4}, TypeError, r"takes no 'batchsize'. Did you mean 'batch_size'"),
    ],
)
def test_wrong_values_in_a_config(changed, error, text):
    with pytest.raises(error, match=text):
        build(**changed)
