"""What a run is made of: every part from the arguments, at once or when it is first needed; and the hooks."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from seg_runner.assembly.arguments import (
    Arguments,
    experiment_name,
    fill_arguments,
    folder_of,
    mirror_of,
    place_of,
    places_outside,
    use_argument,
)
from seg_runner.assembly.assembler import Assembler
from seg_runner.assembly.builds import Builds
from seg_runner.assembly.fallback import FALLBACK_HOOKS
from seg_runner.assembly.from_config import misspelt
from seg_runner.assembly.hooks import (
    add_custom_hooks,
    add_default_hooks,
    add_fallback_hooks,
    check_slots,
    describe_fallbacks,
)
from seg_runner.assembly.own_keys import own_lines
from seg_runner.assembly.parts import ready_loaders, ready_schedulers, ready_wrapper
from seg_runner.checkpoint.checkpoints import Checkpoints
from seg_runner.checkpoint.saver import CheckpointSaver
from seg_runner.distributed.digest import compare_ranks, facts_of_model
from seg_runner.distributed.strategy import name_of, pick_strategy
from seg_runner.distributed.world import adopt_world, read_dist_cfg
from seg_runner.hooks.defaults import without_effect
from seg_runner.hooks.table import HookTable, Points
from seg_runner.log.across_ranks import AcrossRanks
from seg_runner.log.history import LossWatch
from seg_runner.log.setup import IN_FILE, MMENGINE_NAME, make_log_dir, make_logger, missing_folders, remove_start
from seg_runner.loop.train import EpochBasedTrainLoop
from seg_runner.mmengine.attributes import FixedList, give_hub
from seg_runner.mmengine.bases import counts_epochs
from seg_runner.mmengine.folders import Folder
from seg_runner.mmengine.instances import Instances
from seg_runner.process.device import pick_device
from seg_runner.process.environment import describe_environment, set_up_process
from seg_runner.process.randomness import resolve_randomness, seed_everything
from seg_runner.process.threads import set_threads, told_threads

__all__ = ["BaseRunner"]

NOT_EXACT = (
    "randomness.stream=%r: random numbers come from the global generators in the order of that engine, so a "
    "resumed run is not the same run bit for bit; stream='sample' (the default) makes it so"
)


class BaseRunner(Builds):
    """Holds the parts of a run. Reading one builds nothing: what is not there yet is None.

    Args:
        model: The model, or its config.
        work_dir: Folder of the run.
        arguments: Everything else.

    Attributes:
        counts_epochs: Whether the training loop counts epochs rather than iterations.
        log_interval: Iterations between two lines where no LoggerHook is registered.
        train_loop, val_loop, test_loop: The loops, each once it is built.
        checkpoints: Writes and reads the files of the run; the runner that has a loop to save makes it.
    """

    checkpoints: Checkpoints

    def __init__(self, model: object, work_dir: str | Path, arguments: Mapping[str, object]) -> None:
        self.arguments: Arguments = fill_arguments(arguments)
        self.cfg = copy.deepcopy(self.arguments["cfg"])
        use_argument(set_up_process, self.arguments, "env_cfg")
        self.randomness = use_argument(resolve_randomness, self.arguments, "randomness")
        device = self.arguments["device"]
        group = use_argument(lambda env: read_dist_cfg((env or {}).get("dist_cfg")), self.arguments, "env_cfg")
        self.world = use_argument(lambda launcher: adopt_world(group, device, launcher), self.arguments, "launcher")
        self.device = self.world.each(lambda: pick_device(device, self.world.device_index))
        wrapper, unused = ((self.cfg or {}).get(key) for key in ("model_wrapper_cfg", "find_unused_parameters"))
        ranks = self.randomness.ranks
        self.strategy = use_argument(
            lambda own: pick_strategy(own, wrapper, self.world, bool(unused), ranks), self.arguments, "strategy"
        )
        exact = ranks > 0 and self.device.type == "cpu"
        self.threads = set_threads(told_threads(self.arguments["env_cfg"]), self.world.local_size, exact)
        self.remote = mirror_of(work_dir, self.arguments["remote"], self.world)
        self.work_dir = Folder(folder_of(work_dir) if self.remote is None else self.remote.work_dir)
        self.outside = places_outside(self.arguments, self.work_dir)
        self.log_interval = int(self.arguments["log_interval"])  # 50.0 counts as 50
        self.made_folders = missing_folders(self.work_dir) if self.world.rank == 0 else []
        log_dir, self.timestamp = self.world.first(lambda: make_log_dir(self.work_dir))
        self.log_dir = Folder(log_dir)
        try:
            self._make_log()
            with self.world.together(), self.instances:
                self._make_parts(model)
                self._add_hooks()
                self._announce()
        except BaseException:
            if self.world.rank == 0:
                remove_start(self.log_dir, self.made_folders)
            raise

    def _make_log(self) -> None:
        """Make what any part may ask for while it is built."""
        self.experiment_name = experiment_name(self.arguments["experiment_name"], self.cfg, self.timestamp)
        name = "seg_runner" if self.cfg is None else MMENGINE_NAME
        log_file = self.log_dir / (f"{self.timestamp}_rank{self.rank}.log" if self.rank else f"{self.timestamp}.log")
        self.log_file = log_file
        ours: dict[str, Any] = {"name": name, "rank": self.rank, "run": self.experiment_name}
        self.logger = use_argument(lambda level: make_logger(log_file, level, **ours), self.arguments, "log_level")
        self.message_hub = self.build_message_hub()
        self.loss_watch, self.across = LossWatch(), AcrossRanks(self.world)
        self.instances = Instances(self)

    def _make_parts(self, model: object) -> None:
        """Make what is needed from the start; loops, and what only training needs, are built later."""
        seed_everything(self.randomness, self.rank)
        self.assembler = Assembler(self.arguments["build"], self.cfg, self.arguments["default_scope"])
        self.assembler.world = self.world
        self.assembler.exact = not self.randomness.by_sample
        self.loaders: dict[str, Any] = ready_loaders(self.arguments)
        self.train_loop: Any = None
        self.val_loop: Any = None
        self.test_loop: Any = None
        self.counts_epochs = False
        self.log_processor = self.build_log_processor(self.arguments["log_processor"])
        self.visualizer = self.build_visualizer(self.arguments["visualizer"])
        self.instances.put("mmengine.visualization")
        bare = self.build_model(model)
        if self.world.size > 1 and not self.arguments["skip_checks"]:
            compare_ranks(self.world, facts_of_model(bare))
        self.model: Any = self.wrap_model((self.cfg or {}).get("model_wrapper_cfg"), bare)
        self.optim_wrapper: Any = ready_wrapper(self.arguments["optim_wrapper"])
        self.param_schedulers: Any = ready_schedulers(self.arguments["param_scheduler"])
        self.saver = CheckpointSaver(**(self.arguments["checkpoint"] or {}))
        self.saver.world = self.world

    def _announce(self) -> None:
        """Write the first lines of the log."""
        info, warning = self.logger.info, self.logger.warning
        facts = describe_environment(self.device, self.seed, self.threads)
        if self.world.size > 1:
            facts["processes"] = f"{self.world.size} ({self.world.says}; trained by {name_of(self.strategy)})"
        info("%s", ", ".join(f"{name} {value}" for name, value in facts.items()))
        if not self.randomness.by_sample:
            info(NOT_EXACT, self.randomness.stream)
        for line in without_effect(self.cfg if self.data_ranks == 1 else None):
            info("%s", line)
        for line in getattr(self.strategy, "said", ()):
            info("%s", line)
        for line in getattr(self.strategy, "notes", ()):
            info("model_wrapper_cfg: %s", line)
        if self.outside:
            warning("Written outside of work_dir: %s (strict_paths=True refuses it)", "; ".join(self.outside))
        for line in misspelt(self.cfg or {}):
            warning("%s", line)
        for line in own_lines(self.cfg or {}):
            info("%s", line)
        if self.cfg is not None and isinstance(getattr(self.cfg, "pretty_text", None), str):
            info("Config:\n%s", self.cfg.pretty_text, extra=IN_FILE)
        info("Hooks:\n%s", self.points, extra=IN_FILE)
        what = "config and timetable" if self.cfg is not None else "timetable"
        info("The %s of the hooks: %s", what, _shortened(self.log_dir / f"{self.timestamp}.log"))
        if slots := [slot for slot in self.table.fallbacks if slot in FALLBACK_HOOKS]:
            info("%s", describe_fallbacks(slots))

    # -- built when first needed ------------------------------------------------------------------------------------

    def build_training(self) -> None:
        """Build the training loop, the optimizer wrapper, the schedulers and the validation loop, in this order."""
        if self.train_loop is not None:
            return
        arguments = self.arguments
        self.train_loop = self.build_train_loop(arguments["train_cfg"])
        self.counts_epochs = counts_epochs(self.train_loop, EpochBasedTrainLoop)
        if self.optim_wrapper is None and arguments["optim_wrapper"] is not None:
            self.optim_wrapper = self.build_optim_wrapper(arguments["optim_wrapper"])
        give_hub(self.optim_wrapper, self.message_hub)
        self._scale_lr()
        if self.param_schedulers is None:
            self.param_schedulers = self.build_param_scheduler(arguments["param_scheduler"])
        if arguments["val_dataloader"] is not None or arguments["val_cfg"] is not None:
            self.build_evaluation("val")

    def build_evaluation(self, mode: str) -> Any:
        """Build the validation or test loop, once."""
        if (built := getattr(self, f"{mode}_loop")) is not None:
            return built
        arguments: Mapping[str, Any] = self.arguments
        loop = getattr(self, f"build_{mode}_loop")(arguments[f"{mode}_cfg"])
        setattr(self, f"{mode}_loop", loop)
        return loop

    # -- hooks ------------------------------------------------------------------------------------------------------

    def _add_hooks(self) -> None:
        """Add the hooks of the arguments: with a config the default ones first; fallbacks where those are absent."""
        self.table = HookTable(self)
        arguments = self.arguments
        check_slots(arguments, self.logger)
        if arguments["cfg"] is not None:
            self.register_default_hooks(arguments["default_hooks"])
        else:
            add_default_hooks(self, arguments["default_hooks"], named_only=True)
        for key, listed in (
            ("custom_hooks", arguments["custom_hooks"]),
            (place_of(self.cfg, "hooks"), arguments["hooks"]),
        ):
            if listed:
                self.register_custom_hooks([listed] if isinstance(listed, Mapping) else listed, key)
        add_fallback_hooks(self.table, arguments["default_hooks"])

    def register_hook(self, hook: object, priority: int | str | None = None) -> None:
        """Add a hook, or the dict of one.

        Args:
            hook: Any object with a method named after a point.
            priority: Name, or number from 0 (first) to 100; None: the dict's, else the hook's own, else NORMAL.

        Raises:
            RuntimeError: a run is under way.
        """
        made, from_cfg = self.assembler.hook(hook, "hook")
        self.table.add(made, from_cfg if priority is None else priority)

    def register_default_hooks(self, hooks: Mapping[str, Any] | None = None) -> None:
        """Add the six default hooks, with the given slots replaced, added, or (None) left out."""
        add_default_hooks(self, hooks)

    def register_custom_hooks(self, hooks: Iterable[Any], key: str = "custom_hooks") -> None:
        """Add hooks or their dicts, in order; `key` is where the config lists them."""
        add_custom_hooks(self, hooks, key)

    def register_hooks(
        self, default_hooks: Mapping[str, Any] | None = None, custom_hooks: Iterable[Any] | None = None
    ) -> None:
        """Add the default hooks, then the custom ones."""
        self.register_default_hooks(default_hooks)
        self.register_custom_hooks(custom_hooks or ())

    @property
    def points(self) -> Points:
        """Return the hook table; `print(runner.points)` shows which hooks run at which point, in order."""
        return self.table.freeze()

    @property
    def hooks(self) -> list[Any]:
        """Return the hooks in the order in which they run."""
        return FixedList(self.table.hooks)

    def get_hooks_info(self) -> str:
        """Return the timetable of the hooks as a text, in the columns that MMEngine's has."""
        lines = str(self.points).splitlines()
        return "\n".join(line.ljust(50) if line.startswith("(") else line for line in lines)

    # -- what hooks and loops read ----------------------------------------------------------------------------------

    @property
    def resuming(self) -> bool:
        """Tell whether the run is being put where a checkpoint stands right now."""
        return self.checkpoints.resuming

    @property
    def resumed(self) -> bool:
        """Tell whether the run goes on from a checkpoint."""
        return self.checkpoints.resumed

    @property
    def run_id(self) -> object:
        """Return the name of the run in its checkpoints, kept over resumes; None before the first."""
        return self.checkpoints.identity.run_id

    @property
    def train_dataloader(self) -> Any:
        """Return the loader of training batches: the user's own object where one was given."""
        return self.loaders["train"]

    @property
    def val_dataloader(self) -> Any:
        """Return the loader of validation batches; with several named sets, of the one being run."""
        return getattr(self.val_loop, "dataloader", self.loaders["val"])

    @property
    def test_dataloader(self) -> Any:
        """Return the loader of test batches."""
        return getattr(self.test_loop, "dataloader", self.loaders["test"])

    @property
    def seed(self) -> int:
        """Return the seed of the run."""
        return self.randomness.seed

    @property
    def deterministic(self) -> bool:
        """Tell whether only deterministic operations may be used."""
        return bool(self.randomness.deterministic)

    @property
    def distributed(self) -> bool:
        """Tell whether there are several processes."""
        return self.world_size > 1


def _shortened(path: Path) -> str:
    """Write a path as a person here would type it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
