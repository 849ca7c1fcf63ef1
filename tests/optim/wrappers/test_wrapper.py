"""OptimWrapper: accumulation, clipping, counters, rates, state, closures."""

from __future__ import annotations

import copy
import logging
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seg_optim import OptimWrapper, OptimWrapperDict, build_optim_wrapper
from torch import nn

Parameter = nn.Parameter


def sgd(*rates: float, **options: Any) -> torch.optim.SGD:
    groups = [{"params": [Parameter(torch.ones(2))], "lr": rate} for rate in rates or (0.1,)]
    return torch.optim.SGD(groups, lr=1.0, **options)


def test_the_reference_case_of_a_shorter_last_window() -> None:
    """K=3, 10 micro-steps, loss 6: losses of 2 for 0..8, 6 for the last; steps after 2, 5, 8, 9."""
    wrapper = OptimWrapper(sgd(), accumulative_counts=3)
    wrapper.initialize_count_status(nn.Linear(1, 1), 0, 10)
    parameter = wrapper.optimizer.param_groups[0]["params"][0]
    losses, synced, stepped = [], [], []
    for iteration in range(10):
        if wrapper.should_sync():
            synced.append(iteration)
        loss = parameter.sum() * 0 + 6
        losses.append(wrapper.scale_loss(loss).item())
        before = wrapper.step_count
        wrapper.update_params(loss)
        if wrapper.step_count > before:
            stepped.append(iteration)
    assert losses == [2.0] * 9 + [6.0]
    assert stepped == synced == [2, 5, 8, 9]
    with pytest.raises(RuntimeError, match=r"after the last one of the run \(10\)"):
        OptimWrapper.scale_loss(_beyond(), torch.ones(1))


def _beyond() -> OptimWrapper:
    wrapper = OptimWrapper(sgd(), accumulative_counts=2)
    wrapper.initialize_count_status(nn.Linear(1, 1), 10, 10)
    return wrapper


@given(st.integers(1, 6), st.integers(1, 40))
def test_accumulated_small_batches_equal_one_large_batch(counts: int, total: int) -> None:
    data = torch.randn(total, 3, generator=torch.Generator().manual_seed(total))
    nets = [nn.Linear(3, 1).double() for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    wrapper = OptimWrapper(torch.optim.SGD(nets[0].parameters(), lr=0.1), accumulative_counts=counts)
    wrapper.initialize_count_status(nets[0], 0, total)
    for row in data.double():
        wrapper.update_params(nets[0](row).square().mean())
    plain = torch.optim.SGD(nets[1].parameters(), lr=0.1)
    for rows in data.double().split(counts):
        nets[1](rows).square().mean().backward()
        plain.step()
        plain.zero_grad()
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-9)


def test_no_sync_is_entered_only_where_no_step_follows() -> None:
    entered = []

    class Wrapped(nn.Linear):
        @contextmanager
        def no_sync(self) -> Any:
            entered.append(len(steps))
            yield

    net, steps = Wrapped(1, 1), []
    wrapper = OptimWrapper(torch.optim.SGD(net.parameters(), lr=0.1), accumulative_counts=3)
    for iteration in range(6):
        with wrapper.optim_context(net):
            loss = net(torch.ones(1)).sum()
        wrapper.update_params(loss)
        steps.append(iteration)
    assert entered == [0, 1, 3, 4]


def test_a_step_with_nothing_to_leave_out_makes_no_context() -> None:
    net = nn.Linear(1, 1)
    wrapper = OptimWrapper(torch.optim.SGD(net.parameters(), lr=0.1))
    with wrapper.optim_context(net) as outer, wrapper.optim_context(net) as inner:
        assert outer is inner is None
    assert wrapper.optim_context(net) is wrapper.optim_context(net)


def test_clipping_hands_on_the_norm_as_a_tensor() -> None:
    wrapper = OptimWrapper(sgd(0.1, 0.2), clip_grad={"max_norm": 1.0})
    assert wrapper.grad_norm is None
    parameters = [group["params"][0] for group in wrapper.optimizer.param_groups]
    wrapper.update_params(sum(3 * parameter.sum() for parameter in parameters))
    assert isinstance(wrapper.grad_norm, torch.Tensor)
    assert float(wrapper.grad_norm) == pytest.approx(6.0)
    assert torch.allclose(parameters[0], torch.full((2,), 1 - 0.1 * 0.5), atol=1e-6)


