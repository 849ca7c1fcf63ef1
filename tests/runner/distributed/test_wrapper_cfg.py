"""What `model_wrapper_cfg` of MMEngine's configs becomes here."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from seg_runner import Runner
from seg_runner.distributed.strategy import pick_strategy
from seg_runner.distributed.world import World
from seg_runner.distributed.wrapper_cfg import read_wrapper_cfg
from torch.nn import Linear

SHARDED = "MMFullyShardedDataParallel"


class Block: ...


def size_based_auto_wrap_policy() -> None: ...


@pytest.mark.parametrize(
    ("cfg", "options", "said"),
    [
        ({}, {}, ""),
        ({"cpu_offload": True}, {"offload": True}, ""),
        ({"cpu_offload": {"type": "CPUOffload", "offload_params": False}}, {"offload": False}, ""),
        ({"sharding_strategy": "SHARD_GRAD_OP"}, {"reshard_after_forward": False}, ""),
        (
            {"mixed_precision": {"type": "MixedPrecision", "param_dtype": "bfloat16", "buffer_dtype": "float32"}},
            {"param_dtype": "bfloat16"},
            "mixed_precision.buffer_dtype has no effect",
        ),
        ({"auto_wrap_policy": {"type": "x.size_based_auto_wrap_policy", "min_num_params": 9}}, {"min_params": 9}, ""),
        ({"auto_wrap_policy": partial(size_based_auto_wrap_policy, min_num_params=7)}, {"min_params": 7}, ""),
        (
            {"auto_wrap_policy": {"type": "transformer_auto_wrap_policy", "transformer_layer_cls": ["a.Block", Block]}},
            {"wrap": ["Block", Block]},
            "",
        ),
        ({"backward_prefetch": "BACKWARD_PRE", "use_orig_params": True}, {}, "backward_prefetch has no effect"),
    ],
)
def test_options_of_fsdp1_become_those_of_the_strategy(cfg: Any, options: Any, said: str) -> None:
    name, found, notes = read_wrapper_cfg({"type": f"mmengine.model.{SHARDED}", **cfg})
    assert (name, found) == ("fsdp", options)
    assert said in " ".join(notes)
    assert bool(notes) == bool(said)


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ({"sharding_strategy": "NO_SHARD"}, "'NO_SHARD': there are FULL_SHARD.*strategy='ddp'"),
        ({"auto_wrap_policy": "mine.policy"}, "'policy', which cannot be read.*wrap=\\['Block'\\]"),
    ],
)
def test_what_has_no_like_is_told(cfg: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_wrapper_cfg({"type": SHARDED, **cfg})


def test_a_wrong_option_is_told_with_the_nearest() -> None:
    with pytest.raises(TypeError, match=r"fsdp takes no 'reshard_after_fwd'\. Did you mean 'reshard_after_forward'"):
        pick_strategy(None, {"type": SHARDED, "reshard_after_fwd": True}, World(0, 2))


def test_buffers_are_as_in_mmengine() -> None:
    kinds = {"MMDistributedDataParallel": True, "MMSeparateDistributedDataParallel": False}
    for kind, broadcast in kinds.items():
        made: Any = pick_strategy(None, {"type": kind, "detect_anomalous_params": True}, World(0, 2))
        assert made.options["broadcast_buffers"] is broadcast
        assert "named in the error" in made.notes[0]
    made = pick_strategy(None, None, World(0, 2), find_unused=True)
    assert made.options["find_unused_parameters"]
    assert not made.options["broadcast_buffers"]


def test_a_strategy_of_a_wrong_kind_is_an_error_at_the_top_of_a_config(tmp_path: Any) -> None:
    cfg = {"model": Linear(1, 1), "work_dir": str(tmp_path), "strategy": ["{type:ddp}"]}
    with pytest.raises(TypeError, match=r"strategy must be a name such as 'ddp', or a dict such as dict\(type='ddp'\)"):
        Runner.from_cfg(cfg)
