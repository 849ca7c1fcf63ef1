"""Hostile names, the places of a config where they are tried, and a run that has all those places."""

from __future__ import annotations

import copy
from typing import Any

RAN = "RAN"  # the canary, in the folder of the test
PROCESS_OF_TORCH = "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler"
HOSTILE: dict[str, dict[str, Any]] = {
    "subprocess.Popen": {"args": ["touch", RAN]},
    "os.system": {"command": f"touch {RAN}"},
    "builtins.eval": {},
    "builtins.open": {"file": RAN, "mode": "w"},
    "io.FileIO": {"file": RAN, "mode": "w"},
    "logging.FileHandler": {"filename": RAN},
    "pathlib.Path.touch": {"self": RAN},
    "pickle.loads": {},
    "torch.load": {"f": "evil.pth", "weights_only": False},
    "torch.utils.data.datapipes.iter.FileOpener": {"datapipe": [RAN], "mode": "w"},
    "torch.package.PackageExporter": {"f": RAN},
    PROCESS_OF_TORCH: {
        "entrypoint": "touch",
        "args": [RAN],
        "env": {},
        "stdout": None,
        "stderr": None,
        "local_rank_id": 0,
        "numa_options": None,
    },
    "seg_registry.registry.builder.Builder": {"allow": ["*"]},
    "seg_runner.checkpoint.write.write_checkpoint": {"path": RAN, "content": {}},
    "seg_hooks.own_loop.state.TrainState": {"work_dir": RAN},
    "numpy.memmap": {"filename": RAN, "mode": "w+", "shape": [1]},
    "evil_module.Part": {},
}
# The place in the config -> what stands there; `NAME` is the hostile name, and the hostile arguments lie beside it.
NAME = "<the hostile name>"
HERE = {"type": NAME}
CONV = {"type": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 2, "kernel_size": 1}
INSIDE: dict[str, tuple[str, Any]] = {
    "optim_wrapper.optimizer.rest": ("optim_wrapper.optimizer", {"type": "Muon", "lr": 0.1, "rest": HERE}),
    "optim_wrapper.optimizer.optimizer_type": (
        "optim_wrapper.optimizer",
        {"type": "ZeroRedundancyOptimizer", "lr": 0.1, "optimizer_type": NAME},
    ),
    "param_scheduler": ("param_scheduler.0", {**HERE, "convert_to_iter_based": True}),
    "ema_type": ("custom_hooks.0", {"type": "EMAHook", "ema_type": NAME}),
    "on_trace_ready": ("custom_hooks.0", {"type": "ProfilerHook", "on_trace_ready": HERE}),
    "schedule": ("custom_hooks.0", {"type": "ProfilerHook", "schedule": HERE}),
    "hook": ("custom_hooks.0", {"type": "EMAHook", "hook": HERE}),
    "model.model": ("model", {"type": "LogitsModel", "model": HERE}),
    "model.loss": ("model", {"type": "LogitsModel", "model": CONV, "loss": HERE}),
    "data_preprocessor": ("model", {"type": "LogitsModel", "model": CONV, "data_preprocessor": HERE}),
    "model.module": ("model", {"type": "SegTTAModel", "module": HERE}),
    "train_dataloader.dataset.datasets.0": ("train_dataloader.dataset", {"type": "ConcatDataset", "datasets": [HERE]}),
    "train_dataloader.dataset.dataset": (
        "train_dataloader.dataset",
        {"type": "RepeatDataset", "times": 2, "dataset": HERE},
    ),
    "val_dataloader.dataset.dataset": (
        "val_dataloader.dataset",
        {"type": "ClassBalancedDataset", "oversample_thr": 0.1, "dataset": HERE},
    ),
    "train_dataloader.dataset.pipeline.1.transforms.0.0": (
        "train_dataloader.dataset.pipeline.1",
        {"type": "TestTimeAug", "transforms": [[HERE]]},
    ),
    "train_dataloader.dataset.pipeline.1": (
        "train_dataloader.dataset.pipeline.1",
        {"type": "RandomChoice", "transforms": [[HERE]]},
    ),
    "train_dataloader.dataset.pipeline.2": (
        "train_dataloader.dataset.pipeline.2",
        {"type": "RandomApply", "transforms": [HERE]},
    ),
    "val_evaluator.a": ("val_evaluator", {"a": HERE}),
    "val_dataloader.a.dataset": ("val_dataloader", {"a": {"dataset": HERE}}),
    "compile.options['cpp.cxx']": ("compile", {"options": {"cpp.cxx": NAME}}),
    "compile.options": ("compile", {"options": [HERE]}),
    "compile.backend": ("compile", {"backend": NAME}),
    "visualizer.vis_backends.1": ("visualizer.vis_backends", [{"type": "LocalVisBackend"}, HERE]),
}
PARTS = """
model model.backbone model.neck model.decode_head model.decode_head.loss_decode model.decode_head.loss_decode.0
model.auxiliary_head model.auxiliary_head.0 model.auxiliary_head.0.loss_decode model.network model.data_preprocessor
optim_wrapper.optimizer param_scheduler param_scheduler.0 default_hooks.logger default_hooks.own custom_hooks.0
train_dataloader.dataset train_dataloader.dataset.pipeline.0 train_dataloader.sampler train_dataloader.batch_sampler
val_dataloader.dataset val_dataloader.dataset.pipeline.0 val_dataloader.sampler
test_dataloader.dataset test_dataloader.dataset.pipeline.0 test_dataloader.sampler test_dataloader.batch_sampler
val_evaluator val_evaluator.0 test_evaluator test_evaluator.metrics.0 visualizer visualizer.vis_backends.0
log_processor strategy
""".split()  # noqa: SIM905
NAMES = """
model.type model.backbone.type optim_wrapper.type optim_wrapper.constructor optim_wrapper.optimizer.type
param_scheduler.0.type custom_hooks.0.type custom_hooks.0.priority visualizer.type visualizer.vis_backends.0.type
log_processor.type launcher strategy.type runner_type seg.device env_cfg.mp_cfg.mp_start_method activation_checkpointing
load_from resume
""".split()  # noqa: SIM905
# Places that name the part above them, or have a table of their own, with the words by which they are told.
TOLD = {
    "model.type": "model",
    "strategy.type": "strategy",
    "model.backbone.type": "model.backbone",
    "param_scheduler.0.type": "param_scheduler.0",
    "custom_hooks.0.type": "custom_hooks.0",
    "custom_hooks.0.priority": "custom_hooks.0",
    "visualizer.type": "visualizer",
    "visualizer.vis_backends.0.type": "visualizer.vis_backends.0",
    "log_processor.type": "log_processor",
}
IN_WORDS: dict[str, tuple[str, Any, str]] = {
    "a collate_fn": ("train_dataloader.collate_fn", NAME, "collate_fn"),
    "a collate_fn with options": ("test_dataloader.collate_fn", HERE, "collate_fn"),
    "a worker_init_fn": ("train_dataloader.worker_init_fn", NAME, "worker_init_fn"),
    "a worker_init_fn with options": ("val_dataloader.worker_init_fn", HERE, "worker_init_fn"),
    "a loss beside the model": ("", {"model": CONV, "loss": HERE}, "loss"),
    "a training loop": ("train_cfg", HERE, "train_cfg"),
    "a validation loop": ("val_cfg", HERE, "val_cfg"),
    "a test loop": ("test_cfg", HERE, "test_cfg"),
    "a sampler of pixels": ("model.decode_head.sampler", HERE, "sampler"),
    "a way to clip": ("optim_wrapper.clip_grad", HERE, "clip_grad.type"),
    "rules": ("optim_wrapper.paramwise_cfg", HERE, "optim_wrapper.paramwise_cfg"),
    "a scheduler of one optimizer": ("param_scheduler", {"a": HERE}, "param_scheduler"),
    "a hook with an average": ("custom_hooks.0", {**HERE, "ema_type": "X"}, "custom_hooks.0"),
    "batch augments": ("model.data_preprocessor.batch_augments", [HERE], "batch_augments"),
    "norm_cfg": ("model.backbone.norm_cfg", HERE, "norm_cfg"),
    "act_cfg": ("model.neck.act_cfg", HERE, "act_cfg"),
    "conv_cfg": ("model.decode_head.conv_cfg", HERE, "conv_cfg"),
    "init_cfg": ("model.init_cfg", HERE, "init_cfg"),
    "init_cfg of a backbone": ("model.backbone.init_cfg", HERE, "init_cfg"),
    "a process group": ("env_cfg.dist_cfg", HERE, "env_cfg.dist_cfg"),
    "processes": ("env_cfg.mp_cfg", HERE, "env_cfg.mp_cfg"),
    "randomness": ("randomness", HERE, "randomness"),
    "auto_scale_lr": ("auto_scale_lr", HERE, "auto_scale_lr"),
    "compile": ("compile", HERE, "compile"),
    "a record of the log": (
        "log_processor.custom_cfg",
        [{"data_src": "loss", "method_name": NAME}],
        "log_processor.custom_cfg[0]",
    ),
    "a scope": ("model.backbone", {"type": "NoSuch", "_scope_": NAME}, "model.backbone"),
    "TensorBoard": ("visualizer.vis_backends.0", {"type": "TensorboardVisBackend", "init_kwargs": HERE}, "init_kwargs"),
    "MLflow": ("visualizer.vis_backends.0", {"type": "MLflowVisBackend", "init_kwargs": HERE}, "init_kwargs"),
}
# Keys that are read by nothing that builds: the run goes on as if they were not there.
NOT_READ = {
    "model_wrapper_cfg": HERE,
    "tta_model": HERE,
    "vis_backends": [HERE],
    "env_cfg.dist_cfg.backend": NAME,
    "default_scope": NAME,
    "data_preprocessor": HERE,  # the model has one of its own
    "model.train_cfg": HERE,
}
CASES: list[tuple[str, str, Any, str]] = [
    *((place, place, HERE, place) for place in PARTS),
    *((f"{place} = name", place, NAME, TOLD.get(place, place)) for place in NAMES),
    *((f"{place} inside", where, value, place) for place, (where, value) in INSIDE.items()),
    *((label, where, value, words) for label, (where, value, words) in IN_WORDS.items()),
]