def test_an_infinite_bound_measures_the_norm_and_leaves_the_gradients() -> None:
    wrapper = OptimWrapper(sgd(), clip_grad={"max_norm": float("inf")})
    parameter = wrapper.optimizer.param_groups[0]["params"][0]
    wrapper.update_params(3 * parameter.sum())
    assert float(wrapper.grad_norm) == pytest.approx(18**0.5)  # type: ignore[arg-type]
    assert torch.allclose(parameter, torch.full((2,), 1 - 0.1 * 3))


def test_clipping_by_value_leaves_no_norm() -> None:
    cfg = {"type": "value", "clip_value": 0.5}
    wrapper = OptimWrapper(sgd(), clip_grad=cfg)
    parameter = wrapper.optimizer.param_groups[0]["params"][0]
    wrapper.update_params(3 * parameter.sum())
    assert wrapper.grad_norm is None
    assert torch.allclose(parameter, torch.full((2,), 0.95))
    assert cfg == {"type": "value", "clip_value": 0.5}


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"optimizer": nn.Linear(1, 1)}, TypeError, "not a torch.optim.Optimizer"),
        ({"accumulative_counts": 0}, ValueError, "accumulative_counts=0"),
        ({"accumulative_counts": 1.5}, ValueError, "whole number"),
        ({"accumulative_counts": "2"}, TypeError, "whole number"),
        ({"clip_grad": 1.0}, TypeError, "max_norm=1.0"),
        ({"clip_grad": {}}, ValueError, "needs max_norm"),
        ({"clip_grad": {"type": "value"}}, ValueError, "needs clip_value"),
        ({"clip_grad": {"type": "norms", "max_norm": 1}}, ValueError, "'norm' or 'value'"),
        ({"clip_grad": {"max_norm": 1, "nrom_type": 2}}, TypeError, "Did you mean 'norm_type'"),
        ({"clip_grad": {"max_norm": "1"}}, TypeError, r"clip_grad\.max_norm='1'"),
        ({"clip_grad": {"max_norm": -1.0}}, ValueError, r"clip_grad\.max_norm=-1\.0"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        OptimWrapper(**({"optimizer": sgd()} | arguments))


def test_whole_floats_count_as_in_the_reference() -> None:
    wrapper = OptimWrapper(sgd(), accumulative_counts=2.0)  # type: ignore[arg-type]
    assert [wrapper.should_sync(), wrapper.should_update()] == [False, True]


def test_rates_and_momentum() -> None:
    wrapper = OptimWrapper(sgd(0.1, 0.2, momentum=0.9))
    assert wrapper.get_lr() == {"base_lr": [1.0], "lr": [0.1, 0.2]}
    assert wrapper.get_momentum() == {"momentum": [0.9, 0.9]}
    assert len(wrapper.param_groups) == 3
    assert wrapper.defaults["momentum"] == 0.9
    single = OptimWrapper(torch.optim.AdamW([Parameter(torch.zeros(1))], lr=0.3))
    assert single.get_lr() == {"lr": [0.3]}
    assert single.get_momentum() == {"momentum": [0.9]}
    assert OptimWrapper(torch.optim.Rprop([Parameter(torch.zeros(1))])).get_momentum() == {"momentum": [0]}


def test_state_has_the_base_settings_and_takes_them_back() -> None:
    wrapper, other = OptimWrapper(sgd(0.1, 0.2)), OptimWrapper(sgd(0.3, 0.4))
    wrapper.base_groups[0]["lr"] = 0.123
    state = wrapper.state_dict()
    assert state["base_param_settings"]["lr"] == 0.123
    other.load_state_dict(state)
    assert other.get_lr() == {"base_lr": [0.123], "lr": [0.1, 0.2]}
    assert "base_param_settings" in state
    with pytest.raises(ValueError, match="2 groups of 2 parameters, this optimizer 1 of 1"):
        OptimWrapper(sgd()).load_state_dict(state)


def test_states_that_do_not_fit_are_refused_and_change_nothing() -> None:
    parameter = Parameter(torch.ones(1))
    wrapper = OptimWrapper(torch.optim.SGD([parameter], lr=0.1, momentum=0.9))
    wrapper.update_params(parameter.sum())
    before = copy.deepcopy(wrapper.state_dict())
    adam = OptimWrapper(torch.optim.AdamW([parameter], lr=0.2))
    adam.update_params(parameter.sum())
    for state, words in (
        (adam.state_dict(), "another optimizer than SGD: it has no dampening, momentum"),
        ({}, "not the state of an optimizer"),
        (None, "not the state of an optimizer"),
    ):
        with pytest.raises(ValueError, match=words):
            wrapper.load_state_dict(state)  # type: ignore[arg-type]
    assert wrapper.state_dict() == before
    with pytest.raises(ValueError, match="another optimizer than AdamW: it has no"):
        adam.load_state_dict(before)
    wrapper.update_params(parameter.sum())
    adam.update_params(parameter.sum())


@pytest.mark.parametrize("loss", [None, 3.0, {"loss": 3.0}])
def test_a_loss_that_is_no_tensor_is_refused(loss: Any) -> None:
    with pytest.raises(TypeError, match="a tensor of one number"):
        OptimWrapper(sgd()).update_params(loss)


@pytest.mark.parametrize("kind", [torch.optim.AdamW, lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9)])
def test_a_state_of_other_shapes_is_refused_before_anything_changes(kind: Any) -> None:
    one, other = nn.Linear(2, 3), nn.Linear(3, 3)
    written, wrapper = OptimWrapper(kind(one.parameters(), lr=0.1)), OptimWrapper(kind(other.parameters(), lr=0.5))
    written.update_params(one(torch.ones(1, 2)).sum())
    with pytest.raises(ValueError, match=r"of shape \(3, 2\) for parameter 1 of 2, whose shape is \(3, 3\)"):
        wrapper.load_state_dict(written.state_dict())
    assert wrapper.get_lr() == {"lr": [0.5]}
    wrapper.update_params(other(torch.ones(1, 3)).sum())


