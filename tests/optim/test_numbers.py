"""Every number that a config can hold: 0, negative, NaN, endless, other kinds: what is meant, or an error by name."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction
from numbers import Integral
from typing import Any

import pytest
import torch
from seg_optim import (
    AmpOptimWrapper,
    ConstantLR,
    CosineAnnealingLR,
    CosineRestartLR,
    DefaultOptimWrapperConstructor,
    ExponentialLR,
    LayerDecayOptimizerConstructor,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    OptimWrapper,
    PolyLR,
    ReduceOnPlateauLR,
    StepLR,
    freeze,
    plot_schedule,
)
from torch import nn


class Scalar(float):
    """As a number of numpy, which is a float or registered as a real number."""


VALUES: dict[str, Any] = {
    "0": 0, "-1": -1, "-0.5": -0.5, "0.5": 0.5, "1": 1, "1.5": 1.5, "2": 2, "1e30": 1e30, "scalar": Scalar(1.0),
    "nan": math.nan, "inf": math.inf, "-inf": -math.inf,
    "text": "1", "bool": True, "None": None, "list": [1], "dict": {"a": 1}, "complex": 1j,
}  # fmt: skip
NOT_NEGATIVE = {"0", "0.5", "1", "1.5", "2", "1e30", "scalar"}
POSITIVE = NOT_NEGATIVE - {"0"}
COUNT = {"1", "2", "1e30", "scalar"}
WHOLE = {"0", *COUNT}
SHARE = {"0", "0.5", "1", "scalar"}
FINITE = {*NOT_NEGATIVE, "-1", "-0.5"}


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def sgd() -> torch.optim.Optimizer:
    return torch.optim.SGD(net().parameters(), lr=0.1, momentum=0.9)


def optimizer(kind: str) -> Callable[..., Any]:
    def make(**options: Any) -> Any:
        given = {"type": kind, "lr": 0.1, **options}
        return DefaultOptimWrapperConstructor({"type": "OptimWrapper", "optimizer": given})(net())

    return make


def paramwise(**options: Any) -> Any:
    given = {"type": "SGD", "lr": 0.1, "weight_decay": 0.1}
    cfg = {"type": "OptimWrapper", "optimizer": given}
    return DefaultOptimWrapperConstructor(cfg, paramwise_cfg=options)(net())


def layers(**options: Any) -> Any:
    cfg = {"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": 0.1, "weight_decay": 0.1}}
    model = nn.ModuleDict({"backbone": nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])})})
    return LayerDecayOptimizerConstructor(cfg, paramwise_cfg={"decay_rate": 0.9, "num_layers": 3, **options})(model)


def schedule(kind: Any, **base: Any) -> Callable[..., Any]:
    return lambda **options: kind(sgd(), **{**base, **options})


CASES: list[tuple[str, Callable[..., Any], str, set[str]]] = [
    ("wrapper", lambda **k: OptimWrapper(sgd(), **k), "accumulative_counts", COUNT),
    ("clip", lambda **k: OptimWrapper(sgd(), clip_grad=k), "max_norm", {*NOT_NEGATIVE, "inf"}),
    ("clip", lambda **k: OptimWrapper(sgd(), clip_grad={"max_norm": 1, **k}), "norm_type", {*POSITIVE, "inf", "None"}),
    ("clip", lambda **k: OptimWrapper(sgd(), clip_grad={"max_norm": 1, **k}), "foreach", {"bool", "None"}),
    ("clip", lambda **k: OptimWrapper(sgd(), clip_grad={"type": "value", **k}), "clip_value", {*NOT_NEGATIVE, "inf"}),
    ("amp", lambda **k: AmpOptimWrapper(optimizer=sgd(), **k), "loss_scale", POSITIVE),
    ("scaler", lambda **k: AmpOptimWrapper(optimizer=sgd(), loss_scale=k), "init_scale", POSITIVE),
    ("scaler", lambda **k: AmpOptimWrapper(optimizer=sgd(), loss_scale=k), "growth_factor", {"1.5", "2", "1e30"}),
    ("scaler", lambda **k: AmpOptimWrapper(optimizer=sgd(), loss_scale=k), "backoff_factor", SHARE - {"0"}),
    ("scaler", lambda **k: AmpOptimWrapper(optimizer=sgd(), loss_scale=k), "growth_interval", {*COUNT, "1.5"}),
    *[(kind, optimizer(kind), "lr", NOT_NEGATIVE) for kind in ("SGD", "AdamW", "RMSprop", "Adagrad", "LBFGS", "NAdam")],
    *[(kind, optimizer(kind), "weight_decay", NOT_NEGATIVE) for kind in ("SGD", "AdamW", "RMSprop", "Adadelta")],
    *[(kind, optimizer(kind), "eps", NOT_NEGATIVE) for kind in ("AdamW", "Adamax", "RAdam", "RMSprop", "Adagrad")],
    *[("SGD", optimizer("SGD"), name, NOT_NEGATIVE) for name in ("momentum", "dampening")],
    *[("ASGD", optimizer("ASGD"), name, NOT_NEGATIVE) for name in ("lambd", "alpha", "t0")],
    *[("RMSprop", optimizer("RMSprop"), name, NOT_NEGATIVE) for name in ("momentum", "alpha")],
    *[("LBFGS", optimizer("LBFGS"), name, POSITIVE - {"0.5"}) for name in ("max_iter", "history_size")],
    ("Adadelta", optimizer("Adadelta"), "rho", SHARE),
    ("NAdam", optimizer("NAdam"), "momentum_decay", NOT_NEGATIVE),
    *[("paramwise", paramwise, name, {*NOT_NEGATIVE, "None"})
      for name in ("bias_lr_mult", "bias_decay_mult", "norm_decay_mult", "dwconv_decay_mult", "flat_decay_mult")],
    ("paramwise", paramwise, "bypass_duplicate", {"bool", "None"}),
    *[("custom", lambda **k: paramwise(custom_keys={"0": k}), name, {*NOT_NEGATIVE, "None"})
      for name in ("lr_mult", "decay_mult")],
    *[("custom", lambda **k: paramwise(custom_keys={"0": k}), name, NOT_NEGATIVE) for name in ("lr", "weight_decay")],
    ("layers", layers, "decay_rate", POSITIVE),
    ("freeze", lambda **k: freeze(net(), "0.weight", **k), "until", {"1", "2", "None"}),
    ("ConstantLR", schedule(ConstantLR), "factor", SHARE - {"0"}),
    ("ConstantLR", schedule(ConstantLR), "begin", NOT_NEGATIVE - {"1e30"}),
    ("ConstantLR", schedule(ConstantLR), "end", {*POSITIVE, "inf"}),
    ("ConstantLR", schedule(ConstantLR), "last_step", {"-1"}),
    ("LinearLR", schedule(LinearLR), "start_factor", SHARE - {"0"}),
    ("LinearLR", schedule(LinearLR), "end_factor", SHARE),
    ("PolyLR", schedule(PolyLR, end=9), "power", NOT_NEGATIVE),
    *[(kind.__name__, schedule(kind, end=9), name, {*NOT_NEGATIVE, "None"})
      for kind in (PolyLR, CosineAnnealingLR) for name in ("eta_min", "eta_min_ratio")],
    ("CosineAnnealingLR", schedule(CosineAnnealingLR), "T_max", {*NOT_NEGATIVE, "None"}),
    ("CosineRestartLR", schedule(CosineRestartLR, periods=[3]), "eta_min", NOT_NEGATIVE),
    ("CosineRestartLR", lambda periods: CosineRestartLR(sgd(), [periods], eta_min=0), "periods", POSITIVE),
    ("ExponentialLR", schedule(ExponentialLR), "gamma", NOT_NEGATIVE),
    ("StepLR", schedule(StepLR, step_size=2), "gamma", NOT_NEGATIVE),
    ("StepLR", schedule(StepLR), "step_size", COUNT),
    ("MultiStepLR", schedule(MultiStepLR, milestones=[1]), "gamma", NOT_NEGATIVE),
    ("MultiStepLR", lambda milestones: MultiStepLR(sgd(), [milestones]), "milestones", WHOLE),
    ("OneCycleLR", schedule(OneCycleLR, total_steps=9), "eta_max", {*NOT_NEGATIVE, "list"}),
    ("OneCycleLR", schedule(OneCycleLR, eta_max=1), "total_steps", {*POSITIVE, "None"}),
    *[("OneCycleLR", schedule(OneCycleLR, eta_max=1, total_steps=9), name, POSITIVE)
      for name in ("div_factor", "final_div_factor")],
    ("ReduceOnPlateauLR", schedule(ReduceOnPlateauLR), "factor", {"0", "0.5"}),
    *[("ReduceOnPlateauLR", schedule(ReduceOnPlateauLR), name, WHOLE) for name in ("patience", "cooldown")],
    *[("ReduceOnPlateauLR", schedule(ReduceOnPlateauLR), name, NOT_NEGATIVE) for name in ("threshold", "eps")],
    ("ReduceOnPlateauLR", schedule(ReduceOnPlateauLR), "min_value", {*FINITE, "list"}),
]  # fmt: skip


@pytest.mark.parametrize(("make", "name", "works"), [case[1:] for case in CASES], ids=[f"{c[0]}-{c[2]}" for c in CASES])
def test_a_number_works_or_is_refused_by_name(make: Callable[..., Any], name: str, works: set[str]) -> None:
    for word, value in VALUES.items():
        if word in works:
            make(**{name: value})
            continue
        with pytest.raises((TypeError, ValueError, KeyError), match=name):
            make(**{name: value})


@pytest.mark.parametrize("clip", [{"max_norm": 0}, {"max_norm": 0.0}, {"type": "value", "clip_value": 0}])
def test_clipping_at_0_is_off_with_a_line(clip: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    weights = []
    for given in (clip, None):
        torch.manual_seed(0)
        model = nn.Linear(2, 1)
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), clip_grad=given)
        wrapper.update_params(model(torch.ones(1, 2)).square().sum())
        weights.append(model.weight.detach().clone())
    assert torch.equal(*weights)
    assert "clip_grad" in caplog.text
    assert "=0 would set every gradient to 0" in caplog.text


def test_a_learning_rate_of_0_is_said(caplog: pytest.LogCaptureFixture) -> None:
    optimizer("SGD")(lr=0)
    assert "optimizer.lr=0: nothing is trained" in caplog.text


@pytest.mark.parametrize("make", [schedule(StepLR, step_size=2), schedule(ExponentialLR)])
def test_a_factor_of_0_is_said(make: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    make(gamma=0)
    assert "gamma=0 brings the value to its minimum at once" in caplog.text


TWO = {"type": "AdamW", "lr": 0.1, "weight_decay": 0.1}


def custom(**options: Any) -> Any:
    return DefaultOptimWrapperConstructor({"optimizer": TWO}, paramwise_cfg={"custom_keys": {"0": options}})(net())


def steps_of(kind: Any, **options: Any) -> Any:
    return kind.build_iter_from_epoch(sgd(), **options)


def muon(**options: Any) -> Any:
    given = {"type": "Muon", "lr": 0.02, "rest": {"type": "AdamW", "lr": 0.1, **options}}
    return DefaultOptimWrapperConstructor({"optimizer": given})(nn.Linear(2, 2))


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: optimizer("AdamW")(betas=0.9), r"betas=0\.9 is a float, a list of 2 numbers is needed, such as \(0\.9"),
    (lambda: optimizer("AdamW")(betas=None), "betas=None is a NoneType, a list of 2"),
    (lambda: optimizer("AdamW")(betas="0.9"), "betas='0.9' is a str, a list of 2"),
    (lambda: optimizer("AdamW")(betas=(0.9, 0.99, 0.9)), "has 3 numbers, 2 are needed"),
    (lambda: optimizer("AdamW")(betas=[]), "has 0 numbers, 2 are needed"),
    (lambda: optimizer("AdamW")(betas=(0.9, None)), r"betas\[1\] is None, a number is needed"),
    (lambda: optimizer("AdamW")(betas=(0.9, "0.99")), r"betas\[1\]='0.99' is a str"),
    (lambda: optimizer("AdamW")(foreach="no"), "foreach='no' is a str, True or False"),
    (lambda: optimizer("AdamW")(fused=1), "fused=1 is a int, True or False"),
    (lambda: custom(betas=(0.9, 2.0)), r"custom_keys\['0'\]: AdamW\(betas=\(0\.9, 2\.0\)\) is refused: Invalid beta"),
    (lambda: custom(betas=(0.9,)), r"custom_keys\['0'\]\.betas=\(0\.9,\) has 1 numbers"),
    (lambda: custom(eps=-1.0), r"custom_keys\['0'\]\.eps=-1\.0: a finite number of at least 0"),
    (lambda: custom(eps=math.nan), r"custom_keys\['0'\]\.eps=nan"),
    (lambda: custom(amsgrad="no"), r"custom_keys\['0'\]\.amsgrad='no'"),
    (lambda: custom(lr_mult=torch.tensor(math.nan)), "lr_mult=nan: a finite number"),
    (lambda: paramwise(norm_decay_mult=torch.tensor(-1.0)), "norm_decay_mult=-1.0"),
    (lambda: paramwise(norm_decay_mult=torch.ones(2)), "norm_decay_mult=tensor.* is a Tensor, a number is needed"),
    (lambda: layers(decay_rate=torch.tensor(math.nan)), "decay_rate=nan"),
    (lambda: layers(min_scale=2), "min_scale=2: a finite number between 0 and 1"),
    (lambda: OptimWrapper(sgd(), clip_grad={"max_norm": torch.tensor(math.nan)}), "max_norm=nan"),
    (lambda: OptimWrapper(sgd(), clip_grad={"type": "value", "clip_value": torch.tensor(-1.0)}), "clip_value=-1.0"),
    (lambda: AmpOptimWrapper(optimizer=sgd(), loss_scale=1e300), "loss_scale=1e.300: at most 3.4e.38"),
    (lambda: AmpOptimWrapper(optimizer=sgd(), loss_scale={"init_scale": 1e39}), "init_scale=1e.39: at most"),
    (lambda: AmpOptimWrapper(optimizer=sgd(), loss_scale={"init_scale": torch.tensor(math.nan)}), "init_scale=nan"),
    (lambda: AmpOptimWrapper(optimizer=sgd(), use_fsdp="no"), "use_fsdp='no' is a str"),
    (lambda: PolyLR(sgd(), end=9, eta_min=torch.tensor(math.nan)), "eta_min=nan"),
    (lambda: PolyLR(sgd(), end=9, verbose="no"), "verbose='no' is a str"),
    (lambda: StepLR(sgd(), step_size=2, gamma=torch.tensor(math.nan)), "gamma=nan"),
    (lambda: OneCycleLR(sgd(), eta_max=1.0, total_steps=9, three_phase="no"), "three_phase='no' is a str"),
    (lambda: CosineRestartLR(sgd(), periods=[], restart_weights=[], eta_min=0), "has no period"),
    (lambda: steps_of(PolyLR, epoch_length=True), "epoch_length=True"),
    (lambda: steps_of(PolyLR, epoch_length=4, by_epoch="no"), "by_epoch"),
    (lambda: plot_schedule({"type": "PolyLR", "convert_to_iter_based": "no"}, 9), "convert_to_iter_based='no'"),
]


@pytest.mark.parametrize(("make", "words"), REFUSED)
def test_what_was_silent_or_unclear_is_refused_by_name(make: Callable[[], Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        make()


TOLD: list[tuple[Callable[[], Any], str]] = [
    (lambda: optimizer("SGD")(momentum=1.5), "optimizer.momentum=1.5: at 1 or more, steps grow without limit"),
    (lambda: layers(decay_rate=2), "decay_rate=2 is above 1: the first layers learn fastest"),
    (lambda: layers(num_layers=9), "num_layers=9, but the deepest layer found is 3"),
    (lambda: StepLR(sgd(), step_size=2, gamma=10), "StepLR: gamma=10 is above 1, so the value grows each time"),
    (lambda: PolyLR(sgd(), end=9, eta_min=1.0), "eta_min=1 is above the base value 0.1, so that the value rises"),
    (lambda: PolyLR(sgd(), end=9, eta_min_ratio=2), "eta_min_ratio=2 is above the base value 0.1"),
    (lambda: CosineAnnealingLR(sgd(), eta_min=1.0, end=9), "CosineAnnealingLR: eta_min=1 is above the base value"),
    (lambda: LinearLR(sgd(), start_factor=0.1, end=1), "its window is one epoch .begin=0, end=1., so lr stays at"),
    (lambda: LinearLR(sgd(), end=6, begin=5, by_epoch=False), "LinearLR: its window is one step .begin=5, end=6."),
    (lambda: ConstantLR(sgd(), factor=0.5, end=1), "stays at factor=0.5 times its base until the run ends"),
]


@pytest.mark.parametrize(("make", "words"), TOLD)
def test_what_hardly_anybody_means_is_told(
    make: Callable[[], Any], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    make()
    assert re.search(words, caplog.text)


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers(num_layers="auto"),
        lambda: layers(decay_rate=1),
        lambda: StepLR(sgd(), step_size=2, gamma=1),
        lambda: PolyLR(sgd(), end=9, eta_min=0.1),
        lambda: PolyLR(sgd(), end=9, eta_min_ratio=1),
        lambda: LinearLR(sgd(), start_factor=1, end=1),
        lambda: LinearLR(sgd(), end=2),
        lambda: custom(betas=(0.5, 0.9), mark="mine"),
        lambda: optimizer("SGD")(momentum=0.99),
        lambda: optimizer("AdamW")(betas=[0.5, 0.9], foreach=None, fused=None),
    ],
)
def test_what_is_usual_is_not_told(make: Callable[[], Any], caplog: pytest.LogCaptureFixture) -> None:
    make()
    assert caplog.text == ""


@pytest.mark.skipif(not hasattr(torch.optim, "Adafactor"), reason="torch has Adafactor from 2.5 on")
def test_none_is_usual_where_the_default_has_it(caplog: pytest.LogCaptureFixture) -> None:
    optimizer("Adafactor")(eps=(None, 1e-3))
    assert caplog.text == ""


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has Muon from 2.9 on")
def test_the_rest_beside_muon_is_looked_at() -> None:
    with pytest.raises(ValueError, match=r"optimizer\.rest\.betas=\(0\.9,\) has 1 numbers"):
        muon(betas=(0.9,))


@Integral.register
class Two:
    """A whole number that is no int, registered as numpy's are."""

    def __float__(self) -> float:
        return 2.0

    def __le__(self, other: float) -> bool:
        return other >= 2

    __int__ = __floor__ = lambda self: 2


