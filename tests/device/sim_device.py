"""A pretend accelerator for tests: tensors say device 'sim', their bytes lie on the CPU.

Importing it registers the device, so it is imported in a process of its own. Mixing it with CPU tensors raises, as CUDA
does; what would make the host wait (`.item()`, `.tolist()`, `.cpu()`, `nonzero`, a synchronize) is noted in WAITS. It
has generators, streams (whose use is noted in STREAMED), memory figures and autocast for `linear` and `conv2d`. It
rests on private functions of torch, so torch is pinned where it is used.

Not simulated: pinned memory, fused optimizers, storages, several devices.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils import _pytree as tree
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

WAITS: list[str] = []  # what made the host wait, in order
STREAMED: list[str] = []  # what the streams were used for
WAITING = (
    "aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal", "aten::nonzero", "aten::masked_select",
    "aten::unique", "aten::_unique2", "aten::bincount",
)  # fmt: skip
CROSSING = ("aten::copy_", "aten::_to_copy", "aten::_copy_from")  # may take tensors of both devices
CPU = torch.device("cpu")


class Stream:
    """A queue of work; here everything is done at once."""

    def __init__(self, device: Any = None) -> None:
        STREAMED.append("made")

    def wait_stream(self, other: Stream) -> None:
        STREAMED.append("waited for")


class Backend:
    """What `torch.sim` answers."""

    Stream = Stream

    def __init__(self) -> None:
        self.current, self.state = Stream(), torch.zeros(1, dtype=torch.uint8)

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def set_device(self, device: Any) -> None:
        pass

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed(self, seed: int) -> None:
        torch.default_generator.manual_seed(seed)  # the device draws from the CPU's generator

    def manual_seed_all(self, seed: int) -> None:
        self.manual_seed(seed)

    def get_rng_state(self, device: Any = 0) -> torch.Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, device: Any = 0) -> None:
        torch.set_rng_state(state)

    def synchronize(self, device: Any = None) -> None:
        WAITS.append("synchronize")

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def empty_cache(self) -> None:
        STREAMED.append("cache emptied")

    def max_memory_allocated(self, device: Any = None) -> int:
        return 7 * 2**20

    def reset_peak_memory_stats(self, device: Any = None) -> None:
        pass

    def current_stream(self, device: Any = None) -> Stream:
        return self.current

    @contextlib.contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        STREAMED.append("copied on")
        yield


torch.__future__.set_swap_module_params_on_conversion(True)  # `.to()` keeps Parameter objects, as it does for CUDA
_setup_privateuseone_for_python_backend("sim", backend_module=Backend())
DEVICE = torch.device("sim", 0)


def on_cpu(value: Any) -> Any:
    return CPU if isinstance(value, torch.device) and value.type == "sim" else value


class SimTensor(torch.Tensor):
    """A wrapper round the CPU tensor `held`."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, real: torch.Tensor, requires_grad: bool = False) -> SimTensor:
        made = torch.Tensor._make_wrapper_subclass(
            cls, real.size(), strides=real.stride(), storage_offset=real.storage_offset(), dtype=real.dtype,
            device=DEVICE, requires_grad=requires_grad)  # fmt: skip
        made.held = real
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    def __repr__(self) -> str:
        return f"SimTensor({self.held})"

    def tolist(self) -> Any:
        WAITS.append("tolist")
        return self.held.tolist()

    def numpy(self, **kwargs: Any) -> Any:
        raise TypeError("can't convert sim:0 device type tensor to numpy. Use Tensor.cpu() first")

    def record_stream(self, stream: Any) -> None:
        STREAMED.append("kept for")

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name, known = kwargs or {}, op.name(), {}

        def unwrapped(value: Any) -> Any:
            if isinstance(value, SimTensor):
                known.setdefault(id(value.held), value)
                return value.held
            if isinstance(value, torch.Tensor) and value.dim() and not name.startswith(CROSSING):
                raise RuntimeError(f"{name}: a tensor of shape {tuple(value.shape)} on {value.device} beside sim's")
            return on_cpu(value)

        def wrapped(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            return known[id(value)] if id(value) in known else SimTensor(value)

        real_args, real_kwargs = tree.tree_map(unwrapped, (args, kwargs))
        if name.startswith(WAITING):
            WAITS.append(name)
        target = kwargs.get("device")
        to_cpu = name.startswith("aten::_to_copy") and target is not None and torch.device(target).type == "cpu"
        if to_cpu or (name.startswith("aten::copy_") and not isinstance(args[0], SimTensor)):
            WAITS.append("copy to cpu")
            result = op(*real_args, **real_kwargs)
            return result if to_cpu else args[0]
        return tree.tree_map(wrapped, op(*real_args, **real_kwargs))


def _factory(op: Any) -> Callable[..., SimTensor]:
    def make(*args: Any, **kwargs: Any) -> SimTensor:
        args, kwargs = tree.tree_map(on_cpu, (args, kwargs))
        return SimTensor(op(*args, **kwargs))

    return make


def _copy_from(source: Any, target: Any, non_blocking: bool = False) -> Any:
    real = [value.held if isinstance(value, SimTensor) else value for value in (source, target)]
    real[1].copy_(real[0])
    return target


def _factories() -> Iterator[tuple[str, Any]]:
    """Operators that make one tensor on a device from no tensor: these reach the backend before any wrapper exists."""
    for qualified in torch._C._dispatch_get_all_op_names():
        name, _, overload = qualified.removeprefix("aten::").partition(".")
        op = getattr(getattr(torch.ops.aten, name, None), overload or "default", None)
        if not qualified.startswith("aten::") or op is None:
            continue
        taken = op._schema.arguments
        makes_one = len(op._schema.returns) == 1 and "Tensor" in str(op._schema.returns[0].type)
        has_device = any(argument.name == "device" for argument in taken)
        composite = torch._C._dispatch_has_kernel_for_dispatch_key(op.name(), "CompositeImplicitAutograd")
        if makes_one and has_device and not composite and not any("Tensor" in str(a.type) for a in taken):
            yield qualified.removeprefix("aten::"), op


def _cast(op: Any) -> Callable[..., Any]:
    """The operator with its tensors in autocast's number format."""

    def run(*args: Any) -> Any:
        kind = torch.get_autocast_dtype("sim")
        cast = [each.to(kind) if isinstance(each, torch.Tensor) and each.is_floating_point() else each for each in args]
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)):
            return op(*cast)

    return run


library = torch.library.Library("aten", "IMPL")  # registrations live as long as this object
for _name, _op in _factories():
    library.impl(_name, _factory(_op), "PrivateUse1")
library.impl("_copy_from", _copy_from, "PrivateUse1")
library.impl("linear", _cast(torch.ops.aten.linear.default), "AutocastPrivateUse1")
library.impl("conv2d", _cast(torch.ops.aten.conv2d.default), "AutocastPrivateUse1")
others = torch.library.Library("_", "IMPL")
others.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
