"""CheckpointHook: decides when to save, which checkpoint is best, and which files go."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from seg_hooks.checks import flag, folder, names, refuse_remote, whole
from seg_hooks.files import beside, delete, file_name, interrupted_at, interrupted_in, pointer_to, write_whole
from seg_hooks.hook import Hook
from seg_hooks.hooks import best
from seg_hooks.hooks.checkpoint_files import file_key, publish, surplus, template
from seg_hooks.hooks.nan_replay import replaying
from seg_hooks.processes.world import current_world, rank
from seg_hooks.protocols import Logs, Progress, Saves

__all__ = ["CheckpointHook"]

Entry = int | str
"""A regular checkpoint by its count, or another one by its name in the work directory."""


class _Runner(Progress, Saves, Logs, Protocol):
    pass


class CheckpointHook(Hook[_Runner]):
    """Saves regular checkpoints, the best ones, and the last; old files go only after the new one is complete.

    Scores are compared as the metric gives them. A new best does not write the regular checkpoint again. Pointers
    (`last_checkpoint`, the infos `best_ckpt` and `last_ckpt`) hold absolute paths, so that MMEngine resumes too; in a
    folder that was moved or copied, the file of that name there is meant.

    Args:
        interval: Save at every so many epochs or iterations; -1 saves none but the last and the best.
        by_epoch: Count epochs, else iterations.
        save_optimizer: Store the optimizer.
        save_param_scheduler: Store the schedulers.
        out_dir: Save in a folder of the work directory's name in here, instead of in the work directory.
        max_keep_ckpts: Keep only the newest so many checkpoints; -1 keeps all. Those that a signal or an exception left
            count like regular ones, best ones do not.
        save_last: Also save at the end, early stops included.
        save_best: A metric (`mIoU`, `IoU.road`), an expression (`0.5*mIoU+0.5*mDice`), a list of these with one best
            file each, or 'auto': mIoU where it is, else the first metric.
        rule: 'greater' or 'less', or a list of these, one for each of `save_best`; None infers it from the name.
        greater_keys: Names for which greater is better, instead of the usual ones.
        less_keys: Names for which less is better, instead of the usual ones.
        file_client_args: Old spelling of `backend_args`.
        filename_tmpl: Name of the files, with one `{}` for the count.
        backend_args: Only the local disk: None or `dict(backend='local')`.
        published_keys: After training, write copies of the last and the best with these top-level keys alone.
        save_begin: Count from this epoch or iteration on.
        best_weights_only: Best files hold weights only; else they can be resumed from.

    Example:
        >>> hook = CheckpointHook(interval=2000, by_epoch=False, save_best="mIoU", max_keep_ckpts=3)
        >>> hook.best[0].rule
        'greater'
    """

    priority = "VERY_LOW"

    def __init__(
        self,
        interval: int = -1,
        by_epoch: bool = True,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        out_dir: str | Path | None = None,
        max_keep_ckpts: int = -1,
        save_last: bool = True,
        save_best: str | list[str] | None = None,
        rule: str | list[str] | None = None,
        greater_keys: str | Sequence[str] | None = None,
        less_keys: str | Sequence[str] | None = None,
        file_client_args: dict[str, Any] | None = None,
        filename_tmpl: str | None = None,
        backend_args: dict[str, Any] | None = None,
        published_keys: str | list[str] | None = None,
        save_begin: int = 0,
        best_weights_only: bool = False,
    ) -> None:
        own = "CheckpointHook"
        refuse_remote(own, file_client_args, backend_args)
        self.interval = whole(own, "interval", interval, least=-1)
        self.by_epoch = flag(own, "by_epoch", by_epoch)
        self.save_optimizer = flag(own, "save_optimizer", save_optimizer)
        self.save_param_scheduler = flag(own, "save_param_scheduler", save_param_scheduler)
        self.out_dir = folder(own, "out_dir", out_dir)
        self.max_keep_ckpts = whole(own, "max_keep_ckpts", max_keep_ckpts, least=-1)
        self.save_last = flag(own, "save_last", save_last)
        self.save_best = save_best
        self.best: list[best.BestOf] = best.read_best(own, save_best, rule, greater_keys, less_keys)
        self.filename_tmpl = template(own, filename_tmpl, by_epoch)
        self.published_keys = [] if published_keys is None else names(own, "published_keys", published_keys)
        self.save_begin = whole(own, "save_begin", save_begin, least=0)
        self.best_weights_only = flag(own, "best_weights_only", best_weights_only)
        self.kept: list[Entry] = []
        self.spoilt: list[Entry] = []
        self._writing: list[Entry] = []
        self._folder = self._work_dir = Path()
        self._saved_at = -1
        self._last: Path | None = None
        self._resumed = False
        self._publish = self._off = False

    def before_train(self, runner: _Runner) -> None:
        """Say what counts as best; on a resume, see which files are still there."""
        self._work_dir = Path(runner.work_dir)
        self._folder = beside(self.out_dir, self._work_dir)
        self._off = replaying()
        if self.by_epoch and runner.max_epochs == 1 < self.interval:
            runner.logger.warning(
                "CheckpointHook: interval=%d counts epochs, but this run is a single epoch, so nothing is saved before "
                "its end; give by_epoch=False to count iterations.",
                self.interval,
            )
        for one in self.best:
            doubt = one.rule_was_inferred and best.rule_doubt(one.key)
            if doubt:
                runner.logger.warning("CheckpointHook: %s", doubt)
        if not self._resumed:
            self._adopt(runner)
        self.kept = [count for count in self.kept if self._path(count).exists()]
        self.spoilt = [count for count in self.spoilt if self._path(count).exists()]
        self._resumed, self._publish, self._saved_at = False, False, -1

    def after_train_iter(
        self, runner: _Runner, batch_idx: int, data_batch: object = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Save when it is due by iterations."""
        if self.by_epoch:
            return
        count = runner.iter + 1
        past = count - self.save_begin
        if (self.interval > 0 and past >= 0 and past % self.interval == 0) or (
            self.save_last and count == runner.max_iters
        ):
            self._save(runner, count, "iterations")

    def after_train_epoch(self, runner: _Runner) -> None:
        """Save when it is due by epochs."""
        if self.by_epoch and (
            self.every_n_epochs(runner, self.interval, self.save_begin)
            or (self.save_last and self.is_last_train_epoch(runner))
        ):
            self._save(runner, runner.epoch + 1, "epochs")

    def after_val_epoch(self, runner: _Runner, metrics: dict[str, Any] | None = None) -> None:
        """Save the best of each metric that got better."""
        if not self.best or not runner.max_iters:
            return
        count = runner.epoch if self.by_epoch else runner.iter
        if not metrics:
            runner.logger.warning("CheckpointHook: the validation gave no metrics, so there is no best checkpoint.")
        judged = current_world().first(  # rank 0 judges for all
            lambda: [one.judge(metrics or {}, self._folder, count, runner.logger) for one in self.best]
        )
        for one, (key, score, better) in zip(self.best, judged, strict=True):
            one.name(key)
            if better:
                self._save_best(runner, one, score, count)

    def after_train(self, runner: _Runner) -> None:
        """Save the last checkpoint after an early stop; then write what is to be published."""
        count = runner.epoch if self.by_epoch else runner.iter
        stopped_early = count < (runner.max_epochs if self.by_epoch else runner.max_iters)
        if self.save_last and stopped_early and count not in (0, self._saved_at):
            self._save(runner, count, "epochs" if self.by_epoch else "iterations")
        self._publish = bool(self.published_keys)
        self._publish_complete(runner)

    def state_dict(self) -> dict[str, Any]:
        """Return best scores and files, and the regular checkpoints that are kept, those being written included."""
        kept = [*self.kept, *self._writing]
        return {"kept": kept, "spoilt": list(self.spoilt), "best": [one.state_dict() for one in self.best]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over scores by metric, and the list of files."""
        self._resumed = True
        self.kept = [file_name(one) if isinstance(one, str) else int(one) for one in state_dict["kept"]]
        self.spoilt = [file_name(one) if isinstance(one, str) else int(one) for one in state_dict.get("spoilt", [])]
        saved = {one["option"]: one for one in state_dict["best"]}
        for one in self.best:
            if one.option in saved:
                one.load_state_dict(saved[one.option])

    def before_save_checkpoint(self, runner: _Runner, checkpoint: dict[str, Any]) -> None:
        """Note in a regular checkpoint that it is the newest one, and which are kept: MMEngine goes by that."""
        notes = checkpoint.get("message_hub", {}).get("runtime_info")
        if notes is not None and self._writing:
            kept = [one for one in (*self.kept, *self._writing) if isinstance(one, int)]
            gone = surplus(kept, self.max_keep_ckpts)
            notes["keep_ckpt_ids"] = [one for one in kept if one not in gone]
            notes["last_ckpt"] = pointer_to(self._path(self._writing[-1]), Path(runner.work_dir))

    def before_extra_checkpoint(self, runner: _Runner, path: Path) -> None:
        """Count a file that the runner saves by itself, for a signal or an exception: its own content says so."""
        if not interrupted_at(path):
            self._writing.append(self._entry(path))

    def after_extra_checkpoint(self, runner: _Runner, path: Path) -> None:
        """Note that such a file is whole: it counts, and may be one too many."""
        if interrupted_at(path):
            self._remove_surplus(runner, interrupted_at(path), path)
        else:
            self._count(runner, self._entry(path), runner.iter)

    def _entry(self, path: Path) -> Entry:
        """Return how a file is kept count of: by its number, or by its name where that is another one than usual."""
        number = path.name.removeprefix(self.filename_tmpl.partition("{}")[0]).partition(".")[0]
        return int(number) if number.isdecimal() and self._path(int(number)) == path else path.name

    def _path(self, entry: Entry) -> Path:
        if isinstance(entry, str):
            return self._work_dir / entry
        return self._folder / self.filename_tmpl.format(entry)

    def _count(self, runner: _Runner, entry: Entry, iteration: int) -> None:
        """Count a file that is whole: it is the newest one, and others may go."""
        if entry in self._writing:
            self._writing = self._writing[self._writing.index(entry) + 1 :]  # in order: those before have failed
        finite = _is_finite(runner)
        mine, other = (self.kept, self.spoilt) if finite else (self.spoilt, self.kept)
        mine[:] = [*(one for one in mine if one != entry), entry]
        other[:] = [one for one in other if one != entry]
        if finite:
            self._remove_surplus(runner, iteration)
        for old in surplus(self.spoilt, self.max_keep_ckpts):  # they take no place of good ones
            self.spoilt.remove(old)
            if rank() == 0:
                delete(self._path(old))
        runner.message_hub.update_info("keep_ckpt_ids", [one for one in self.kept if isinstance(one, int)])

    def _remove_surplus(self, runner: _Runner, iteration: int, new: Path | None = None) -> None:
        """Delete what `max_keep_ckpts` leaves no room for: first what broke off before `iteration`, then the oldest.

        The newest regular file stays, since a resume takes it and not what an exception left (`new`). Nothing goes for
        a file whose weights are not finite. Where all stay, the folder, which then grows, is not listed.
        """
        if self.max_keep_ckpts <= 0 or not _is_finite(runner):
            return
        broken = [path for path in interrupted_in(self._work_dir, iteration) if path != new]
        kept: list[Path | Entry] = [*broken, *self.kept, *([new] if new is not None else [])]
        for old in surplus(kept, self.max_keep_ckpts):
            if self.kept and old == self.kept[-1]:
                continue
            if not isinstance(old, Path):
                self.kept.remove(old)
            if rank() == 0:
                delete(old if isinstance(old, Path) else self._path(old))
            if isinstance(old, Path):
                text = "Removed %s, saved at an exception: max_keep_ckpts=%d, and iteration %d is saved now."
                runner.logger.info(text, old.name, self.max_keep_ckpts, iteration)

    def _save(self, runner: _Runner, count: int, unit: str) -> None:
        path = self._path(count)
        self._saved_at = count
        self._writing.append(count)
        iteration = runner.iter if self.by_epoch else count

        def done() -> None:
            if not _is_there(runner, path):
                return
            runner.logger.info("Saved checkpoint at %d %s: %s", count, unit, path.name)
            finite = _is_finite(runner)
            if finite:
                self._last = path
            pointed_to = finite or not self.kept
            try:
                if pointed_to:
                    self._point(runner, path)
            except OSError:  # the file counts all the same, and deleting old ones may make room for the pointer
                self._count(runner, count, iteration)
                self._point(runner, path)
            else:
                self._count(runner, count, iteration)
            self._publish_complete(runner)

        self._write(runner, path, done, optimizer=self.save_optimizer, schedulers=self.save_param_scheduler)

    def _save_best(self, runner: _Runner, one: best.BestOf, score: float, count: int) -> None:
        name = f"best_{file_key(one.key)}_{self.filename_tmpl.format(count)}"
        path = self._folder / name
        one.writing = (score, name)

        def done() -> None:
            if not _is_there(runner, path):
                one.writing = None
                return
            if not _is_finite(runner):
                one.writing = None
                if rank() == 0:
                    delete(path)
                runner.logger.warning("%s is removed: its weights are not finite, so it cannot be the best.", name)
                return
            if not best.is_better(score, one.best_score, one.rule):
                if rank() == 0:
                    delete(path)  # while it was being written a better one was finished
                return
            earlier = one.done(score, name)
            suffix = f"_{one.key}" if len(self.best) > 1 else ""
            runner.message_hub.update_info(f"best_score{suffix}", score)
            runner.message_hub.update_info(f"best_ckpt{suffix}", pointer_to(path, Path(runner.work_dir)))
            unit = "epoch" if self.by_epoch else "iter"
            runner.logger.info(
                "The best checkpoint with %.4f %s at %d %s is saved to %s.", score, one.key, count, unit, name
            )
            if earlier and rank() == 0 and delete(self._folder / earlier):
                runner.logger.info("The previous best checkpoint %s is removed", earlier)
            self._publish_complete(runner)

        full = not self.best_weights_only
        self._write(
            runner,
            path,
            done,
            optimizer=full and self.save_optimizer,
            schedulers=full and self.save_param_scheduler,
        )

    def _write(
        self, runner: _Runner, path: Path, done: Callable[[], None], *, optimizer: bool, schedulers: bool
    ) -> None:
        if self._off:
            runner.logger.info("%s is not written, because this run only replays a step.", path.name)
            return
        began = time.perf_counter()
        told: list[bool] = []

        def once() -> None:
            if not told:
                told.append(True)
                done()

        runner.save_checkpoint(path, optimizer=optimizer, schedulers=schedulers, on_done=once)
        if rank() != 0:  # only rank 0 writes, and the others keep the same books
            once()
        hub = runner.message_hub
        hub.update_info("pause", time.perf_counter() - began + hub.get_info("pause", 0.0), resumed=False)

    def _point(self, runner: _Runner, path: Path) -> None:
        work_dir = Path(runner.work_dir)
        pointer = pointer_to(path, work_dir)
        runner.message_hub.update_info("last_ckpt", pointer)
        if rank() == 0:
            write_whole(work_dir / "last_checkpoint", pointer.encode())

    def _adopt(self, runner: _Runner) -> None:
        """Take best scores and kept files of a run that was begun with MMEngine."""
        hub = runner.message_hub
        if runner.iter == 0:
            self.kept = []
            for one in self.best:
                one.forget()
            return
        self.kept = [int(count) for count in hub.get_info("keep_ckpt_ids", [])]
        for one in self.best:
            suffix = f"_{one.key}" if len(self.best) > 1 else ""
            score, file = hub.get_info(f"best_score{suffix}"), hub.get_info(f"best_ckpt{suffix}")
            if score is not None and file is not None:
                one.best_score, one.best_file = float(score), file_name(Path(str(file)).name)

    def _publish_complete(self, runner: _Runner) -> None:
        """Publish once training is over and everything is written."""
        if not self._publish or self._writing or rank() != 0:
            return
        files = [self._last] if self.save_last and self._last is not None else []
        files += [self._folder / one.best_file for one in self.best if one.best_file]
        for path in dict.fromkeys(files):
            if path.is_dir():
                text = "%s is not published: it is a folder of files; seg ckpt convert makes one file of it."
                runner.logger.warning(text, path.name)
                continue
            try:
                publish(path, self.published_keys, runner.logger)
            except Exception as error:  # whatever is wrong with file or disk: training is over, and this is a copy
                runner.logger.error("%s is not published: %s: %s", path.name, type(error).__name__, error)
        self._publish = False


def _is_finite(runner: _Runner) -> bool:
    """Tell whether the checkpoint that was just written holds finite weights; its writer looks, and notes it."""
    return runner.message_hub.get_info("checkpoint_finite") is not False


def _is_there(runner: _Runner, path: Path) -> bool:
    """Tell whether a file that was written is still there when this process hears of it."""
    if rank() != 0 or (path.is_dir() and any(path.iterdir())) or (path.is_file() and path.stat().st_size):
        return True
    runner.logger.error("%s was written, but is now empty or missing; was its folder removed?", path)
    return False