def test_how_a_step_is_carried_out_is_not_part_of_a_checkpoint() -> None:
    fused = OptimWrapper(torch.optim.SGD([Parameter(torch.ones(1))], lr=0.1, fused=True))
    fused.load_state_dict(OptimWrapper(sgd(0.5)).state_dict() | {})
    assert fused.optimizer.param_groups[0]["fused"] is True
    assert fused.optimizer.param_groups[0]["lr"] == 0.5


def test_starting_inside_a_window_says_so_unless_the_gradients_are_there(caplog: pytest.LogCaptureFixture) -> None:
    wrapper = OptimWrapper(sgd(), accumulative_counts=4)
    with caplog.at_level(logging.WARNING, logger="seg_optim"):
        wrapper.initialize_count_status(nn.Linear(1, 1), 6, 10)
        assert "first 2 are missing" in caplog.text
        caplog.clear()
        wrapper.optimizer.param_groups[0]["params"][0].grad = torch.ones(2)
        wrapper.initialize_count_status(nn.Linear(1, 1), 6, 10)
        assert not caplog.records
        wrapper.initialize_count_status(nn.BatchNorm1d(1), 8, 10)
        assert "batch normalisation" in caplog.text
    assert wrapper.inner_count == 8


def test_groups_added_later_are_clipped_cleared_and_saved(vit: nn.Module) -> None:
    cfg = {
        "optimizer": {"type": "SGD", "lr": 0.1},
        "paramwise_cfg": {"bias_lr_mult": 2.0},
        "clip_grad": {"max_norm": 1.0},
    }
    wrapper = build_optim_wrapper(vit, cfg)
    wrapper.update_params(vit(torch.ones(2, 4)).sum())
    added = Parameter(torch.zeros(2))
    wrapper.optimizer.add_param_group({"params": [added]})
    wrapper.update_params(added.sum() * 100)
    assert wrapper.grad_norm is not None
    assert float(wrapper.grad_norm) == pytest.approx(100 * 2**0.5)
    assert added.grad is None
    assert (
        sum(len(group["params"]) for group in wrapper.state_dict()["param_groups"]) == len(list(vit.parameters())) + 1
    )