def base() -> dict[str, Any]:
    """A run of all five packages with every part that has parts."""
    steps = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}, {"type": "PackSegInputs"}]
    prefix = {"img_path": "img", "seg_map_path": "ann"}
    data = {"type": "BaseSegDataset", "data_prefix": prefix, "img_suffix": ".png", "pipeline": steps}
    data["metainfo"] = {"classes": ["a", "b"]}
    loader = {"batch_size": 2, "num_workers": 0, "dataset": data, "sampler": {"type": "DefaultSampler"}}
    head = {**CONV, "in_channels": 4, "loss_decode": [{"type": "CrossEntropyLoss"}]}
    return {
        "work_dir": "out",
        "model": {
            "type": "Segmentor",
            "backbone": {**CONV, "out_channels": 4},
            "neck": {"type": "torch.nn.ReLU"},
            "decode_head": head,
            "auxiliary_head": [{**head, "loss_decode": {"type": "CrossEntropyLoss"}}],
            "data_preprocessor": {"type": "SegDataPreProcessor", "size": (8, 8)},
        },
        **{f"{mode}_dataloader": copy.deepcopy(loader) for mode in ("train", "val", "test")},
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 1},
        "val_cfg": {"type": "ValLoop"},
        "test_cfg": {"type": "TestLoop"},
        "val_evaluator": [{"type": "IoUMetric"}],
        "test_evaluator": {"type": "Evaluator", "metrics": [{"type": "IoUMetric"}]},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}},
        "param_scheduler": [{"type": "PolyLR", "by_epoch": False}],
        "default_hooks": {"logger": {"type": "LoggerHook"}},
        "custom_hooks": [{"type": "EMAHook"}],
        "visualizer": {"type": "SegLocalVisualizer", "vis_backends": [{"type": "LocalVisBackend"}]},
        "log_processor": {"type": "LogProcessor", "by_epoch": False},
        "randomness": {"seed": 0},
    }


def hostile(value: Any, name: str) -> Any:
    """A value of the tables with the hostile name in it."""
    if isinstance(value, dict):
        own = {key: hostile(each, name) for key, each in value.items()}
        return {**own, **HOSTILE[name]} if value.get("type") == NAME else own
    if isinstance(value, list):
        return [hostile(each, name) for each in value]
    return name if value == NAME else value


def put(cfg: Any, place: str, value: Any) -> None:
    """Set one value by its path; with no path, those of several keys."""
    if not place:
        cfg.update(value)
        return
    *way, last = [int(word) if word.isdigit() else word for word in place.split(".")]
    for word in way:
        cfg = cfg.setdefault(word, {}) if isinstance(cfg, dict) else cfg[word]
    cfg[last] = value
