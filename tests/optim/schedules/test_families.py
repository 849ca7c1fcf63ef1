"""The drivers: windows, chaining, wrappers, optimizer steps, conversion of epochs, bad arguments."""

from __future__ import annotations

import copy
import inspect
import logging
import pickle
from typing import Any

import pytest
import torch
from seg_optim import (
    ConstantLR,
    CosineAnnealingLR,
    CosineRestartLR,
    ExponentialLR,
    LinearLR,
    LinearMomentum,
    MultiStepLR,
    OneCycleLR,
    OptimWrapper,
    ParamScheduler,
    PolyLR,
    PolyLRRatio,
    PolyParamScheduler,
    ReduceOnPlateauLR,
    StepLR,
)
from seg_optim.schedules.arguments import POSITIONS, CommonArguments

Parameter = torch.nn.Parameter


def sgd(*rates: float, **options: Any) -> torch.optim.SGD:
    groups = [{"params": [Parameter(torch.ones(2))], "lr": rate} for rate in rates or (1.0,)]
    return torch.optim.SGD(groups, lr=1.0, **options)


def run(optimizer: Any, scheduler: ParamScheduler, steps: int) -> list[float]:
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    return values


def test_a_wrapper_has_one_more_group_that_follows_the_schedule_unmultiplied() -> None:
    wrapper = OptimWrapper(sgd(0.1, 0.2))
    scheduler = StepLR(wrapper, step_size=1, gamma=0.5, by_epoch=False)
    scheduler.step()
    assert wrapper.get_lr() == {"base_lr": [0.5], "lr": [0.05, 0.1]}
    assert scheduler.base_values == [0.1, 0.2, 1.0]


def test_any_option_of_the_groups_can_be_scheduled() -> None:
    optimizer = sgd(weight_decay=0.5)
    PolyParamScheduler(optimizer, "weight_decay", end=3, by_epoch=False).step()
    assert optimizer.param_groups[0]["weight_decay"] == 0.25
    assert optimizer.param_groups[0]["initial_weight_decay"] == 0.5


def test_momentum_of_adam_is_its_first_beta() -> None:
    optimizer = torch.optim.AdamW([Parameter(torch.zeros(1))], betas=(0.9, 0.999))
    scheduler = LinearMomentum(optimizer, start_factor=0.5, end=4, by_epoch=False)
    seen = []
    for _ in range(4):
        seen.append(optimizer.param_groups[0]["betas"])
        scheduler.step()
    assert [first for first, _ in seen] == pytest.approx([0.45, 0.6, 0.75, 0.9])
    assert {second for _, second in seen} == {0.999}


def test_momentum_needs_a_momentum() -> None:
    with pytest.raises(ValueError, match="neither momentum nor betas"):
        LinearMomentum(torch.optim.Rprop([Parameter(torch.zeros(1))]))


@pytest.mark.parametrize("ratio", [0.0, 0.01, 0.5])
@pytest.mark.parametrize(
    "later",
    [
        lambda o, r: PolyLR(o, eta_min_ratio=r, power=0.9, begin=5, end=60, by_epoch=False),
        lambda o, r: PolyLRRatio(o, r, begin=5, end=60, by_epoch=False),
        lambda o, r: CosineAnnealingLR(o, eta_min_ratio=r, begin=5, end=60, by_epoch=False),
        lambda o, r: CosineRestartLR(
            o, periods=[10, 30], restart_weights=[1, 0.5], eta_min_ratio=r, begin=5, end=60, by_epoch=False
        ),
        lambda o, r: ExponentialLR(o, gamma=0.9 + r / 100, begin=5, by_epoch=False),
        lambda o, r: MultiStepLR(o, milestones=[3, 20], begin=5, by_epoch=False),
    ],
)
def test_the_ratio_between_groups_stays(later: Any, ratio: float) -> None:
    optimizer = sgd(1e-3, 2e-5)
    chain = [LinearLR(optimizer, start_factor=1e-3, end=5, by_epoch=False), later(optimizer, ratio)]
    for _ in range(59):
        first, second = (group["lr"] for group in optimizer.param_groups)
        assert second == 0 or first / second == pytest.approx(50, rel=1e-9)
        for scheduler in chain:
            scheduler.step()


