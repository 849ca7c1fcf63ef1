"""The life of a run: what happens, in which order, before, round and after a loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from seg_runner.assembly.construct import record
from seg_runner.assembly.loops import OWN_LOOPS, eval_loop, train_loop
from seg_runner.checkpoint import actions as saving
from seg_runner.errors import add_note, did_you_mean, written_at
from seg_runner.evaluation.ranks import refuse_several
from seg_runner.hooks.fallback import stand_ins
from seg_runner.log.setup import library_log, remove_start
from seg_runner.loop.evaluate import EvalLoop
from seg_runner.model import changes as wrap
from seg_runner.model.conv_bn import join_frozen_norms
from seg_runner.process.environment import NO_DETERMINISTIC_FORM, nondeterministic_operations
from seg_runner.process.lock import only_run
from seg_runner.process.signals import StopNow, StopSignals, read_signals
from seg_runner.run import stopping
from seg_runner.run.data_checks import report_data, unite_evaluation, unite_left_out
from seg_runner.run.earlier_run import check_folder, clear_folder
from seg_runner.run.preflight import check_before_training

__all__ = ["build_training", "evaluate", "fill_stand_ins", "need", "session", "start_training"]


def need(runner: Any, mode: str) -> None:
    """Refuse to run a part that the runner was made without.

    Raises:
        RuntimeError: its arguments were not given.
    """
    if runner.parts[f"{mode}_cfg"] is None and runner.parts[f"{mode}_dataloader"] is None:
        keys = [f"{mode}_dataloader", f"{mode}_cfg", "optim_wrapper" if mode == "train" else f"{mode}_evaluator"]
        raise RuntimeError(f"{mode}() needs {', '.join(keys)}, and the runner was made without them")


@contextmanager
def session(runner: Any, mode: str) -> Iterator[None]:
    """Round one `train`, `val` or `test`: the hook table is frozen, signals are heard, files are closed at the end.

    What fails before its first step leaves no folder behind.
    """
    refuse_several("Runner")  # a process group may have been set up since the runner was made
    runner.log_dir.mkdir(parents=True, exist_ok=True)  # an earlier try may have failed
    fill_stand_ins(runner)
    runner.table.running, runner.began_at = True, None
    try:
        with (
            library_log(runner.logger),
            _signals(runner, mode),
            _closing(runner, mode),
            _training_alone(runner, mode),
            _told(runner),
        ):
            yield
    except BaseException:
        if not runner.underway:
            remove_start(runner.log_dir, runner.made_folders)
        raise


@contextmanager
def _closing(runner: Any, mode: str) -> Iterator[None]:
    """However it ends, what can be kept is kept, hooks hear of it, and workers and writers end."""
    try:
        yield
    except BaseException as error:
        try:
            _stopped_by(runner, mode, error)
        finally:
            _break_off(runner, error)
        raise
    finally:
        runner.table.running = False
        _close_data(runner)
        runner.saver.wait()


def _stopped_by(runner: Any, mode: str, error: BaseException) -> None:
    """Keep what can be kept; a signal leaves by its own exception."""
    if isinstance(error, StopNow):
        if runner.signals.overdue and runner.began_at is not None:
            stopping.break_off(runner, runner.signals.requested, error)
        stopping.stop_for_signal(runner, runner.signals.requested)
    if isinstance(error, Exception):
        if NO_DETERMINISTIC_FORM in str(error):
            add_note(error, "randomness=dict(deterministic='warn') uses such operations and lists them")
        stopping.keep_interrupted(runner, mode, error)


def _break_off(runner: Any, error: BaseException) -> None:
    """Let hooks put back what they changed for a while: `on_exception(runner)`, where a hook has it."""
    try:
        runner.call_hook("on_exception")
    except Exception as second:  # the first error is the one to report
        add_note(error, f"(a hook's on_exception failed too: {second!r})")


def _close_data(runner: Any) -> None:
    """Stop the workers of all loaders; a later `train()` or `val()` starts them where the run stands."""
    batches = getattr(runner.train_loop, "batches", None)
    if batches is not None and not runner.resuming:
        batches.close()
    for mode in ("val", "test"):
        if isinstance(runner.loops[mode], EvalLoop):
            runner.loops[mode].close()


@contextmanager
def _training_alone(runner: Any, mode: str) -> Iterator[None]:
    """One run trains in a folder, and does not mix with an earlier one."""
    if mode != "train" or runner.rank != 0:
        yield
        return
    with only_run(runner.work_dir):
        if not runner.underway:
            check_folder(runner)
        yield


@contextmanager
def _signals(runner: Any, mode: str) -> Iterator[None]:
    if mode != "train":
        yield
        return
    told = partial(stopping.last_words, runner)
    with StopSignals(**read_signals(runner.parts["signals"]), last_words=told) as signals:
        runner.signals = signals
        signals.waiting = True  # until the first step there is nothing to save
        try:
            yield
        finally:
            runner.signals = None
        stopping.tell_lost(runner)
        if signals.requested is not None:
            stopping.leave_finished(runner, signals.requested)


@contextmanager
def _told(runner: Any) -> Iterator[None]:
    """What is only known at the end, into the log."""
    with _determinism(runner), _compilation(runner):
        yield


@contextmanager
def _compilation(runner: Any) -> Iterator[None]:
    if not runner.parts["compile"]:
        yield
        return
    with wrap.graph_breaks() as found:
        yield
    reasons = "; ".join(f"{count} x {reason}" for reason, count in found.items()) or "none"
    runner.logger.info("compile: graph breaks in this run: %s", reasons)


@contextmanager
def _determinism(runner: Any) -> Iterator[None]:
    if runner.randomness.deterministic != "warn":
        yield
        return
    with nondeterministic_operations() as found:
        try:
            yield
        finally:
            names = ", ".join(found) or "none"
            runner.logger.info("Operations that stayed non-deterministic in this run: %s", names)


def fill_stand_ins(runner: Any) -> None:
    """Let plain hooks stand in for the default hooks that are absent."""
    table = runner.table
    removed = [slot for slot, hook in (runner.parts["default_hooks"] or {}).items() if hook is None]
    table.stand_in(stand_ins(table.registered, removed, table.stand_ins))


def build_training(runner: Any) -> None:
    """Build the training loop, the optimizer wrapper, the schedulers and the validation loop, in this order."""
    if runner.loops["train"] is not None:
        return
    parts, assembler = runner.parts, runner.assembler
    loader = assembler.dataloader(parts["train_dataloader"], "train_dataloader", runner.randomness)
    runner.loaders["train"] = loader
    loop = runner.loops["train"] = train_loop(parts["train_cfg"], runner, loader, _resolve_loop(runner, "train"))
    if runner.optim_wrapper is None and parts["optim_wrapper"] is not None:
        runner.optim_wrapper = assembler.optim_wrapper(parts["optim_wrapper"], wrap.unwrap(runner.model))
    with written_at(runner.cfg, "auto_scale_lr"):
        wrap.scale_lr(runner.optim_wrapper, parts["auto_scale_lr"], wrap.batch_size_of(parts, loader), runner)
    if runner.param_schedulers is None:
        ends = {True: getattr(loop, "max_epochs", 0), False: getattr(loop, "max_iters", 0)}
        length = len(loader) if hasattr(loader, "__len__") else None
        runner.param_schedulers = assembler.param_schedulers(
            parts["param_scheduler"], runner.optim_wrapper, ends, length
        )
    if parts["val_dataloader"] is not None or parts["val_cfg"] is not None:
        build_evaluation(runner, "val")


def build_evaluation(runner: Any, mode: str) -> Any:
    """Build the validation or test loop, once."""
    if runner.loops[mode] is not None:
        return runner.loops[mode]
    parts, assembler = runner.parts, runner.assembler
    loader = assembler.dataloader(parts[f"{mode}_dataloader"], f"{mode}_dataloader", runner.randomness)
    runner.loaders[mode] = loader
    given = parts[f"{mode}_evaluator"]
    evaluator = None if given is None else assembler.evaluator(given, f"{mode}_evaluator")
    made = {"dataloader": loader, "evaluator": evaluator}
    runner.loops[mode] = eval_loop(mode, parts[f"{mode}_cfg"], runner, made, _resolve_loop(runner, mode))
    return runner.loops[mode]


def _resolve_loop(runner: Any, mode: str) -> Any:
    def find(name: str) -> Any:
        if runner.assembler.builder is None:
            raise KeyError(
                f"{mode}_cfg: there is no loop {name!r}.{did_you_mean(name, OWN_LOOPS)} Without seg-registry there are "
                f"{', '.join(OWN_LOOPS)}; a class of your own is given as it is"
            )
        return runner.assembler.resolve("loop", name, f"{mode}_cfg")

    return find


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
        saving.load_for_evaluation(runner)
        unite_evaluation(runner, mode)
        if first and not runner.parts["skip_checks"]:
            report_data(runner, mode)
        record(runner, mode)
        metrics: dict[str, Any] = loop.run()
        runner.call_hook("after_run")
    return metrics
