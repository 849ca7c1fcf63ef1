"""Metrics that give more than numbers, and one that leaves a file; trained, then tested."""

import atexit
import json
import os
import shutil
import tempfile

import numpy as np
from mmengine.evaluator import BaseMetric, DumpResults
from mmengine.fileio import dump
from mmengine.registry import METRICS


@METRICS.register_module()
class Confusion(BaseMetric):
    default_prefix = "confusion"

    def __init__(self, out_file=None, **kwargs):
        super().__init__(**kwargs)
        self.out_file = out_file

    def process(self, data_batch, data_samples):
        table = np.zeros((3, 3), int)
        for guess, truth in data_samples:
            table[truth, guess] += 1
        self.results.append(table)

    def compute_metrics(self, results):
        table = sum(results)
        if self.out_file:
            with open(self.out_file, "w") as file:
                json.dump(table.tolist(), file)
        right = np.float32(np.trace(table) / table.sum())
        return dict(right=right, per_class=table.diagonal().tolist(), worst=str(table.diagonal().argmin()))


@METRICS.register_module()
class DumpGuesses(DumpResults):
    def process(self, data_batch, predictions):
        self.results.extend(dict(guess=guess, truth=truth) for guess, truth in predictions)

    def compute_metrics(self, results):
        dump(results, self.out_file_path)
        return dict(dumped=len(results))


folder = tempfile.mkdtemp()
atexit.register(shutil.rmtree, folder, ignore_errors=True)

CHANGES = dict(
    val_evaluator=[dict(type="TinyAccuracy"), dict(type="Confusion", prefix="val")],
    test_evaluator=[
        dict(type="Confusion", out_file=os.path.join(folder, "confusion.json")),
        dict(type="DumpGuesses", out_file_path=os.path.join(folder, "guesses.pkl")),
    ],
)


def run(runner):
    runner.train()
    runner.test()


def facts(runner):
    with open(os.path.join(folder, "confusion.json")) as file:
        return dict(
            table=json.load(file),
            sizes={name: os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder)},
        )
