"""MMSegmentation's `tools/`: what does the work of each here, or why nothing does. `docs/mmseg-tools.md` shows it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["TOOLS", "Tool", "tool_of"]


class Tool(NamedTuple):
    """One script of `tools/`.

    Attributes:
        here: What does its work here; empty where nothing does.
        word: What to know of it, or why nothing does its work.
        verb: The verb of `seg` that takes its arguments.
        before: Words that stand before the config and have no meaning for the verb.
        arguments: How many words are the verb's own.
        after: Words behind those that have no meaning for it.
    """

    here: str
    word: str
    verb: str = ""
    before: int = 0
    arguments: int = 0
    after: int = 0


AS_IT_IS = "run the script as it is"
DATA = Tool(AS_IT_IS, "it writes files once and trains nothing; the data sets read what it writes")
WEIGHTS = Tool(
    AS_IT_IS,
    "it renames weights and trains nothing; `init_cfg` and `load_from` take what it writes. Where names only lack or "
    "have a prefix, `load_options=dict(revise_keys=[...])` does without it",
)
SCRIPT = "the same arguments and variables; `torchrun -m seg_engine` and `srun seg` do without a script"
SERVER = Tool(
    "", "a server is no part of training; `seg_engine.predict.load_model` gives it a model that takes an image"
)

TOOLS: dict[str, Tool] = {
    "train.py": Tool("`seg train CONFIG`", "the same options", "train", 0, 1),
    "test.py": Tool("`seg test CONFIG CHECKPOINT`", "the same options", "test", 0, 2),
    "dist_train.sh": Tool("`examples/launch/dist_train.sh CONFIG GPUS`", SCRIPT, "train", 0, 1, 1),
    "dist_test.sh": Tool("`examples/launch/dist_test.sh CONFIG CHECKPOINT GPUS`", SCRIPT, "test", 0, 2, 1),
    "slurm_train.sh": Tool("`examples/launch/slurm_train.sh PARTITION JOB CONFIG`", SCRIPT, "train", 2, 1),
    "slurm_test.sh": Tool("`examples/launch/slurm_test.sh PARTITION JOB CONFIG CHECKPOINT`", SCRIPT, "test", 2, 2),
    "analysis_tools/analyze_logs.py": Tool(
        "TensorBoard, or the rows of `scalars.json`", "the rows have the names that they had there"
    ),
    "analysis_tools/benchmark.py": Tool(
        "`time` and `data_time` in each log line, `memory` on a GPU", "it measures a model alone; here the run tells"
    ),
    "analysis_tools/browse_dataset.py": Tool(
        "`python -m seg_vis overlay IMAGES MASKS`", "files as they are; what transforms make of them, the run draws"
    ),
    "analysis_tools/confusion_matrix.py": Tool(
        "", "the table of classes that `seg test` prints has IoU and accuracy of each; no matrix is drawn"
    ),
    "analysis_tools/get_flops.py": Tool(
        "`torch.utils.flop_counter.FlopCounterMode`", "torch counts the operations of any model"
    ),
    "analysis_tools/visualization_cam.py": Tool(
        "", "the package grad-cam works on any module: `seg_engine.predict.load_model(CHECKPOINT).model`"
    ),
    **{
        f"dataset_converters/{name}.py": DATA
        for name in (
            *("chase_db1", "cityscapes", "coco_stuff10k", "coco_stuff164k", "drive", "hrf", "isaid", "levircd"),
            *("loveda", "nyu", "pascal_context", "potsdam", "refuge", "stare", "synapse", "vaihingen", "voc_aug"),
        )
    },
    **{
        f"model_converters/{name}2mmseg.py": WEIGHTS
        for name in ("beit", "clip", "mit", "san", "stdc", "swin", "twins", "vit", "vitjax")
    },
    "deployment/pytorch2torchscript.py": Tool(
        "`torch.export`, or `seg_runner.export_safetensors`", "TorchScript is no longer developed; torch.export is"
    ),
    "misc/browse_dataset.py": Tool(
        "`python -m seg_vis overlay IMAGES MASKS`", "files as they are; what transforms make of them, the run draws"
    ),
    "misc/print_config.py": Tool(
        "`print(Config.fromfile(CONFIG).pretty_text)`", "the whole config stands in the log file of each run, too"
    ),
    "misc/publish_model.py": Tool(
        "`seg_runner.export_safetensors(CHECKPOINT, FILE)`",
        "the weights alone (averaged ones, where there are any), in a file that runs no code",
    ),
    "torchserve/mmseg2torchserve.py": SERVER,
    "torchserve/mmseg_handler.py": SERVER,
    "torchserve/test_torchserve.py": SERVER,
}
"""Path below `tools/` -> what does its work."""


def tool_of(word: str) -> str:
    """Return which of the tools a word of a command line is; empty for none.

    >>> tool_of("../mmseg/tools/train.py"), tool_of("tools/misc/print_config.py"), tool_of("train.py")
    ('train.py', 'misc/print_config.py', '')
    """
    _, found, rest = f"/{word}".rpartition("/tools/")
    if found and rest in TOOLS:
        return rest
    last = word.rpartition("/")[2]
    return last if last in TOOLS and last.endswith(".sh") else ""
