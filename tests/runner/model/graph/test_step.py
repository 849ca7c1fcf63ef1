"""Training by graphs: the same numbers as without, for any shape, rate, mode and seed; and what no graph can do."""

from __future__ import annotations

import copy
import logging
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from seg_runner import LogitsModel, Runner
from seg_runner.model.graph.options import GraphOptions
from seg_runner.model.graph.step import GraphStep, capture_steps
from torch import nn
from torch.utils.data import DataLoader

MakeRunner = Callable[..., Runner]
LOG = logging.getLogger("test.graph")
GRAPH = {"mode": "graph", "stand_in": True}


class Wrapper:
    """The least that a step asks of an optimizer wrapper."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer, self.steps = optimizer, 0
        self.norm: torch.Tensor | None = None

    def optim_context(self, model: nn.Module) -> Any:
        return torch.autocast("cpu", enabled=False)

    def update_params(self, loss: torch.Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.norm = nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.steps += 1


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(8, 3, 1))


class Loss(nn.CrossEntropyLoss):
    """Takes logits that are smaller than the masks, which it crops."""

    def forward(self, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        return super().forward(logits, masks)


def batches(count: int, size: int = 8) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(3)
    return [
        (torch.randn(2, 3, size, size, generator=generator), torch.randint(0, 3, (2, size, size), generator=generator))
        for _ in range(count)
    ]


def pair(
    kind: type[torch.optim.Optimizer] = torch.optim.AdamW, model: Callable[[], nn.Module] = net, **options: Any
) -> list[tuple[LogitsModel, Wrapper]]:
    """Return an ordinary model with its wrapper, and one whose steps are captured."""
    both = []
    for captured in (False, True):
        made = LogitsModel(model(), loss=Loss())
        settings = {"momentum": 0.9} if kind is torch.optim.SGD else {}
        wrapper = Wrapper(kind(made.parameters(), lr=0.01, fused=True, **settings))  # type: ignore[call-arg]
        if captured:
            capture_steps(made, wrapper, GraphOptions(stand_in=True, **options), torch.device("cpu"), LOG)
        both.append((made, wrapper))
    return both


def train(model: LogitsModel, wrapper: Wrapper, data: list[Any], between: Callable[..., None] | None = None) -> Any:
    """Return the losses and norms of all steps, as they are in the end."""
    seen = []
    for index, batch in enumerate(data):
        torch.manual_seed(index)
        if between is not None:
            between(index, model, wrapper)
        outputs = model.train_step(batch, optim_wrapper=wrapper)
        seen.append((outputs["loss"], wrapper.norm))
    return [(float(loss), float(norm)) for loss, norm in seen]


def assert_same(both: list[tuple[LogitsModel, Wrapper]], data: list[Any], between: Any = None) -> GraphStep:
    (plain, one), (graphed, other) = both
    assert train(plain, one, data, between) == train(graphed, other, data, between)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, graphed.state_dict()[name]), name
    for left, right in zip(one.optimizer.state.values(), other.optimizer.state.values(), strict=True):
        assert all(torch.equal(left[key], right[key]) for key in left)
    assert one.steps == other.steps
    step = graphed.train_step
    assert isinstance(step, GraphStep)
    return step


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD])
def test_the_same_to_the_last_bit(kind: type[torch.optim.Optimizer]) -> None:
    assert assert_same(pair(kind), batches(9)).captured == 1


def test_rates_that_change_at_each_step() -> None:
    def between(index: int, model: LogitsModel, wrapper: Wrapper) -> None:
        wrapper.optimizer.param_groups[0]["lr"] = 0.01 / (index + 1)

    both = pair()
    assert assert_same(both, batches(9), between).captured == 1
    assert both[1][1].optimizer.param_groups[0]["lr"] == 0.01 / 9  # a number, for whoever reads it


def test_a_step_is_repeated_without_its_python() -> None:
    calls: list[int] = []

    class Counting(nn.Conv2d):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            calls.append(1)
            return super().forward(images)

    _, (model, wrapper) = pair(model=lambda: Counting(3, 3, 1), warm_up=2)
    train(model, wrapper, batches(9))
    assert len(calls) == 3  # two ordinary steps, and the captured one
    assert wrapper.steps == 9


def test_each_shape_has_a_graph_up_to_the_limit(caplog: pytest.LogCaptureFixture) -> None:
    data = [batch for size in (6, 8, 10) for batch in batches(4, size)]
    order = random.Random(0).sample(data, len(data))
    step = assert_same(pair(warm_up=1, graphs=2), order + order)
    assert step.captured == 2
    assert caplog.text.count("batches have more than 2 shapes (compile.graphs)") == 1


def test_what_is_frozen_or_set_otherwise_in_the_middle_is_captured_anew() -> None:
    def between(index: int, model: LogitsModel, wrapper: Wrapper) -> None:
        layers = model.model
        if index == 4:
            layers[1].eval()  # type: ignore[index]
        if index == 8:
            layers[3].p = 0.1  # type: ignore[index]
        if index == 12:
            wrapper.optimizer.param_groups[0]["weight_decay"] = 0.3
        if index == 16:
            layers[0].weight.requires_grad_(False)  # type: ignore[index]

    assert assert_same(pair(), batches(20), between).captured == 1


class Switched(nn.Conv2d):
    """Has settings as users write them."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(3, 3, 1)
        self.doubled, self.kind, self.times, self.share = False, "plain", 1, None
        self.scale = torch.tensor(1.0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = super().forward(images) * self.times * self.scale * (self.share or 1)
        return logits * (1 + self.doubled) if self.kind == "plain" else logits + 1


class Numbered(nn.Module):
    """Takes batches with the indices of their samples."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def train_step(self, data: Any, optim_wrapper: Wrapper) -> dict[str, torch.Tensor]:
        loss = (self.weight * data["x"]).sum()
        optim_wrapper.update_params(loss)
        return {"loss": loss.detach()}


def test_numbers_that_differ_from_batch_to_batch_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    model = Numbered()
    wrapper = Wrapper(torch.optim.SGD(model.parameters(), lr=0.01, fused=True))
    capture_steps(model, wrapper, GraphOptions(stand_in=True), torch.device("cpu"), LOG)
    for index in range(300):
        model.train_step({"x": torch.ones(2), "index": [index]}, optim_wrapper=wrapper)
    assert caplog.text.count("do they hold numbers") == 1


@pytest.mark.parametrize(
    "change", [{"doubled": True}, {"kind": "other"}, {"times": 2}, {"share": 0.5}, {"scale": torch.tensor(3.0)}]
)
def test_a_setting_that_a_hook_changes_is_no_longer_the_captured_one(change: dict[str, Any]) -> None:
    def between(index: int, model: nn.Module, wrapper: Wrapper) -> None:
        if index == 6:
            vars(next(one for one in model.modules() if isinstance(one, Switched))).update(change)

    step = assert_same(pair(model=Switched), batches(14), between)
    assert step.captured == 1


def test_a_state_that_is_loaded_in_the_middle() -> None:
    kept: dict[int, Any] = {}

    def between(index: int, model: LogitsModel, wrapper: Wrapper) -> None:
        if index == 5:
            kept[id(model)] = copy.deepcopy((model.state_dict(), wrapper.optimizer.state_dict()))
        if index == 7:
            model.load_state_dict(kept[id(model)][0])
            wrapper.optimizer.load_state_dict(kept[id(model)][1])

    assert assert_same(pair(), batches(12), between).captured == 1


def test_outputs_stay_what_they_were() -> None:
    _, (model, wrapper) = pair(warm_up=1)
    outputs = [model.train_step(batch, optim_wrapper=wrapper)["loss"] for batch in batches(6)]
    again = [float(value) for value in outputs]
    assert len(set(again)) == 6
    assert len({value.data_ptr() for value in outputs}) == 6


def test_changing_for_ever_ends_in_ordinary_steps(caplog: pytest.LogCaptureFixture) -> None:
    def between(index: int, model: LogitsModel, wrapper: Wrapper) -> None:
        wrapper.optimizer.param_groups[0]["weight_decay"] = 0.01 * index

    assert assert_same(pair(), batches(14), between).captured == 0
    assert caplog.text.count("changes too often") == 1


def test_hooks_on_modules_are_run(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []
    both = pair(warm_up=1)
    both[1][0].model[0].register_forward_hook(lambda *args: seen.append(1))  # type: ignore[index]
    assert assert_same(both, batches(5)).captured == 0
    assert len(seen) == 5
    assert "a Conv2d has a hook" in caplog.text


def test_copies_of_the_model_have_its_own_step() -> None:
    _, (model, wrapper) = pair()
    other = copy.deepcopy(model)
    assert other.train_step.__self__ is other
    assert list(other.state_dict()) == list(model.state_dict())
    train(model, wrapper, batches(5))
    assert list(copy.deepcopy(model).state_dict()) == list(model.state_dict())


class Drawing(nn.Conv2d):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images) * (1 + random.random())


class Waiting(nn.Conv2d):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        out = super().forward(images)
        return out if bool(out.sum() > 0) else 2 * out


class Masking(nn.Conv2d):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        out = super().forward(images)
        return out + out[out > 0].sum()


class Replacing(nn.Conv2d):
    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        out = super().forward(images)
        self.seen = 0.9 * self.seen + out.detach().mean()
        return out + self.seen


class Numbering(nn.Conv2d):
    calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(images) / self.calls


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Drawing, "draws random numbers on the host"),
        (Waiting, "the host would wait for a value"),
        (Masking, "the host would wait for a value"),
        (Replacing, "the step changes seen in Python"),
        (Numbering, "the step changes calls in Python"),
    ],
)
def test_what_no_graph_can_do_is_an_error(kind: type[nn.Conv2d], says: str) -> None:
    _, (model, wrapper) = pair(model=lambda: kind(3, 3, 1))
    with pytest.raises(RuntimeError, match=says) as error:
        train(model, wrapper, batches(6))
    assert "compile=True compiles the model" in "".join(error.value.__notes__)


def test_a_batch_of_other_things_stays_an_ordinary_step(caplog: pytest.LogCaptureFixture) -> None:
    both = pair(warm_up=1)
    data = [{"image": images, "mask": masks, "more": object()} for images, masks in batches(4)]
    assert assert_same(both, data).captured == 0
    assert "a value of type object" in caplog.text


def run(make_runner: MakeRunner, model: nn.Module, **changed: Any) -> Runner:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, fused=True)
    runner = make_runner(model=model, optim_wrapper=optimizer, **changed)
    runner.train()
    return runner


def test_a_run_and_its_checkpoints_are_the_same(make_runner: MakeRunner, squares: Any) -> None:
    data = {"train_dataloader": DataLoader(squares(10), batch_size=4, shuffle=True)}  # the last batch is smaller
    length = {"train_cfg": {"max_iters": 24, "val_interval": 6}}
    models = [nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout(0.3), nn.Conv2d(4, 3, 1)) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    plain = run(make_runner, models[0], **data, **length)
    graphed = run(make_runner, models[1], **data, **length, compile=GRAPH, overwrite=True)
    assert graphed.model.train_step.captured == 2
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, graphed.model.state_dict()[name])
    histories = [runner.message_hub.log_scalars["train/loss"].data[0].tolist() for runner in (plain, graphed)]
    assert histories[0] == histories[1]


def test_a_resumed_run_ends_as_the_whole_one(make_runner: MakeRunner) -> None:
    def one() -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout(0.3), nn.Conv2d(4, 3, 1))

    whole = run(make_runner, one(), compile=GRAPH, train_cfg={"max_iters": 14})
    ended = {name: value.clone() for name, value in whole.model.state_dict().items()}
    cut = run(make_runner, one(), compile=GRAPH, train_cfg={"max_iters": 7}, overwrite=True)
    cut.save_checkpoint("cut.pth")
    resumed = run(make_runner, one(), compile=GRAPH, train_cfg={"max_iters": 14}, resume=str(cut.work_dir / "cut.pth"))
    assert all(torch.equal(value, ended[name]) for name, value in resumed.model.state_dict().items())


def test_a_run_that_cannot_be_captured_ends_before_its_first_step(make_runner: MakeRunner) -> None:
    runner = make_runner(compile={"mode": "graph"}, device="cpu")
    with pytest.raises(ValueError, match="cpu has no graphs"):
        runner.train()
    assert not runner.work_dir.exists()
