"""The checkpoints of one run: writing them, loading weights, going on from one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from seg_runner.checkpoint.find import POINTER, broken_off, find_resumable, locate
from seg_runner.checkpoint.finite import not_finite
from seg_runner.checkpoint.meta import Identity, Run, Training
from seg_runner.checkpoint.read import read_checkpoint, read_place, read_unverified
from seg_runner.checkpoint.saver import CheckpointSaver
from seg_runner.checkpoint.several.choose import at_hand, chosen_by_first
from seg_runner.checkpoint.several.layout import is_set, verify_set
from seg_runner.checkpoint.several.positions import gather_positions, own_position
from seg_runner.checkpoint.state import Part, gather_state, restore_state
from seg_runner.checkpoint.weights import LoadOptions, NothingFitsError, clean_name, load_weights
from seg_runner.checkpoint.write import write_or_explain
from seg_runner.distributed.shards import cuts_of, gathered, has_shards
from seg_runner.errors import add_note
from seg_runner.files import clean_leftovers
from seg_runner.log.message_hub import MessageHub
from seg_runner.log.setup import earlier_sessions
from seg_runner.model.wrapping import unwrap
from seg_runner.protocols import Resumes
from seg_runner.remote.stubs import fetch_whole

__all__ = ["Checkpoints"]


class Checkpoints:
    """Writes the checkpoints of a run, loads weights into its model, and lets it go on from a checkpoint.

    Args:
        run: What stands round the run.
        training: What is trained, and how far.
        arguments: Those of the run: `resume`, `load_from`, `load_options`, `strict_resume`, `cfg`.
        parts: Gives the parts of the run's state as they are now.
        saver: Writes the files.
        message_hub: Where hooks see whether the weights of the latest file are finite.
        visualizer: Gives the visualizer as it is now: a run that goes on writes no row twice there.

    Attributes:
        identity: The name of the run, which its files hold.
        loaded: Weights were loaded, or it was looked for some.
        resumed: The run goes on from a checkpoint.
        resuming: It is being put there right now.
    """

    def __init__(
        self,
        run: Run,
        training: Training,
        arguments: Mapping[str, Any],
        *,
        parts: Callable[[], Sequence[Part]],
        saver: CheckpointSaver,
        message_hub: MessageHub,
        visualizer: Callable[[], object],
    ) -> None:
        self.run, self.training, self.arguments = run, training, arguments
        self.parts, self.saver, self.message_hub, self.visualizer = parts, saver, message_hub, visualizer
        self.identity = Identity(run.work_dir)
        self.loaded = self.resumed = self.resuming = False

    # -- writing ----------------------------------------------------------------------------------------------------

    def save(
        self,
        path: Path,
        *,
        optimizer: bool = True,
        schedulers: bool = True,
        on_done: Callable[[], None] | None = None,
        meta: Mapping[str, object] | None = None,
        alone: bool = False,
    ) -> None:
        """Gather the state, let hooks change it, and hand it to the saver.

        Args:
            path: Where it goes.
            optimizer: Keep the optimizer's state.
            schedulers: Keep the schedulers' states.
            on_done: Called on rank 0 once it is there.
            meta: Goes over what is written under `meta`.
            alone: Other ranks may be elsewhere, so nothing is asked of them.
        """
        world = self.run.world
        left_out = "grads" if alone and world.size > 1 else ""  # each rank has some of them
        parts = [part for part in self.parts() if part.key != left_out]
        payload = gather_state(parts, optimizer=optimizer, schedulers=schedulers)
        payload["meta"] = {**payload["meta"], **(meta or {})}
        first, parted = world.rank == 0, has_shards(payload["state_dict"])
        if alone and parted:
            raise RuntimeError("each rank has only a part of the weights, and the others may be elsewhere")
        if not alone:
            gather_positions(world, payload)
        as_set = self.saver.sharded and not alone
        if first or parted or as_set:
            self.run.call_hook("before_save_checkpoint", checkpoint=payload)
        done = partial(self._written, path, on_done) if first else None
        if as_set:
            names = map(clean_name, dict(unwrap(self.training.model).named_parameters()))
            self.saver.save_set(path, payload, set(names), done)
            return
        if parted:
            payload = gathered(payload, keep=first)
        if first:
            self.saver.save(path, payload, done)

    def _written(self, path: Path, on_done: Callable[[], None] | None) -> None:
        """Tell hooks, which keep, delete and point, whether the weights of the file that is there are finite."""
        place = read_place(path) or {}
        finite = place.get("finite") is not False
        self.message_hub.update_info("checkpoint_finite", finite, resumed=False)
        if not finite:
            text = "%s is marked: its weights are not finite, and a resume takes an older one."
            self.run.logger.warning(text, path.name)
        elif place.get("optimizer_not_finite"):
            self.run.logger.warning(
                "%s: the optimizer's state is not finite (%s): these parameters may not learn any more.",
                path.name,
                ", ".join(place["optimizer_not_finite"]),
            )
        if on_done is not None:
            on_done()

    def save_last(self) -> Path:
        """Save this moment under the name that its count gives; point `last_checkpoint` at it once it is whole."""
        at, pointer = self.training, self.run.work_dir / POINTER
        length = getattr(at.train_loop, "epoch_length", 0)
        at_epoch_end = at.counts_epochs and at.finished_epochs * length == at.finished_iters
        name = f"epoch_{at.finished_epochs}.pth" if at_epoch_end else f"iter_{at.finished_iters}.pth"

        def point() -> None:
            if not self.message_hub.get_info("checkpoint_finite") and pointer.exists():
                return  # what it points to is the one to go on from
            write_or_explain(pointer, (pointer.resolve().parent / name).as_posix().encode())

        return self._save_extra(name, point)

    def save_interrupted(self) -> Path:
        """Save this moment as `interrupted_iter_N.pth`, which a resume takes when asked for, or as the last choice."""
        name = f"interrupted_iter_{self.training.finished_iters}.pth"
        return self._save_extra(name, lambda: None, alone=True)

    def _save_extra(self, name: str, point: Callable[[], None], *, alone: bool = False) -> Path:
        """Save what no hook asked for; hooks that keep count of files hear of it before, and once it is whole."""
        path = self.run.work_dir / name

        def done() -> None:
            point()
            self.run.call_hook("after_extra_checkpoint", path=path)

        self.run.call_hook("before_extra_checkpoint", path=path)
        self.save(path, on_done=done, alone=alone)
        return path

    # -- weights ----------------------------------------------------------------------------------------------------

    def load_weights(self, path: str | Path, *, unsafe: bool = False, **options: Unpack[LoadOptions]) -> None:
        """Load weights only; hooks see the checkpoint first. `options`: as `seg_runner.load_weights` takes them."""
        path, checkpoint = self._read(lambda: self._locate(path), unsafe)
        self.run.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        try:
            report = load_weights(self.training.model, checkpoint, **options)
        except Exception as error:
            hint = "load_options=dict(...) takes key, revise_keys, strict"
            add_note(error, f"while loading the weights of {path} ({hint})")
            raise
        text = "Weights of %s: %d of the model's %d tensors"
        self.run.logger.info(text, path, len(report.loaded), report.wanted)
        self.loaded = True

    def _read(self, find: Callable[[], Path], unsafe: bool) -> tuple[Path, dict[str, Any]]:
        """Read what rank 0 finds, on all ranks; an error on any of them is raised on all."""
        world = self.run.world

        def fetched() -> Path:
            fetch_whole(path := find())
            return path

        path = chosen_by_first(world, fetched)
        assert path is not None
        with at_hand(world, path) as near:
            if is_set(near):  # the ranks share the checking, and each reads what it keeps
                world.each(lambda: verify_set(near, world.rank, world.size))
                cuts = cuts_of(self.training.model)
                checkpoint = world.each(lambda: read_unverified(near, unsafe, cuts))
            else:
                checkpoint = world.each(lambda: read_checkpoint(near, unsafe=unsafe))
            world.first(lambda: self._warn_of_weights(near, checkpoint))
        return path, checkpoint

    def _locate(self, path: str | Path) -> Path:
        return locate(path, self.run.work_dir, self.run.remote, self.arguments["remote"])

    def _warn_of_weights(self, path: Path, checkpoint: Mapping[str, object]) -> None:
        """Say it where weights are not finite: by the mark of the file, else by looking at them."""
        marked = (read_place(path) or {}).get("finite")
        meta = checkpoint.get("meta")
        noted = meta.get("not_finite") if isinstance(meta, Mapping) else None
        bad = [] if marked else noted or not_finite(checkpoint)
        if bad:
            self.run.logger.warning("%s contains weights that are not finite: %s", path, ", ".join(bad))

    def load_for_evaluation(self) -> None:
        """Load what validation or test without training needs: `load_from`, or the newest checkpoint.

        Metrics of a model whose weights are not all there mean nothing: unless `strict=False` is given, that is an
        error.

        Raises:
            RuntimeError: weights are missing, or have another shape; the message lists them.
            FileNotFoundError: `resume=True`, and there is no checkpoint.
        """
        if self.loaded:
            return
        wanted, weights = self.arguments["resume"], self.arguments["load_from"]
        if weights is None and wanted:
            folder = self.run.work_dir
            weights = wanted if isinstance(wanted, (str, Path)) else self._newest()
            if weights is None:
                raise FileNotFoundError(f"resume=True, but there is no whole checkpoint in {folder} to evaluate")
        if weights is None:
            if self.arguments["cfg"] is not None:
                text = "no checkpoint is loaded (load_from): this evaluates the model as its class makes it"
                self.run.logger.warning(text)
            return
        options = self.arguments["load_options"] or {}
        try:
            self.load_weights(weights, **{"complete": "strict" not in options, **options})
        except RuntimeError as error:
            hint = "metrics of such a model mean nothing; to get them anyway: load_options.strict=False"
            add_note(error, hint)
            raise

    # -- going on ---------------------------------------------------------------------------------------------------

    def load_or_resume(self) -> None:
        """Do as `resume` and `load_from` say; only the first time, so that what was trained since is kept."""
        if self.loaded:
            return
        if self.run.world.rank == 0 and (left := clean_leftovers(self.run.work_dir)):
            self.run.logger.info("Removed what a killed save left behind: %s", ", ".join(left))
        wanted, weights = self.arguments["resume"], self.arguments["load_from"]
        if wanted:
            self.resume(wanted if isinstance(wanted, (str, Path)) else weights)
        elif weights is not None:
            self._start_from(weights)
        self.loaded = True

    def _start_from(self, weights: str | Path) -> None:
        """Load `load_from`. MMEngine trains on where nothing fits, so without `strict` that is a warning."""
        options = self.arguments["load_options"] or {}
        try:
            self.load_weights(weights, **options)
        except NothingFitsError as error:
            if options.get("strict"):
                raise
            told = "\n".join([str(error), *getattr(error, "__notes__", ())])
            text = "Training starts from fresh weights (load_options=dict(strict=True) refuses): %s"
            self.run.logger.warning(text, told)

    def resume(self, path: str | Path | None = None, without: Sequence[str] = ()) -> None:
        """Go on from a file, or from the newest whole one of `work_dir`; a fresh start where there is none.

        Args:
            path: The file.
            without: Keys of the file that are left out.

        Raises:
            FileExistsError: all that there is was left by an exception, and its weights are not finite.
        """
        folder, logger, world = self.run.work_dir, self.run.logger, self.run.world
        wanted = path if path is not None else self._newest()
        if wanted is None:
            world.first(lambda: _refuse_spoilt(folder))
            logger.info("Nothing to resume in %s: a fresh start", folder)
            return
        unsafe = bool((self.arguments["load_options"] or {}).get("unsafe"))
        found, checkpoint = self._read(lambda: self._locate(wanted), unsafe)
        if "meta" in checkpoint and "state_dict" not in checkpoint:
            raise ValueError(f"{found} holds no weights (`state_dict`), so no run can go on from it")
        self.resuming = True
        try:
            self.run.call_hook("after_load_checkpoint", checkpoint=checkpoint)
            own_position(world, checkpoint)
            parts = [part for part in self.parts() if part.key not in without]
            report = restore_state(parts, checkpoint, strict=self.arguments["strict_resume"])
            report.changed += [f"{key}: left out, as it was asked for" for key in without if key in checkpoint]
            for line in report.warnings:
                logger.warning("%s", line)
        except Exception as error:
            add_note(error, f"while resuming from {found}")
            raise
        finally:
            self.resuming = False
        if path is not None:  # chosen by hand: what is written from here on is newer than whatever else is there
            self.identity.generation = None
            world.first(self._tell_newer)
        world.first(lambda: self._tell_broken_off(found))
        self.loaded = self.resumed = True
        self._tell_visualizer(found)
        logger.info("Resumed from %s\n%s", found, report)

    def _newest(self) -> Path | None:
        """Return the newest whole checkpoint that rank 0 finds in the run's folder."""
        return chosen_by_first(self.run.world, lambda: find_resumable(self.run.work_dir))

    def _tell_newer(self) -> None:
        """Warn of checkpoints that the run leaves behind by going back: they count until it has saved one itself."""
        newest, done = find_resumable(self.run.work_dir), self.training.finished_iters
        count = None if newest is None else (read_place(newest) or {}).get("iter")
        if newest is not None and isinstance(count, int) and count > done:
            text = "%s is of iteration %d, but this run goes back to %d: until it has saved one, "
            text += "resume=True takes the newer file"
            self.run.logger.warning(text, newest.name, count, done)

    def _tell_broken_off(self, taken: Path) -> None:
        """Warn of what an exception left of this run after the file it goes on from; or that this is such a file."""
        warn, done = self.run.logger.warning, self.training.finished_iters
        if taken.name.startswith("interrupted"):
            warn("%s was saved when an error or a hang ended the run: going on from there", taken.name)
            return
        for path, iteration, run in broken_off(self.run.work_dir):
            if run == self.identity.run_id and iteration > done:
                finite = (read_place(path) or {}).get("finite") is not False
                warn(
                    "%s, saved at an error or a hang, is of iteration %d, but this run goes on from iteration %d. To "
                    "use that file: resume=%r (--resume %s)%s",
                    path.name,
                    iteration,
                    done,
                    str(path),
                    path.name,
                    "" if finite else "; its weights are not finite",
                )

    def _tell_visualizer(self, checkpoint: Path) -> None:
        """Say where the run goes on; sessions of this folder count if the file is theirs."""
        visualizer = self.visualizer()
        if not isinstance(visualizer, Resumes) or self.run.world.rank != 0:
            return
        place, folder, done = checkpoint.resolve().parent, self.run.work_dir, self.training.finished_iters
        theirs = folder in (place, *place.parents) or place.name == folder.name  # or in an out_dir
        visualizer.resume_from(
            done,
            owes_validation=getattr(self.training.train_loop, "validated", done) != done,
            log_dir=self.run.log_dir,
            earlier=earlier_sessions(folder, self.run.log_dir) if theirs else [],
        )


def _refuse_spoilt(work_dir: Path) -> None:
    left = broken_off(work_dir)
    if left:
        raise FileExistsError(
            f"{left[-1][0].name} is all that an earlier run has left in {work_dir}, and its weights are not finite, so "
            f"resume=True does not take it. To go on from it anyway: resume={str(left[-1][0])!r} (--resume "
            f"{left[-1][0].name}); to start from the beginning: overwrite=True (--overwrite) deletes it, or give "
            "another work_dir"
        )
