"""What `model_wrapper_cfg` of a config for MMEngine means here: the strategy, its options, and what has no place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["is_own_wrapper", "read_wrapper_cfg"]

WRAPPERS = {
    "DistributedDataParallel": "ddp",
    "MMDistributedDataParallel": "ddp",
    "MMSeparateDistributedDataParallel": "separate_ddp",
    "MMFullyShardedDataParallel": "fsdp",
}
"""What it names, and which strategy that is here."""

PLACED = ("device_ids", "output_device", "dim", "process_group", "module")
"""Where a model lies and who its ranks are, which the run knows."""

NO_NEED = {
    "backward_prefetch": "FSDP2 gathers ahead by itself",
    "forward_prefetch": "FSDP2 gathers ahead by itself",
    "limit_all_gathers": "FSDP2 needs no limit",
    "use_orig_params": "FSDP2 keeps each parameter under its name",
    "sync_module_states": "rank 0's weights are given to all",
    "param_init_fn": "a model initialises itself before it is sharded",
    "ignored_modules": "all modules are sharded",
    "ignored_parameters": "all parameters are sharded",
    "ignored_states": "all parameters are sharded",
}
"""Options of FSDP1, and why there is no such option."""

SHARDING = {"FULL_SHARD": True, "SHARD_GRAD_OP": False}
DTYPES = ("param_dtype", "reduce_dtype")


def read_wrapper_cfg(cfg: Mapping[str, Any]) -> tuple[str, dict[str, Any], list[str]]:
    """Return the name of the strategy, its options, and sentences about what has no place in them.

    Raises:
        KeyError: a wrapper that is none of these.
        ValueError: a value that there is none of here; the message says what to write instead.

    >>> read_wrapper_cfg({"type": "MMDistributedDataParallel", "find_unused_parameters": True})
    ('ddp', {'find_unused_parameters': True, 'broadcast_buffers': True}, [])
    """
    name = _name_of(cfg)
    options = {key: value for key, value in cfg.items() if key not in ("type", *PLACED)}
    strategy = WRAPPERS[name]
    if strategy == "fsdp":
        return strategy, *_sharded(options)
    notes = []
    if strategy == "ddp":
        options.setdefault("broadcast_buffers", True)  # as torch's own default is, which this wrapper leaves
    if options.pop("detect_anomalous_params", False):
        notes.append("detect_anomalous_params has no effect: parameters without a gradient are named in the error")
    return strategy, options, notes


def is_own_wrapper(cfg: Mapping[str, Any]) -> bool:
    """Tell whether the wrapper is a class of the user's, which is built round the model as it is.

    >>> is_own_wrapper({"type": "LoggedDistributed"}), is_own_wrapper({"type": "mmengine.MMDistributedDataParallel"})
    (True, False)
    """
    return _name_of(cfg) not in WRAPPERS


def _name_of(cfg: Mapping[str, Any]) -> str:
    kind = cfg.get("type", "MMDistributedDataParallel")
    return str(kind).rpartition(".")[2] if isinstance(kind, str) else str(kind.__name__)


def _sharded(options: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Turn options of FSDP1 into those of the strategy `fsdp`."""
    found: dict[str, Any] = {}
    notes = [f"{key} has no effect: {why}" for key, why in NO_NEED.items() if options.pop(key, None) is not None]
    offload = options.pop("cpu_offload", None)
    if isinstance(offload, Mapping):
        offload = offload.get("offload_params", True)
    if offload is not None:
        found["offload"] = bool(getattr(offload, "offload_params", offload))
    if (sharding := options.pop("sharding_strategy", None)) is not None:
        text = str(getattr(sharding, "name", sharding)).rpartition(".")[2]
        if text not in SHARDING:
            raise ValueError(
                f"model_wrapper_cfg.sharding_strategy is {text!r}: there are {', '.join(SHARDING)}; whole models on "
                "every rank (NO_SHARD) are strategy='ddp'"
            )
        found["reshard_after_forward"] = SHARDING[text]
    mixed = options.pop("mixed_precision", None)
    given = mixed if isinstance(mixed, Mapping) else {key: getattr(mixed, key, None) for key in DTYPES}
    found |= {key: given[key] for key in DTYPES if given.get(key) is not None}
    others = [key for key in given if key not in ("type", *DTYPES)]
    notes += [f"mixed_precision.{key} has no effect: there are {' and '.join(DTYPES)}" for key in others]
    found |= _wrapped(options.pop("auto_wrap_policy", None))
    return {**found, **options}, notes


def _wrapped(policy: Any) -> dict[str, Any]:
    """Turn a policy of FSDP1 into `wrap` or `min_params`."""
    if policy is None:
        return {}
    given = dict(policy) if isinstance(policy, Mapping) else dict(getattr(policy, "keywords", {}))
    kind = given.get("type", policy if isinstance(policy, str) else getattr(policy, "func", policy))
    name = str(getattr(kind, "__name__", kind)).rpartition(".")[2]
    classes = given.get("transformer_layer_cls", given.get("module_classes"))
    if name == "size_based_auto_wrap_policy":
        return {"min_params": given.get("min_num_params", 1e8)}
    if classes is not None:
        return {"wrap": [one if isinstance(one, type) else str(one).rpartition(".")[2] for one in classes]}
    if name == "always_wrap_policy":
        return {"min_params": 1}
    raise ValueError(
        f"model_wrapper_cfg.auto_wrap_policy is {name!r}, which cannot be read: name what is wrapped by "
        "strategy=dict(type='fsdp', wrap=['Block']), or its size by min_params=1e7"
    )