def test_counting_optimizer_steps_keeps_a_warm_up_long_under_accumulation() -> None:
    wrapper = OptimWrapper(sgd(), accumulative_counts=4)
    scheduler = LinearLR(wrapper, start_factor=0.1, end=10, by_epoch=False, unit="step")
    parameter = wrapper.optimizer.param_groups[0]["params"][0]
    seen = []
    for _ in range(48):
        seen.append(wrapper.get_lr()["lr"][0])
        wrapper.update_params(parameter.sum())
        scheduler.step()
    assert seen == pytest.approx([min(1.0, 0.1 + 0.1 * (step // 4)) for step in range(48)])


def test_two_schedules_of_optimizer_steps_share_one_counter() -> None:
    optimizer = sgd()
    first = LinearLR(optimizer, start_factor=0.5, end=3, by_epoch=False, unit="step")
    second = PolyLR(optimizer, begin=3, end=7, by_epoch=False, unit="step")
    for _ in range(5):
        optimizer.step()
        for scheduler in (first, second):
            scheduler.step()
    assert first.state_dict()["_global_step"] == second.state_dict()["_global_step"] == 5
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1 / 3)


def test_users_write_schedules_by_overriding_get_value() -> None:
    class Halving(ParamScheduler):
        def _get_value(self) -> list[float]:
            return [base * 0.5**self.last_step for base in self.base_values]

    optimizer = sgd()
    assert run(optimizer, Halving(optimizer, "lr", by_epoch=False), 4) == [1, 0.5, 0.25, 0.125]
    with pytest.raises(NotImplementedError, match="_get_value"):
        ParamScheduler(sgd(), "lr")


def test_epochs_become_iterations() -> None:
    scheduler = StepLR.build_iter_from_epoch(sgd(), step_size=2, begin=1, end=10, epoch_length=7)
    assert (scheduler.begin, scheduler.end, scheduler.by_epoch) == (7, 70, False)
    assert scheduler.state_dict()["step_size"] == 14
    assert CosineAnnealingLR.build_iter_from_epoch(sgd(), T_max=3, end=2.5, epoch_length=3).state_dict()["T_max"] == 9
    assert MultiStepLR.build_iter_from_epoch(sgd(), milestones=[1, 2], epoch_length=5).state_dict()["milestones"] == {
        5: 1,
        10: 1,
    }
    assert PolyLR.build_iter_from_epoch(sgd(), epoch_length=5).end == 10**9
    for wrong in ({"by_epoch": False, "epoch_length": 5}, {"epoch_length": 0}, {}):
        with pytest.raises(ValueError, match=r"epoch"):
            PolyLR.build_iter_from_epoch(sgd(), **wrong)
    with pytest.raises(ValueError, match="convert_to_iter_based"):
        ReduceOnPlateauLR.build_iter_from_epoch(sgd(), epoch_length=5)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: PolyLR(sgd(), begin=5, end=5), ValueError, "end=5 is not after begin=5"),
        (lambda: PolyLR("SGD"), TypeError, "not an optimizer"),
        (lambda: PolyLR(sgd(), begin="0"), TypeError, "begin='0'"),
        (lambda: PolyLR(sgd(), last_step=-2), ValueError, "last_step=-2"),
        (lambda: PolyLR(sgd(), last_step=3), KeyError, "initial_lr"),
        (lambda: PolyLR(sgd(), unit="iter"), ValueError, "'call' or 'step'"),
        (lambda: PolyLR(sgd(), resume_schedule="mine"), ValueError, "'config' or 'checkpoint'"),
        (lambda: PolyParamScheduler(sgd(), "learning_rate"), KeyError, "lr"),
        (lambda: PolyParamScheduler(sgd(), "weight_decy"), KeyError, "Did you mean 'weight_decay'"),
        (lambda: PolyLR(sgd(), eta_min=0.1, eta_min_ratio=0.1), ValueError, "exclude each other"),
        (lambda: LinearLR(sgd(), start_factor=1.5), ValueError, "between 0 and 1"),
        (lambda: LinearLR(sgd(), start_factor=0), ValueError, "1e-6"),
        (lambda: ConstantLR(sgd(), factor=0), ValueError, "1e-6"),
        (lambda: LinearLR(sgd(), start_factor="a"), TypeError, "number"),
        (lambda: PolyLR(sgd(), power="a"), TypeError, "power='a'"),
        (lambda: ExponentialLR(sgd(), gamma=float("nan")), ValueError, "gamma=nan"),
        (lambda: MultiStepLR(sgd(), milestones="3"), TypeError, "milestones="),
        (lambda: StepLR(sgd(), step_size=0), ValueError, "step_size=0"),
        (lambda: MultiStepLR(sgd(), milestones=[4, 2]), ValueError, r"write \[2, 4\]"),
        (lambda: CosineAnnealingLR(sgd(), eta_min=0.1, eta_min_ratio=0.1), ValueError, "exclude"),
        (lambda: CosineRestartLR(sgd(), periods=[1]), ValueError, "give either eta_min or eta_min_ratio"),
        (lambda: CosineRestartLR(sgd(), periods=[1, 2], eta_min=0), ValueError, "restart_weights"),
        (lambda: OneCycleLR(sgd(), eta_max=1, pct_start=1), ValueError, "float"),
        (lambda: OneCycleLR(sgd(), eta_max=1, total_steps=0), ValueError, "total_steps"),
        (lambda: OneCycleLR(sgd(), eta_max=[1, 2], total_steps=5), ValueError, "2 values for 1"),
        (lambda: OneCycleLR(sgd(), eta_max=1, total_steps=5, anneal_strategy="x"), ValueError, "'cos' or 'linear'"),
        (lambda: PolyLR(sgd(), eta_mim=1), TypeError, "PolyLR has no argument 'eta_mim'. Did you mean 'eta_min'"),
        (lambda: LinearMomentum(sgd(momentum=0.9), strat_factor=1), TypeError, "Did you mean 'start_factor'"),
        (lambda: PolyLR(sgd(), eta_min=-1), ValueError, "eta_min=-1: a finite number of at least 0"),
        (lambda: PolyLR(sgd(), by_epoch="no"), TypeError, "by_epoch='no': True or False"),
        (lambda: PolyLR(sgd(), begin=float("nan")), ValueError, "begin=nan"),
        (lambda: PolyLR(sgd(), end=None), TypeError, "end=None"),
        (lambda: CosineAnnealingLR(sgd(), T_max=-3), ValueError, "T_max=-3: a finite number above 0"),
        (lambda: StepLR(sgd(), step_size="2"), TypeError, "step_size='2'"),
        (lambda: StepLR(sgd(), step_size=2, gamma=-1), ValueError, "gamma=-1"),
        (lambda: MultiStepLR(sgd(), milestones=5), TypeError, "milestones=5 is a int, a list"),
        (lambda: MultiStepLR(sgd(), milestones=[1, "3"]), TypeError, r"milestones\[1\]='3'"),
        (lambda: CosineRestartLR(sgd(), periods=[0], eta_min=0), ValueError, r"periods\[0\]=0"),
        (lambda: OneCycleLR(sgd(), eta_max=1, div_factor=0), ValueError, "div_factor=0"),
        (lambda: OneCycleLR(sgd(), eta_max="1", total_steps=5), TypeError, "eta_max='1'"),
        (lambda: PolyParamScheduler(torch.optim.Adam([Parameter(torch.ones(1))]), "betas"), TypeError, "not one"),
        (lambda: PolyParamScheduler(sgd(), 3), TypeError, "param_name=3"),
        (lambda: PolyLR.build_iter_from_epoch(sgd(), end="a", epoch_length=3), TypeError, "end='a'"),
        (lambda: StepLR.build_iter_from_epoch(sgd(), step_size="a", epoch_length=3), TypeError, "step_size='a'"),
        (lambda: PolyLR(sgd(), end=10).load_state_dict({}), ValueError, "not the state of a scheduler"),
        (lambda: ReduceOnPlateauLR(sgd(), factor="a"), TypeError, "factor='a'"),
        (lambda: ReduceOnPlateauLR(sgd(), patience="a"), TypeError, "patience='a'"),
        (lambda: ReduceOnPlateauLR(sgd(), monitor=3), TypeError, "monitor=3"),
        (lambda: ReduceOnPlateauLR(sgd()).step({"loss": "x"}), TypeError, "loss is 'x'"),
        (lambda: ReduceOnPlateauLR(sgd(), by_epoch=False), ValueError, "by_epoch=True"),
        (lambda: ReduceOnPlateauLR(sgd(), factor=1), ValueError, "below 1"),
        (lambda: ReduceOnPlateauLR(sgd(), rule="more"), ValueError, "greater"),
        (lambda: ReduceOnPlateauLR(sgd(), min_value=[0, 0]), ValueError, "2 values for 1"),
    ],
)
def test_bad_arguments_are_named(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_one_cycle_ends() -> None:
    scheduler = OneCycleLR(sgd(), eta_max=1.0, total_steps=3, by_epoch=False)
    for _ in range(3):
        scheduler.step()
    with pytest.raises(ValueError, match="total_steps=3"):
        scheduler.step()


def test_plateaus_wait_compare_and_cool_down() -> None:
    optimizer = sgd()
    scheduler = ReduceOnPlateauLR(optimizer, monitor="loss", factor=0.5, patience=1, cooldown=1, min_value=0.2)
    values = []
    for loss in (1.0, 1.0, 1.0, float("nan"), 1.0, 1.0, 1.0, 1.0, 1.0, 0.1):
        scheduler.step({"loss": loss})
        values.append(optimizer.param_groups[0]["lr"])
    assert values == [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2, 0.2]
    with pytest.raises(KeyError, match="loss"):
        scheduler.step({"mIoU": 1.0})
    with pytest.raises(TypeError, match="not a dict"):
        scheduler.step([1.0])  # type: ignore[arg-type]


# -- resume ------------------------------------------------------------------------------------------------------


def interrupted(schedule: dict[str, Any], steps: int, rates: tuple[float, ...] = (1.0, 0.1)) -> tuple[Any, Any]:
    wrapper = OptimWrapper(sgd(*rates))
    scheduler = PolyLR(wrapper, by_epoch=False, **schedule)
    for _ in range(steps):
        scheduler.step()
    return wrapper, scheduler


def resumed(wrapper: Any, scheduler: Any, schedule: dict[str, Any], rates: tuple[float, ...] = (1.0, 0.1)) -> Any:
    new_wrapper, new_scheduler = interrupted(schedule, 0, rates)
    new_wrapper.load_state_dict(copy.deepcopy(wrapper.state_dict()))
    new_scheduler.load_state_dict(copy.deepcopy(scheduler.state_dict()))
    return new_wrapper, new_scheduler


def test_an_unchanged_schedule_goes_on_bit_for_bit() -> None:
    schedule = {"end": 50, "power": 0.9, "eta_min": 0.001}
    wrapper, scheduler = interrupted(schedule, 20)
    again, scheduler_again = resumed(wrapper, scheduler, schedule)
    for _ in range(40):
        assert again.get_lr() == wrapper.get_lr()
        scheduler.step()
        scheduler_again.step()


@pytest.mark.parametrize("changed", [{"end": 100}, {"end": 50, "power": 2.0}, {"end": 50, "eta_min": 0.05}])
def test_a_changed_config_wins_for_what_lies_ahead(changed: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    wrapper, scheduler = interrupted({"end": 50}, 20)
    with caplog.at_level(logging.WARNING, logger="seg_optim"):
        again, scheduler_again = resumed(wrapper, scheduler, changed)
    straight, straight_scheduler = interrupted(changed, 20)
    for _ in range(60):
        assert again.get_lr() == straight.get_lr()
        scheduler_again.step()
        straight_scheduler.step()
    (line,) = [record.message for record in caplog.records if "differs" in record.message]
    assert "resume_schedule='checkpoint'" in line


def test_a_changed_base_rate_wins_too() -> None:
    wrapper, scheduler = interrupted({"end": 50}, 20)
    again, _ = resumed(wrapper, scheduler, {"end": 50}, rates=(2.0, 0.1))
    straight, _ = interrupted({"end": 50}, 20, rates=(2.0, 0.1))
    assert again.get_lr() == straight.get_lr()


def test_the_references_way_keeps_what_the_checkpoint_says() -> None:
    wrapper, scheduler = interrupted({"end": 50}, 20)
    again, scheduler_again = resumed(wrapper, scheduler, {"end": 100, "resume_schedule": "checkpoint"})
    for _ in range(40):
        assert again.get_lr() == wrapper.get_lr()
        scheduler.step()
        scheduler_again.step()


def test_a_changed_chain_is_worked_out_together() -> None:
    def chain(optimizer: Any, end: int) -> list[Any]:
        return [
            LinearLR(optimizer, start_factor=0.1, end=10, by_epoch=False),
            PolyLR(optimizer, begin=10, end=end, by_epoch=False),
        ]

    def walk(schedulers: list[Any], steps: int) -> None:
        for _ in range(steps):
            for scheduler in schedulers:
                scheduler.step()

    first, straight, again = sgd(), sgd(), sgd()
    old, new, loaded = chain(first, 40), chain(straight, 80), chain(again, 80)
    walk(old, 25)
    walk(new, 25)
    again.load_state_dict(first.state_dict())
    for scheduler, state in zip(loaded, [scheduler.state_dict() for scheduler in old], strict=True):
        scheduler.load_state_dict(state)
    for _ in range(60):
        assert again.param_groups[0]["lr"] == straight.param_groups[0]["lr"]
        walk(loaded, 1)
        walk(new, 1)


@pytest.mark.parametrize("plateau_first", [True, False])
def test_what_a_plateau_took_off_is_kept_under_a_changed_config(plateau_first: bool) -> None:
    def made(end: int) -> tuple[Any, list[Any]]:
        optimizer = sgd()
        chain = [PolyLR(optimizer, end=end, by_epoch=False), ReduceOnPlateauLR(optimizer, factor=0.5, patience=0)]
        return optimizer, chain

    first, chain = made(40)
    for step in range(20):
        chain[0].step()
        if step in (3, 9):
            chain[1].step({"loss": 1e9})
    again, loaded = made(80)
    again.load_state_dict(first.state_dict())
    pairs = list(zip(loaded, chain, strict=True))
    for new, old in reversed(pairs) if plateau_first else pairs:
        new.load_state_dict(old.state_dict())
    straight, straight_chain = made(80)
    for _ in range(20):
        straight_chain[0].step()
    assert loaded[1].reductions == 2
    assert again.param_groups[0]["lr"] == pytest.approx(straight.param_groups[0]["lr"] / 4)


def test_seeking_goes_where_a_run_would_stand() -> None:
    straight, jumped = sgd(), sgd()
    walked, sought = (PolyLR(o, begin=3, end=30, power=0.9, by_epoch=False) for o in (straight, jumped))
    for _ in range(17):
        walked.step()
    sought.seek(17)
    assert straight.param_groups[0]["lr"] == jumped.param_groups[0]["lr"]
    assert walked.state_dict() == sought.state_dict()


def test_states_that_cannot_be_taken_over_are_refused() -> None:
    _, scheduler = interrupted({"end": 50}, 3)
    epochs = PolyLR(OptimWrapper(sgd(1.0, 0.1)), end=50, by_epoch=True)
    with pytest.raises(ValueError, match="counts epochs"):
        epochs.load_state_dict(scheduler.state_dict())
    with pytest.raises(ValueError, match="3 base values"):
        PolyLR(sgd(), end=50, by_epoch=False).load_state_dict(scheduler.state_dict())


def test_states_are_plain_values() -> None:
    for scheduler in (
        PolyLR(sgd(), end=10),
        MultiStepLR(sgd(), milestones=[1, 1, 2]),
        OneCycleLR(sgd(), eta_max=1.0, total_steps=10),
        CosineRestartLR(sgd(), periods=[3], eta_min=0),
        ReduceOnPlateauLR(sgd()),
    ):
        for value in scheduler.state_dict().values():
            assert isinstance(value, int | float | str | bool | list | dict | type(None))


def test_a_thrown_away_scheduler_does_not_come_back() -> None:
    optimizer = sgd()
    PolyLR(optimizer, end=10, by_epoch=False).step()
    kept = PolyLR(optimizer, end=20, by_epoch=False)
    kept.seek(5)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1 - 5 / 19)


# -- rows --------------------------------------------------------------------------------------------------------


def names_of(kind: type) -> list[str]:
    return list(inspect.signature(kind).parameters)


def test_signatures_show_all_arguments_in_the_order_of_mmengine() -> None:
    common = ["begin", "end", "last_step", "by_epoch", "verbose"]
    assert tuple(names_of(ParamScheduler)[2:]) == POSITIONS == tuple(CommonArguments.__annotations__)
    assert names_of(LinearLR) == ["optimizer", "start_factor", "end_factor", *POSITIONS]
    assert names_of(MultiStepLR)[1:6] == ["milestones", "gamma", "last_step", "begin", "end"]
    assert names_of(CosineAnnealingLR)[1:9] == ["T_max", "eta_min", *common, "eta_min_ratio"]
    assert names_of(PolyLRRatio)[1:9] == ["eta_min_ratio", "eta_min", "power", *common]
    assert names_of(PolyParamScheduler)[:5] == ["optimizer", "param_name", "eta_min", "power", "begin"]
    assert "unit" not in names_of(ReduceOnPlateauLR)
    assert inspect.signature(PolyLR).parameters["power"].default == 1.0


def test_a_class_of_ones_own_shows_its_own_arguments() -> None:
    class Own(PolyLR):
        def __init__(self, optimizer: Any, mine: int = 1, **kwargs: Any) -> None:
            super().__init__(optimizer, **kwargs)

    class Renamed(PolyLR):
        pass

    assert names_of(Own) == ["optimizer", "mine", "kwargs"]
    assert names_of(Renamed) == names_of(PolyLR)


def test_common_arguments_may_follow_by_position() -> None:
    poly = PolyLR(sgd(), 0.1, 0.9, 3, 30, -1, False)
    assert (poly.eta_min, poly.power, poly.begin, poly.end, poly.by_epoch) == (0.1, 0.9, 3, 30, False)
    steps = MultiStepLR(sgd(), [2, 4], 0.5, -1, 3, 30)
    assert (steps.last_step, steps.begin, steps.end) == (-1, 3, 30)
    cosine = CosineAnnealingLR(sgd(), 10, None, 0, 30, -1, False, False, 0.1)
    assert (cosine.T_max, cosine.eta_min_ratio) == (10, 0.1)
    with pytest.raises(TypeError, match="'begin' twice"):
        PolyLR(sgd(), 0.1, 0.9, 3, begin=3)
    with pytest.raises(TypeError, match="at most"):
        StepLR(sgd(), 3, 0.1, 0, 30, -1, True, False, "call", "config", 1)
    with pytest.raises(TypeError, match=r"PolyParamScheduler has no argument 'begn'\. Did you mean 'begin'"):
        PolyParamScheduler(sgd(), "lr", begn=3)  # type: ignore[call-arg]


def test_a_formula_makes_a_schedule() -> None:
    class Halving(ParamScheduler, formula=lambda t, rate: rate if t else None):
        def __init__(self, optimizer: Any, rate: float) -> None:
            self.rate = rate
            super().__init__(optimizer, "lr", by_epoch=False)

    optimizer = sgd()
    assert run(optimizer, Halving(optimizer, 0.5), 4) == [1, 0.5, 0.25, 0.125]


def test_schedulers_can_be_copied_and_their_classes_pickled() -> None:
    scheduler = PolyLR(sgd(), end=10)
    assert pickle.loads(pickle.dumps(type(scheduler))) is PolyLR
    assert copy.deepcopy(scheduler).state_dict() == scheduler.state_dict()
