"""The one table of names of mmcv 1.x and MMSegmentation 0.x, and what each is called now.

Every name on the right exists in the published MMEngine 0.10.7, mmcv 2.2.0 and MMSegmentation 1.2.2, or is a key of a
config, and none on the left does: `tests/parity/test_old_names.py`.
"""

from __future__ import annotations

__all__ = ["CONFIG_KEYS", "MODULES", "NAMES", "TYPES", "now"]


def _same(old: str, new: str, names: str) -> dict[str, str]:
    return {f"{old}.{name}": f"{new}.{name}" for name in names.split()}


NAMES: dict[str, str] = {
    **_same("mmcv", "mmengine.config", "Config ConfigDict DictAction"),
    **_same("mmcv.utils", "mmengine.config", "Config ConfigDict DictAction"),
    **_same("mmcv", "mmengine.registry", "Registry build_from_cfg"),
    **_same("mmcv.utils", "mmengine.registry", "Registry build_from_cfg"),
    **_same("mmcv", "mmengine.fileio", "FileClient dump load dict_from_file list_from_file"),
    **_same("mmcv.fileio", "mmengine.fileio", "FileClient dump load dict_from_file list_from_file"),
    **_same(
        "mmcv",
        "mmengine.utils",
        "ProgressBar Timer check_file_exist check_prerequisites check_time concat_list digit_version "
        "import_modules_from_strings is_list_of is_seq_of is_str is_tuple_of mkdir_or_exist requires_executable "
        "requires_package scandir slice_list symlink track_iter_progress track_parallel_progress track_progress",
    ),
    **_same(
        "mmcv.utils",
        "mmengine.utils",
        "ProgressBar Timer check_file_exist check_prerequisites check_time concat_list digit_version get_git_hash "
        "import_modules_from_strings is_list_of is_seq_of is_str is_tuple_of mkdir_or_exist requires_executable "
        "requires_package scandir slice_list symlink track_iter_progress track_parallel_progress track_progress",
    ),
    "mmcv.utils.TORCH_VERSION": "mmengine.utils.dl_utils.TORCH_VERSION",
    "mmcv.utils.get_logger": "mmengine.logging.MMLogger",
    "mmcv.utils.print_log": "mmengine.logging.print_log",
    "mmcv.print_log": "mmengine.logging.print_log",
    "mmcv.get_logger": "mmengine.logging.MMLogger",
    **_same("mmcv.runner", "mmengine.model", "BaseModule ModuleDict ModuleList Sequential"),
    **_same(
        "mmcv.runner",
        "mmengine.hooks",
        "CheckpointHook DistSamplerSeedHook EMAHook Hook IterTimerHook LoggerHook ProfilerHook",
    ),
    **_same("mmcv.runner", "mmengine.dist", "get_dist_info init_dist master_only"),
    **_same(
        "mmcv.runner",
        "mmengine.runner",
        "CheckpointLoader load_checkpoint load_state_dict save_checkpoint set_random_seed weights_to_cpu",
    ),
    **_same("mmcv.runner", "mmengine.registry", "HOOKS OPTIMIZERS RUNNERS"),
    "mmcv.runner.BaseRunner": "mmengine.runner.Runner",
    "mmcv.runner.EpochBasedRunner": "mmengine.runner.EpochBasedTrainLoop",
    "mmcv.runner.IterBasedRunner": "mmengine.runner.IterBasedTrainLoop",
    "mmcv.runner.build_runner": "mmengine.runner.Runner",
    "mmcv.runner._load_checkpoint": "mmengine.runner.CheckpointLoader",
    "mmcv.runner.LogBuffer": "mmengine.logging.MessageHub",
    "mmcv.runner.TextLoggerHook": "mmengine.hooks.LoggerHook",
    "mmcv.runner.TensorboardLoggerHook": "mmengine.visualization.TensorboardVisBackend",
    "mmcv.runner.WandbLoggerHook": "mmengine.visualization.WandbVisBackend",
    "mmcv.runner.MlflowLoggerHook": "mmengine.visualization.MLflowVisBackend",
    "mmcv.runner.LrUpdaterHook": "mmengine.optim._ParamScheduler",
    "mmcv.runner.OptimizerHook": "mmengine.optim.OptimWrapper",
    "mmcv.runner.GradientCumulativeOptimizerHook": "mmengine.optim.OptimWrapper",
    "mmcv.runner.Fp16OptimizerHook": "mmengine.optim.AmpOptimWrapper",
    "mmcv.runner.auto_fp16": "mmengine.optim.AmpOptimWrapper",
    "mmcv.runner.force_fp32": "mmengine.optim.AmpOptimWrapper",
    "mmcv.runner.wrap_fp16_model": "mmengine.optim.AmpOptimWrapper",
    "mmcv.runner.build_optimizer": "mmengine.optim.build_optim_wrapper",
    "mmcv.runner.OPTIMIZER_BUILDERS": "mmengine.registry.OPTIM_WRAPPER_CONSTRUCTORS",
    "mmcv.runner.DefaultOptimizerConstructor": "mmengine.optim.DefaultOptimWrapperConstructor",
    "mmcv.runner.get_priority": "mmengine.runner.get_priority",
    "mmcv.runner.Priority": "mmengine.runner.Priority",
    "mmcv.parallel.collate": "mmengine.dataset.pseudo_collate",
    "mmcv.parallel.DataContainer": "mmengine.structures.PixelData",
    "mmcv.parallel.is_module_wrapper": "mmengine.model.is_model_wrapper",
    "mmcv.parallel.MMDataParallel": "mmengine.runner.Runner",
    "mmcv.parallel.MMDistributedDataParallel": "mmengine.model.MMDistributedDataParallel",
    **_same(
        "mmcv.cnn",
        "mmengine.model",
        "Caffe2XavierInit ConstantInit KaimingInit NormalInit PretrainedInit TruncNormalInit UniformInit XavierInit "
        "bias_init_with_prob caffe2_xavier_init constant_init initialize kaiming_init normal_init trunc_normal_init "
        "uniform_init xavier_init",
    ),
    "mmcv.cnn.MODELS": "mmengine.registry.MODELS",
    "mmcv.cnn.utils.revert_sync_batchnorm": "mmengine.model.revert_sync_batchnorm",
    "mmseg.apis.inference_segmentor": "mmseg.apis.inference_model",
    "mmseg.apis.init_segmentor": "mmseg.apis.init_model",
    **dict.fromkeys(
        (f"mmseg.apis.{name}" for name in ("multi_gpu_test", "set_random_seed", "single_gpu_test", "train_segmentor")),
        "mmengine.runner.Runner",
    ),
    "mmseg.core.add_prefix": "mmseg.utils.add_prefix",
    "mmseg.core.get_classes": "mmseg.utils.get_classes",
    "mmseg.core.get_palette": "mmseg.utils.get_palette",
    **dict.fromkeys(
        (f"mmseg.core.{name}" for name in ("eval_metrics", "intersect_and_union", "mean_iou", "pre_eval_to_metrics")),
        "mmseg.evaluation.IoUMetric",
    ),
    "mmseg.models.NECKS": "mmseg.registry.MODELS",
    "mmseg.core.builder.OPTIMIZER_BUILDERS": "mmseg.registry.OPTIM_WRAPPER_CONSTRUCTORS",
    "mmseg.core.OPTIMIZER_BUILDERS": "mmseg.registry.OPTIM_WRAPPER_CONSTRUCTORS",
    "mmseg.core.PIXEL_SAMPLERS": "mmseg.registry.TASK_UTILS",
    "mmseg.core.builder.PIXEL_SAMPLERS": "mmseg.registry.TASK_UTILS",
    **dict.fromkeys(("mmseg.datasets.PIPELINES", "mmseg.datasets.builder.PIPELINES"), "mmseg.registry.TRANSFORMS"),
    **dict.fromkeys(("mmseg.datasets.builder.DATASETS", "mmseg.datasets.build_dataset"), "mmseg.registry.DATASETS"),
    "mmseg.datasets.build_dataloader": "mmengine.runner.Runner",
    "mmseg.datasets.CustomDataset": "mmseg.datasets.BaseSegDataset",
    "mmseg.datasets.custom.CustomDataset": "mmseg.datasets.BaseSegDataset",
    "mmseg.datasets.pipelines.Compose": "mmcv.transforms.Compose",
    "mmseg.ops.resize": "mmseg.models.utils.resize",
    "mmseg.utils.get_root_logger": "mmengine.logging.MMLogger",
}
"""Names of code."""

