"""The random numbers of a process: taken as plain values and tensors, and put back."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from typing import Any

import torch

from seg_hooks.device import random_states, restore_random_states

__all__ = ["load_random", "random_state", "reseed_apart"]


def random_state(*, accelerator: bool = True, numpy: bool = True) -> dict[str, Any]:
    """Return the states of python's, torch's, numpy's and the accelerators' generators, where they are in use."""
    state: dict[str, Any] = {"python": random.getstate(), "torch": torch.get_rng_state()}
    if numpy and "numpy.random" in sys.modules:
        kind, keys, *rest = sys.modules["numpy.random"].get_state(legacy=True)
        state["numpy"] = [str(kind), keys.tolist(), *rest]
    states = random_states() if accelerator else []
    return state | ({"accelerator": states} if states else {})


def load_random(saved: Mapping[str, Any]) -> None:
    """Put these random numbers back, as far as they fit this machine."""
    if "python" in saved:
        version, values, gauss = saved["python"]
        random.setstate((version, tuple(values), gauss))
    if "torch" in saved:
        torch.set_rng_state(saved["torch"])
    if "numpy" in saved:
        _load_numpy(tuple(saved["numpy"]))
    restore_random_states(saved.get("accelerator") or saved.get("cuda") or [])  # "cuda": files up to version 0.1


def _load_numpy(saved: tuple[Any, ...]) -> None:
    """Load numpy's state. It is no dependency; a script may import it later than it resumes."""
    try:
        import numpy.random
    except ImportError:
        return
    numpy.random.set_state(saved)


def reseed_apart(number: int) -> None:
    """Go on with random numbers that follow from those of now and a number, and are others for each number."""
    seed = (int(torch.randint(2**62, ())) + 0x9E3779B97F4A7C15 * number) % 2**63
    random.seed(seed)
    torch.manual_seed(seed)
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed(seed % 2**32)