def test_a_parameter_put_in_anothers_place_is_clipped_and_cleared(vit: nn.Module) -> None:
    cfg = {"optimizer": {"type": "SGD", "lr": 0.1}, "paramwise_cfg": {"bias_lr_mult": 2.0}}
    cfg["clip_grad"] = {"max_norm": 1.0}
    wrapper = build_optim_wrapper(vit, cfg)
    wrapper.update_params(vit(torch.ones(2, 4)).sum())
    swapped = Parameter(torch.zeros_like(wrapper.optimizer.param_groups[0]["params"][0]))
    wrapper.optimizer.param_groups[0]["params"][0] = swapped
    wrapper.update_params(swapped.sum() * 100)
    assert float(wrapper.grad_norm) == pytest.approx(100 * swapped.numel() ** 0.5)  # type: ignore[arg-type]
    assert swapped.grad is None


def quadratic(parameter: nn.Parameter) -> torch.Tensor:
    return (parameter - 3).square().sum()


def test_lbfgs_steps_through_a_closure() -> None:
    parameter = Parameter(torch.zeros(2))
    wrapper = OptimWrapper(torch.optim.LBFGS([parameter]), clip_grad={"max_norm": 100.0})

    def closure() -> torch.Tensor:
        wrapper.zero_grad()
        loss = quadratic(parameter)
        loss.backward()
        return loss

    for _ in range(3):
        wrapper.update_params(quadratic(parameter), step_kwargs={"closure": closure})
    assert torch.allclose(parameter, torch.full((2,), 3.0), atol=1e-4)
    assert wrapper.grad_norm is not None
    with pytest.raises(ValueError, match="closure="):
        wrapper.update_params(quadratic(parameter))
    with pytest.raises(ValueError, match="cannot accumulate"):
        OptimWrapper(torch.optim.LBFGS([parameter]), accumulative_counts=2)


def test_the_norm_is_taken_in_the_order_of_the_model(vit: nn.Module) -> None:
    """Fused groups reorder the parameters; the norm must not notice."""
    cfg = {
        "optimizer": {"type": "SGD", "lr": 0.1, "weight_decay": 0.1},
        "paramwise_cfg": {"norm_decay_mult": 0.0, "bias_lr_mult": 2.0},
        "clip_grad": {"max_norm": 1e9},
    }
    wrapper = build_optim_wrapper(vit, cfg)
    parameters = list(vit.parameters())
    fused = [p for group in wrapper.optimizer.param_groups for p in group["params"]]
    differs = 0
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator) * 10 ** float(seed % 7 - 3)
        expected = nn.utils.clip_grad_norm_(parameters, 1e9)
        differs += bool(nn.utils.clip_grad_norm_(fused, 1e9) != expected)
        wrapper.step()
        assert wrapper.grad_norm == expected
    assert differs, "in no case did another order change the last bit, so that this shows nothing"


def test_a_dict_of_wrappers_is_used_by_name() -> None:
    wrappers = OptimWrapperDict(a=OptimWrapper(sgd(0.1, 0.2)), b=OptimWrapper(sgd(0.3)))
    assert wrappers.get_lr() == {"a.base_lr": [1.0], "a.lr": [0.1, 0.2], "b.lr": [0.3]}
    assert wrappers.get_momentum() == {"a.momentum": [0, 0], "b.momentum": [0]}
    assert list(wrappers) == list(wrappers.keys()) == ["a", "b"]
    assert "a" in wrappers
    assert len(wrappers) == 2
    assert [name for name, _ in wrappers.items()] == ["a", "b"]
    wrappers.initialize_count_status(nn.Linear(1, 1), 0, 10)
    for refused in ("update_params", "backward", "step"):
        with pytest.raises(NotImplementedError, match=refused):
            getattr(wrappers, refused)(torch.zeros(1))
    with pytest.raises(AttributeError, match=r"no 'inner_count': each of its wrappers has its own"):
        _ = wrappers.inner_count
    assert list(copy.deepcopy(wrappers)) == ["a", "b"]
    with pytest.raises(NotImplementedError, match="optim_context"):
        wrappers.optim_context(nn.Linear(1, 1))
    with pytest.raises(TypeError, match="b is a SGD"):
        OptimWrapperDict(b=sgd())  # type: ignore[arg-type]