MODULES: dict[str, str] = {
    "mmcv.runner": "mmengine.runner",
    "mmcv.parallel": "mmengine.model",
    "mmcv.engine": "mmengine.runner",
    "mmcv.fileio": "mmengine.fileio",
    "mmcv.utils.config": "mmengine.config",
    "mmcv.utils.registry": "mmengine.registry",
    "mmseg.core": "mmseg.evaluation",
    "mmseg.datasets.builder": "mmseg.registry",
    "mmseg.datasets.pipelines": "mmseg.datasets.transforms",
    "mmseg.ops": "mmseg.models.utils",
}
"""Modules that are gone as a whole, for names that are not in the table."""

CONFIG_KEYS: dict[str, str] = {
    "optimizer": "optim_wrapper",
    "optimizer_config": "optim_wrapper",
    "fp16": "optim_wrapper",
    "lr_config": "param_scheduler",
    "momentum_config": "param_scheduler",
    "runner": "train_cfg",
    "total_iters": "train_cfg",
    "total_epochs": "train_cfg",
    "workflow": "val_cfg",
    "evaluation": "val_evaluator",
    "checkpoint_config": "default_hooks",
    "log_config": "default_hooks",
    "data": "train_dataloader",
    "dist_params": "env_cfg",
    "cudnn_benchmark": "env_cfg",
}
"""Keys of configs of MMSegmentation 0.x. Half a config of them has no effect, so none is taken for a helper's name."""

TYPES: dict[str, str] = {
    "Collect": "PackSegInputs",
    "CustomDataset": "BaseSegDataset",
    "DefaultFormatBundle": "PackSegInputs",
    "DefaultOptimizerConstructor": "DefaultOptimWrapperConstructor",
    "EpochBasedRunner": "EpochBasedTrainLoop",
    "Fp16OptimizerHook": "AmpOptimWrapper",
    "IterBasedRunner": "IterBasedTrainLoop",
    "MMSegWandbHook": "SegVisualizationHook",
    "OptimizerHook": "OptimWrapper",
    "TensorboardLoggerHook": "TensorboardVisBackend",
    "TextLoggerHook": "LoggerHook",
    "WandbLoggerHook": "WandbVisBackend",
}
"""Values of `type`."""


def now(dotted: str) -> tuple[str, str]:
    """Return the old name that a dotted name of code begins with, and what it is called now; empty for none.

    >>> now("mmcv.Config.fromfile"), now("mmcv.runner.anything"), now("mmcv.imread")
    (('mmcv.Config', 'mmengine.config.Config'), ('mmcv.runner', 'mmengine.runner'), ('', ''))
    """
    parts = dotted.split(".")
    for end in range(len(parts), 1, -1):
        old = ".".join(parts[:end])
        new = NAMES.get(old) or MODULES.get(old)
        if new:
            return old, new
    return "", ""