class Mine(torch.optim.SGD):
    """An optimizer of one's own, whose pairs may have any length."""

    def __init__(self, params: Any, lr: float = 0.1, weights: tuple[float, ...] = (1.0, 2.0), momentum: Any = None):
        super().__init__(params, lr)


def test_an_optimizer_of_ones_own_may_mean_something_else() -> None:
    made = DefaultOptimWrapperConstructor({"optimizer": {"type": Mine, "weights": (1.0, 2.0, 3.0), "momentum": "x"}})
    assert made(net()).get_lr() == {"lr": [0.1]}
    given = {"optimizer": {"type": "SGD", "lr": 0.1, "nesterov": True, "momentum": 0.9}}
    keys = {"0": {"lr_mult": 0.5, "mine": [1]}}
    assert DefaultOptimWrapperConstructor(given, {"custom_keys": keys})(net()).get_lr()["lr"] == [0.05, 0.1]


def test_numbers_of_other_libraries_are_numbers() -> None:
    assert OptimWrapper(sgd(), accumulative_counts=Fraction(2)).accumulative_counts == 2  # type: ignore[arg-type]
    assert OptimWrapper(sgd(), clip_grad={"max_norm": Fraction(2)})._clip is not None
    assert freeze(net(), "0.weight", until=Two()).frozen  # type: ignore[arg-type]
    made = StepLR.build_iter_from_epoch(sgd(), step_size=1, epoch_length=Two())  # type: ignore[arg-type]
    assert made.state_dict()["step_size"] == 2


def test_epochs_with_a_fraction_become_whole_iterations() -> None:
    made = MultiStepLR.build_iter_from_epoch(sgd(), milestones=[0.5, 1], epoch_length=5)
    assert made.state_dict()["milestones"] == {2: 1, 5: 1}