def test_a_dict_of_wrappers_saves_and_clears_all() -> None:
    wrappers = OptimWrapperDict(a=OptimWrapper(sgd(0.1, 0.2)), b=OptimWrapper(sgd(0.3)))
    parameter = wrappers["b"].optimizer.param_groups[0]["params"][0]
    parameter.grad = torch.ones(2)
    wrappers.zero_grad()
    assert parameter.grad is None
    state = copy.deepcopy(wrappers.state_dict())
    wrappers["b"].optimizer.param_groups[0]["lr"] = 9.0
    wrappers.load_state_dict(state)
    assert wrappers["b"].get_lr() == {"lr": [0.3]}
    assert list(wrappers.param_groups) == ["a", "b"]
    with pytest.raises(KeyError, match="no optimizer wrapper is called 'c'"):
        wrappers.load_state_dict({"c": {}})


class OwnWindows(OptimWrapper):
    """Decides itself when to step, to exchange gradients and what a loss weighs."""

    def should_update(self) -> bool:
        return self.inner_count % 3 == 0

    def should_sync(self) -> bool:
        return self.inner_count % 3 == 2

    def scale_loss(self, loss: torch.Tensor) -> torch.Tensor:
        return loss / 3


def test_overrides_are_called_without_accumulation_too() -> None:
    entered = []

    class Wrapped(nn.Identity):
        @contextmanager
        def no_sync(self) -> Any:
            entered.append(wrapper.inner_count)
            yield

    parameter = Parameter(torch.zeros(()))
    wrapper, net = OwnWindows(torch.optim.SGD([parameter], lr=1.0)), Wrapped()
    for _ in range(3):
        with wrapper.optim_context(net):
            loss = parameter * 3
        wrapper.update_params(loss)
    assert (wrapper.step_count, entered, parameter.item()) == (1, [0, 1], -3.0)


def test_a_method_that_is_put_on_a_wrapper_counts_from_the_start_of_the_run() -> None:
    parameter = Parameter(torch.zeros(()))
    wrapper = OptimWrapper(torch.optim.SGD([parameter], lr=1.0))
    wrapper.should_update = lambda: False  # type: ignore[method-assign]
    wrapper.initialize_count_status(nn.Identity(), 0, 10)
    wrapper.update_params(parameter * 3)
    assert wrapper.step_count == 0


def test_and_so_does_one_that_is_put_on_it_in_the_middle_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    entered = []

    class Wrapped(nn.Identity):
        def no_sync(self) -> Any:
            entered.append(wrapper.inner_count)
            return nullcontext()

    parameter = Parameter(torch.zeros(()))
    wrapper = OptimWrapper(torch.optim.SGD([parameter], lr=1.0))
    wrapper.initialize_count_status(nn.Identity(), 0, 10)
    wrapper.update_params(parameter * 3)
    with monkeypatch.context() as patched:
        patched.setattr(wrapper, "should_update", lambda: False)
        patched.setattr(wrapper, "should_sync", lambda: False)
        patched.setattr(wrapper, "scale_loss", lambda loss: loss * 2)
        wrapper.optim_context(Wrapped())
        wrapper.update_params(parameter * 3)
    assert (wrapper.step_count, parameter.grad, entered) == (1, 6.0, [1])
    wrapper.update_params(parameter * 3)
    assert (wrapper.step_count, parameter.item()) == (2, -12.0)


def test_a_method_that_is_put_on_the_class_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OptimWrapper, "should_update", lambda self: self.inner_count % 2 == 0)
    parameter = Parameter(torch.zeros(()))
    wrapper = OptimWrapper(torch.optim.SGD([parameter], lr=1.0))
    for _ in range(3):
        wrapper.update_params(parameter * 3)
    assert wrapper.step_count == 1
