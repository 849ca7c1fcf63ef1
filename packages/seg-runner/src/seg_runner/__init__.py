"""The training loop for segmentation models: exact resume, crash-safe checkpoints, with or without a config."""

from __future__ import annotations

from seg_runner.__about__ import __version__
from seg_runner.adapter import LogitsModel
from seg_runner.batches import TrainBatches
from seg_runner.checkpoint import CheckpointError, read_checkpoint
from seg_runner.cityscapes_metric import CityscapesMetric
from seg_runner.collate import default_collate, pseudo_collate
from seg_runner.depth_metric import DepthMetric
from seg_runner.eval_loops import TestLoop, ValLoop
from seg_runner.evaluation import Evaluator
from seg_runner.iou_metric import IoUMetric
from seg_runner.log_processor import LogProcessor
from seg_runner.loops import EpochBasedTrainLoop, IterBasedTrainLoop
from seg_runner.message_hub import MessageHub
from seg_runner.preprocess import SegDataPreProcessor
from seg_runner.resumable import find_resumable
from seg_runner.runner import Runner
from seg_runner.samplers import ClassBalancedSampler, DefaultSampler, InfiniteSampler
from seg_runner.samples import PixelData, SegDataSample
from seg_runner.tta import SegTTAModel
from seg_runner.weights import export_safetensors, load_weights

__all__ = [
    "CheckpointError",
    "CityscapesMetric",
    "ClassBalancedSampler",
    "DefaultSampler",
    "DepthMetric",
    "EpochBasedTrainLoop",
    "Evaluator",
    "InfiniteSampler",
    "IoUMetric",
    "IterBasedTrainLoop",
    "LogProcessor",
    "LogitsModel",
    "MessageHub",
    "PixelData",
    "Runner",
    "SegDataPreProcessor",
    "SegDataSample",
    "SegTTAModel",
    "TestLoop",
    "TrainBatches",
    "ValLoop",
    "__version__",
    "default_collate",
    "export_safetensors",
    "find_resumable",
    "load_weights",
    "pseudo_collate",
    "read_checkpoint",
]
