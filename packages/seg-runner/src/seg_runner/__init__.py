"""The training loop for segmentation models: exact resume, crash-safe checkpoints, with or without a config."""

from __future__ import annotations

from seg_runner.__about__ import __version__
from seg_runner.checkpoint.find import find_resumable
from seg_runner.checkpoint.read import read_checkpoint
from seg_runner.checkpoint.weights import export_safetensors, load_weights
from seg_runner.data.samplers import ClassBalancedSampler, DefaultSampler, InfiniteSampler
from seg_runner.data.samples import default_collate, pseudo_collate
from seg_runner.data.stream import TrainBatches
from seg_runner.errors import CheckpointError
from seg_runner.evaluation.cityscapes import CityscapesMetric
from seg_runner.evaluation.depth import DepthMetric
from seg_runner.evaluation.evaluator import Evaluator
from seg_runner.evaluation.iou import IoUMetric
from seg_runner.log.message_hub import MessageHub
from seg_runner.log.processor import LogProcessor
from seg_runner.loop.evaluate import TestLoop, ValLoop
from seg_runner.loop.train import EpochBasedTrainLoop, IterBasedTrainLoop
from seg_runner.model.logits_model import LogitsModel
from seg_runner.model.preprocessor import SegDataPreProcessor
from seg_runner.model.samples import PixelData, SegDataSample
from seg_runner.model.tta import SegTTAModel
from seg_runner.process.device import pick_device
from seg_runner.runner import Runner

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
    "pick_device",
    "pseudo_collate",
    "read_checkpoint",
]
