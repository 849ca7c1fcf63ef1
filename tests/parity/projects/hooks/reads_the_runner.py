"""A hook that reads what it can get: private names, the hub, the model's wrapper, the loop's iterator."""

import os.path as osp

from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class Curious(Hook):
    """Writes down what it reads at each point."""

    priority = "LOW"

    def __init__(self):
        self.read = {}

    def before_run(self, runner):
        self.read["start"] = [osp.basename(runner.work_dir), runner.world_size, runner.rank, runner.distributed]
        self.read["cfg"] = runner.cfg.optim_wrapper.optimizer.lr
        self.read["names"] = [runner.experiment_name == runner.log_dir.split("/")[-1], runner.deterministic]

    def before_train(self, runner):
        loop = runner._train_loop
        self.read["loop"] = [type(loop).__name__, loop._max_iters, loop.max_iters, loop.val_interval, loop.val_begin]
        self.read["sizes"] = [len(runner.train_dataloader), len(runner.train_dataloader.dataset)]
        self.read["classes"] = runner.train_dataloader.dataset.metainfo["classes"]
        self.read["val"] = runner.val_evaluator.dataset_meta["classes"]

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        hub = runner.message_hub
        self.read[f"iter {runner.iter}"] = [
            hub.get_scalar("train/loss").current(),
            hub.get_scalar("train/lr").current(),
            hub.get_info("iter"),
            hub.get_info("max_iters"),
            runner.train_loop.iter,
            runner.train_loop._iter,
            runner._train_loop._epoch,
            runner.optim_wrapper.param_groups[0]["lr"],
            runner.optim_wrapper.optimizer.param_groups[0]["momentum"],
            runner.optim_wrapper._inner_count,
        ]

    def after_val_epoch(self, runner, metrics=None):
        self.read["metrics"] = [metrics, runner.message_hub.get_scalar("val/tiny/acc").current(), runner.epoch]
        if is_main_process():
            with open(osp.join(runner.work_dir, "metrics.txt"), "a", encoding="utf-8") as file:
                file.write(f"{runner.iter} {metrics['tiny/acc']} {get_world_size()}\n")

    def after_run(self, runner):
        self.read["end"] = [runner.iter, runner.epoch, runner.max_iters, runner.max_epochs, runner._resume]
        self.read["schedulers"] = [scheduler.last_step for scheduler in runner.param_schedulers]


CHANGES = dict(custom_hooks=[dict(type="Curious")])


def facts(runner):
    return next(hook.read for hook in runner.hooks if type(hook).__name__ == "Curious")
