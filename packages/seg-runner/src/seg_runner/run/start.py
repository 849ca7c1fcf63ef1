"""The life of a run: what happens, in which order, before, round and after a loop."""

from __future__ import annotations

from typing import Any

from seg_runner.assembly.loops import build_evaluation
from seg_runner.errors import written_at
from seg_runner.model import changes as wrap
from seg_runner.model.changes import join_frozen_norms
from seg_runner.run.data_checks import report_data, unite_evaluation, unite_left_out
from seg_runner.run.earlier_run import clear_folder
from seg_runner.run.preflight import check_before_training
from seg_runner.run.record import record
from seg_runner.run.session import session

__all__ = ["evaluate", "need", "start_training"]


def need(runner: Any, mode: str) -> None:
    """Refuse to run a part that the runner was made without.

    Raises:
        RuntimeError: its arguments were not given.
    """
    if runner.parts[f"{mode}_cfg"] is None and runner.parts[f"{mode}_dataloader"] is None:
        keys = [f"{mode}_dataloader", f"{mode}_cfg", "optim_wrapper" if mode == "train" else f"{mode}_evaluator"]
        raise RuntimeError(f"{mode}() needs {', '.join(keys)}, and the runner was made without them")


def start_training(runner: Any) -> None:
    """From built parts to the first step: weights, resume, counts, compilation, checks."""
    parts, loop = runner.parts, runner.loops["train"]
    check_steps(runner.model, "train", "val" if runner.loops["val"] is not None else "train")
    runner.call_hook("before_run")
    first = not runner.started
    if first:
        wrap.init_weights(runner.model)
        _change_modules(runner)
    runner.load_or_resume()
    if runner.optim_wrapper is not None:
        counts = getattr(runner.optim_wrapper, "initialize_count_status", None)
        if callable(counts):
            counts(runner.model, getattr(loop, "iter", 0), getattr(loop, "max_iters", -1))
    if first and parts["compile"]:
        wrap.compile_model(runner.model, parts["compile"])
    runner.started = True
    unite_left_out(runner)
    if first and not parts["skip_checks"]:
        check_before_training(runner)
    before = runner.underway
    record(runner, "train")
    if not before:
        clear_folder(runner)  # last, so that a start that fails deletes nothing
    _tell_where_it_begins(runner, loop)
    runner.began_at = runner.finished_iters
    if runner.signals is not None:
        runner.signals.waiting = False


def _tell_where_it_begins(runner: Any, loop: Any) -> None:
    """One line where training does not begin at the first step: a resume, or a second `train()`."""
    done, end = runner.finished_iters, getattr(loop, "max_iters", 0)
    again = done > 0 and not runner.resumed
    if 0 < end <= done:
        more = "make a new Runner with a larger" if again else "raise"
        text = "the run in %s is finished: %d of %d iterations; for more, %s max_iters or max_epochs in train_cfg"
        runner.logger.warning(text, runner.work_dir, done, end, more)
    elif again:
        stopped = getattr(loop, "stop_training", False)
        does = "stays stopped (train_loop.stop_training is set)" if stopped else "goes on; a new Runner starts anew"
        runner.logger.warning("after iteration %d of %d training %s", done, end, does)


def _change_modules(runner: Any) -> None:
    """Activation checkpointing, and convolutions joined with frozen norms, in the modules that the config names."""
    with written_at(runner.cfg, "activation_checkpointing"):
        wrap.checkpoint_activations(runner.model, runner.parts["activation_checkpointing"] or ())
    if runner.parts["efficient_conv_bn_eval"]:
        with written_at(runner.cfg, "efficient_conv_bn_eval"):
            joined = join_frozen_norms(wrap.unwrap(runner.model), runner.parts["efficient_conv_bn_eval"])
        runner.logger.info("efficient_conv_bn_eval: %d convolutions are joined with frozen norms", len(joined))


def check_steps(model: Any, *modes: str) -> None:
    """Refuse a model without the steps that will be called.

    Raises:
        TypeError: a step is missing.
    """
    for mode in modes:
        if not callable(getattr(model, f"{mode}_step", None)):
            raise TypeError(
                f"{type(model).__name__} has no {mode}_step. Give a model with train_step, val_step, test_step, or a "
                "torch.nn.Module without any of them that gives logits, with loss=..."
            )


def evaluate(runner: Any, mode: str) -> dict[str, Any]:
    """`val()` or `test()`: the model as it is now; loads weights only if nothing was loaded or trained before."""
    need(runner, mode)
    with session(runner, mode):
        first = runner.loops[mode] is None
        loop = build_evaluation(runner, mode)
        check_steps(runner.model, mode)
        runner.call_hook("before_run")
        runner.checkpoints.load_for_evaluation()
        unite_evaluation(runner, mode)
        if first and not runner.parts["skip_checks"]:
            report_data(runner, mode)
        record(runner, mode)
        metrics: dict[str, Any] = loop.run()
        runner.call_hook("after_run")
    return metrics
