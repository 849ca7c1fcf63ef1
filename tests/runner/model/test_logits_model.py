"""LogitsModel: any module that returns logits, any batch, and names that stay the model's own."""

from __future__ import annotations

import copy
from collections import OrderedDict
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from seg_runner import Evaluator, IoUMetric, LogitsModel, PixelData, SegDataPreProcessor, SegDataSample
from torch import nn

CLASSES = 4


class Wrapper:
    """The three methods of an optimizer wrapper that a step needs."""

    def __init__(self, model: nn.Module) -> None:
        self.optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def optim_context(self, model: Any) -> AbstractContextManager[Any]:
        return nullcontext()

    def update_params(self, loss: torch.Tensor) -> None:
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


class Net(nn.Module):
    """Logits at half the size, returned in one of many ways."""

    def __init__(self, returns: Any = None, classes: int = CLASSES) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Conv2d(8, classes, 1, stride=2)
        self.returns = returns or (lambda logits: logits)

    def forward(self, x: torch.Tensor) -> Any:
        return self.returns(self.head(F.relu(self.norm(self.stem(x)))))


def images_and_masks() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(0, CLASSES, (2, 8, 12), generator=generator)
    masks[:, 0] = 255
    return torch.rand(2, 3, 8, 12, generator=generator), masks


def reference_batch() -> dict[str, Any]:
    images, masks = images_and_masks()
    samples = []
    for mask in masks:
        sample = SegDataSample(metainfo={"ori_shape": (8, 12), "img_path": "a.png"})
        sample.gt_sem_seg = PixelData(data=mask)
        samples.append(sample)
    return {"inputs": [(image * 255).to(torch.uint8) for image in images], "data_samples": samples}


def expected_loss(net: Net, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    logits = F.interpolate(copy.deepcopy(net).head(F.relu(net.norm(net.stem(batch[0])))), (8, 12), mode="bilinear")
    return F.cross_entropy(logits, batch[1], ignore_index=255)


def test_a_step_trains_and_returns_detached_losses() -> None:
    torch.manual_seed(0)
    net = Net()
    model, batch = LogitsModel(net, loss=nn.CrossEntropyLoss(ignore_index=255)), images_and_masks()
    wrapper, losses = Wrapper(model), []
    for _ in range(30):
        found = model.train_step(batch, wrapper)
        assert list(found) == ["loss"]
        assert not found["loss"].requires_grad
        losses.append(found["loss"].item())
    assert losses[-1] < 0.9 * losses[0]


def test_the_loss_is_that_of_resized_logits() -> None:
    torch.manual_seed(0)
    net, batch = Net().eval(), images_and_masks()
    for loss in (None, nn.CrossEntropyLoss(ignore_index=255)):
        assert torch.allclose(LogitsModel(net, loss).batch_losses(batch)["loss"], expected_loss(net, batch))


@pytest.mark.parametrize(
    "as_batch",
    [
        lambda x, y: (x, y),
        lambda x, y: [x, y, "more"],
        lambda x, y: (x, y[:, None]),
        lambda x, y: (x, y.to(torch.uint8)),
        lambda x, y: {"image": x, "mask": y},
        lambda x, y: {"pixel_values": x, "labels": y},
        lambda x, y: {"inputs": list(x), "masks": list(y)},
    ],
)
def test_batches_of_many_shapes(as_batch: Any) -> None:
    torch.manual_seed(0)
    model = LogitsModel(Net().eval())
    batch = images_and_masks()
    assert torch.equal(model.batch_losses(as_batch(*batch))["loss"], model.batch_losses(batch)["loss"])
    assert [sample.pred_sem_seg.shape for sample in model.val_step(as_batch(*batch))] == [(8, 12)] * 2


def test_batches_of_the_reference() -> None:
    torch.manual_seed(0)
    net = Net()
    prepare = SegDataPreProcessor(mean=[127.0] * 3, std=[60.0] * 3, size=(10, 12), test_cfg={"size_divisor": 4})
    model = LogitsModel(net, data_preprocessor=prepare)
    assert model.train_step(reference_batch(), Wrapper(model))["loss"] > 0
    model.eval()
    samples = model.test_step(reference_batch())
    assert samples[0].img_path == "a.png"
    assert samples[0].pred_sem_seg.shape == samples[0].gt_sem_seg.shape == (8, 12)
    assert samples[0].seg_logits.data.shape == (CLASSES, 8, 12)
    assert model.batch_losses(reference_batch())["loss"] > 0


def test_a_preprocessor_with_plain_batches() -> None:
    model = LogitsModel(Net(), data_preprocessor=SegDataPreProcessor(size_divisor=16))
    assert model.train_step(images_and_masks(), Wrapper(model))["loss"] > 0
    model.eval()
    assert model.val_step(images_and_masks())[0].pred_sem_seg.shape == (8, 12)


def test_reference_batches_without_a_preprocessor() -> None:
    model = LogitsModel(Net())
    assert model.train_step(reference_batch(), Wrapper(model))["loss"] > 0
    assert len(model.val_step({"inputs": torch.rand(2, 3, 8, 12)})) == 2


@pytest.mark.parametrize(
    "returns",
    [
        lambda x: {"logits": x},
        lambda x: OrderedDict(out=x),
        lambda x: SimpleNamespace(logits=x, loss=None),
        lambda x: (x,),
    ],
)
def test_models_that_return_something_round_the_logits(returns: Any) -> None:
    torch.manual_seed(0)
    net = Net().eval()
    expected = LogitsModel(net).batch_losses(images_and_masks())
    net.returns = returns
    model = LogitsModel(net)
    assert torch.equal(model.batch_losses(images_and_masks())["loss"], expected["loss"])
    assert len(model.val_step(images_and_masks())) == 2


@pytest.mark.parametrize(
    "returns",
    [
        lambda x: (x, x[..., ::2, ::2]),
        lambda x: {"out": x, "aux": x[..., ::2, ::2]},
        lambda x: {"logits": x, "aux": [x[..., ::2, ::2]]},
    ],
)
def test_auxiliary_losses(returns: Any) -> None:
    torch.manual_seed(0)
    model = LogitsModel(Net(returns).eval(), aux_weight=0.5)
    losses = model.batch_losses(images_and_masks())
    assert list(losses) == ["loss", "decode.loss", "aux.loss"]
    assert torch.allclose(losses["loss"], losses["decode.loss"] + losses["aux.loss"])
    full = LogitsModel(Net(returns).eval(), aux_weight=[1.0])
    full.load_state_dict(model.state_dict())
    assert torch.allclose(full.batch_losses(images_and_masks())["aux.loss"], 2 * losses["aux.loss"])


def test_several_auxiliary_outputs_are_numbered_and_weighted() -> None:
    model = LogitsModel(Net(lambda x: (x, x, x)), aux_weight=[0.5, 0.25])
    assert list(model.batch_losses(images_and_masks())) == ["loss", "decode.loss", "aux_0.loss", "aux_1.loss"]
    with pytest.raises(ValueError, match="3 numbers, but the model returns 2"):
        LogitsModel(Net(lambda x: (x, x, x)), aux_weight=[1, 2, 3]).batch_losses(images_and_masks())


def test_a_loss_that_returns_several_parts() -> None:
    def parts(logits: torch.Tensor, masks: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss_ce": logits.mean() + 1, "loss_dice": logits.new_ones(3) * 2, "acc": logits.new_tensor(50.0)}

    losses = LogitsModel(Net(), loss=parts).batch_losses(images_and_masks())
    assert list(losses) == ["loss", "decode.loss_ce", "decode.loss_dice", "decode.acc"]
    assert torch.allclose(losses["loss"], losses["decode.loss_ce"] + 2)


def test_one_channel_is_binary() -> None:
    torch.manual_seed(0)
    model = LogitsModel(Net(classes=1), threshold=0.6)
    images, masks = images_and_masks()
    masks = torch.where(masks == 255, masks, masks % 2)
    wrapper = Wrapper(model)
    first = model.train_step((images, masks), wrapper)["loss"]
    for _ in range(20):
        last = model.train_step((images, masks), wrapper)["loss"]
    assert last < first
    sample = model.val_step((images, masks))[0]
    assert torch.equal(sample.pred_sem_seg.data, (sample.seg_logits.data > 0.6).long())


def test_ignored_pixels_do_not_count_in_the_binary_loss() -> None:
    torch.manual_seed(0)
    model = LogitsModel(Net(classes=1).eval())
    images, masks = images_and_masks()
    masks[:] = 255
    masks[:, 4, 4] = 1
    logits = F.interpolate(model(images), (8, 12), mode="bilinear")[:, 0, 4, 4]
    expected = F.binary_cross_entropy_with_logits(logits, torch.ones(2))
    assert torch.allclose(model.batch_losses((images, masks))["loss"], expected)


def test_sliding_windows() -> None:
    torch.manual_seed(0)
    net = Net().eval()
    whole = LogitsModel(net).test_step(images_and_masks())
    model = LogitsModel(net, test_cfg={"mode": "slide", "crop_size": (8, 12), "stride": (4, 4)})
    assert torch.allclose(model.test_step(images_and_masks())[0].seg_logits.data, whole[0].seg_logits.data)
    model = LogitsModel(net, test_cfg={"mode": "slide", "crop_size": (4, 6), "stride": (2, 3)})
    assert model.test_step(images_and_masks())[0].pred_sem_seg.shape == (8, 12)


@pytest.mark.parametrize("mode", [{"mode": "whole"}, {"mode": "slide", "crop_size": (8, 12), "stride": (8, 12)}])
def test_corners_are_aligned_where_the_model_says_so(mode: dict[str, Any]) -> None:
    net = Net().eval()
    found = LogitsModel(net, align_corners=True, test_cfg=mode).test_step(images_and_masks())[0].seg_logits.data
    small = net(images_and_masks()[0])[:1].detach()
    assert small.shape[-2:] == (4, 6)
    expected, other = (F.interpolate(small, (8, 12), mode="bilinear", align_corners=one)[0] for one in (True, False))
    assert torch.allclose(found, expected, atol=1e-6)
    assert not torch.allclose(found, other, atol=1e-2)


def test_predictions_go_back_to_the_original_image() -> None:
    model = LogitsModel(Net().eval())
    batch = reference_batch()
    for sample in batch["data_samples"]:
        sample.set_metainfo({"ori_shape": (16, 24), "flip": True, "flip_direction": "horizontal"})
    plain = model.test_step(reference_batch())[0].seg_logits.data
    flipped = model.test_step(batch)[0].seg_logits.data
    assert flipped.shape == (CLASSES, 16, 24)
    expected = F.interpolate(plain.flip(2)[None], (16, 24), mode="bilinear")[0]
    assert torch.allclose(flipped, expected, atol=1e-5)


def test_what_comes_out_fits_the_metric() -> None:
    model = LogitsModel(Net().eval())
    evaluator = Evaluator(IoUMetric(num_classes=CLASSES))
    evaluator.process(data_samples=model.val_step(images_and_masks()), data_batch=None)
    assert 0 <= evaluator.evaluate(2)["mIoU"] <= 100


def test_no_gradients_in_evaluation() -> None:
    assert not LogitsModel(Net()).val_step(images_and_masks())[0].seg_logits.data.requires_grad


# -- names -----------------------------------------------------------------------------------------------------------


def test_names_are_the_models_own() -> None:
    net = Net()
    model = LogitsModel(net, loss=nn.CrossEntropyLoss(weight=torch.ones(CLASSES)))
    assert list(model.state_dict()) == list(net.state_dict())
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in net.named_parameters()]
    assert [name for name, _ in model.named_buffers() if "criterion" not in name] == [n for n, _ in net.named_buffers()]
    names = dict(model.named_modules())
    assert {"stem", "norm", "head"} <= names.keys()
    assert names["stem"] is net.stem


def test_checkpoints_go_both_ways() -> None:
    net, other = Net(), Net()
    LogitsModel(other).load_state_dict(net.state_dict())
    assert torch.equal(other.stem.weight, net.stem.weight)
    Net().load_state_dict(LogitsModel(net).state_dict())
    with pytest.raises(RuntimeError, match="nonsense"):
        LogitsModel(net).load_state_dict(dict(net.state_dict()) | {"nonsense": torch.zeros(1)})
    found = LogitsModel(net).load_state_dict({}, strict=False)
    assert set(found.missing_keys) == set(net.state_dict()) - {"norm.num_batches_tracked"}


def test_a_loss_that_learns_is_saved() -> None:
    class Learned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
            return (logits.mean() * self.scale) ** 2

    model = LogitsModel(Net(), loss=Learned())
    assert "criterion.scale" in model.state_dict()
    state = {name: value + 1 for name, value in model.state_dict().items()}
    model.load_state_dict(state)
    assert model.criterion.scale.item() == 2


def test_names_hold_inside_another_module() -> None:
    outer = nn.Sequential(LogitsModel(Net()))
    assert "0.stem.weight" in outer.state_dict()
    assert "0.stem.weight" in dict(outer.named_parameters())
    state = {name: torch.zeros_like(value) for name, value in outer.state_dict().items()}
    outer.load_state_dict(state)
    assert outer[0].stem.weight.abs().sum() == 0


def test_copies_and_modes() -> None:
    model = LogitsModel(Net())
    twin = copy.deepcopy(model)
    assert twin.state_dict().keys() == model.state_dict().keys()
    assert twin.model is not model.model
    model.eval()
    assert not model.model.norm.training
    assert twin.model.norm.training
    assert twin.device == torch.device("cpu")
    assert twin.compile_target is twin.model


def test_the_model_shows_through() -> None:
    net = Net()
    model = LogitsModel(net)
    assert model.stem is net.stem
    with pytest.raises(AttributeError, match="bogus"):
        model.bogus
    assert model(torch.rand(1, 3, 4, 4)).shape == (1, CLASSES, 2, 2)


# -- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        ({"picture": 1}, "keys .*picture.* no images"),
        (5, "type int"),
        (torch.rand(1, 3, 4, 4), "no masks"),
        ({"image": torch.rand(1, 3, 4, 4)}, "no masks"),
    ],
)
def test_mistakes_in_batches(batch: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        LogitsModel(Net()).batch_losses(batch)


@pytest.mark.parametrize(
    ("returns", "says"), [(lambda x: {"boxes": x}, "boxes"), (lambda x: "text", "str"), (lambda x: [1, x], "list")]
)
def test_mistakes_in_models(returns: Any, says: str) -> None:
    with pytest.raises(TypeError, match=f"the model returned .*{says}.*logits are expected"):
        LogitsModel(Net(returns)).batch_losses(images_and_masks())


def test_mistakes_in_losses() -> None:
    with pytest.raises(TypeError, match="the loss returned int"):
        LogitsModel(Net(), loss=lambda logits, masks: 1).batch_losses(images_and_masks())
    with pytest.raises(ValueError, match="contains 'loss'"):
        LogitsModel(Net(), loss=lambda logits, masks: {"acc": logits.mean()}).batch_losses(images_and_masks())
    with pytest.raises(TypeError, match=r"nn\.Module"):
        LogitsModel(lambda x: x)  # type: ignore[arg-type]


def test_labels_beyond_the_classes_are_told_with_both_numbers() -> None:
    net = LogitsModel(nn.Conv2d(3, 2, 1)).train()
    with pytest.raises(IndexError) as caught:
        net.batch_losses((torch.zeros(1, 3, 2, 2), torch.tensor([[[1, 5], [255, 3]]])))
    assert caught.value.__notes__ == ["labels that count: 1 to 5; the model gives 2 classes, from 0 on"]


class HelpedInTraining(nn.Module):
    """Gives auxiliary logits in training only, as most models do."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.helper = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)

    def forward(self, images: torch.Tensor) -> Any:
        return (self.main(images), self.helper(images)) if self.training else self.main(images)


def test_the_loss_on_validation_data_needs_no_auxiliary_outputs() -> None:
    net = LogitsModel(HelpedInTraining(), aux_weight=[0.4])
    batch = torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)
    assert list(net.train().batch_losses(batch)) == ["loss", "decode.loss", "aux.loss"]
    assert list(net.eval().batch_losses(batch)) == ["loss"]
    with pytest.raises(ValueError, match="aux_weight has 2 numbers"):
        LogitsModel(HelpedInTraining(), aux_weight=[0.4, 0.4]).train().batch_losses(batch)


# -- one loss for each output, and batches in which no pixel counts ---------------------------------------------------


def test_each_output_may_have_its_own_loss() -> None:
    class Own(nn.Module):
        align_corners = True

        def forward(self, logits: torch.Tensor, masks: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"loss_own": logits.square().mean()}

    torch.manual_seed(0)
    images, masks = images_and_masks()
    net = Net(lambda x: (x, 2 * x)).eval()
    plain = nn.CrossEntropyLoss(ignore_index=255)
    model = LogitsModel(net, loss=[plain, Own()], aux_weight=1.0).train(False)
    losses = model.batch_losses((images, masks))
    assert list(losses) == ["loss", "decode.loss", "aux.loss_own"]
    main = net(images)[0]
    corners = F.interpolate(2 * main, (8, 12), mode="bilinear", align_corners=True)
    assert torch.allclose(losses["aux.loss_own"], corners.square().mean())
    assert torch.allclose(losses["decode.loss"], plain(F.interpolate(main, (8, 12), mode="bilinear"), masks))
    assert list(model.state_dict()) == list(net.state_dict())
    with pytest.raises(ValueError, match="loss is a list of 1, but the model returns 2 outputs"):
        LogitsModel(net, loss=[plain]).batch_losses((images, masks))
    with pytest.raises(TypeError, match="empty list"):
        LogitsModel(net, loss=[])
    with pytest.raises(TypeError, match="loss must be a function"):
        LogitsModel(net, loss=[plain, "x"])  # type: ignore[list-item]


NO_PIXEL = [
    (None, 4),
    (None, 1),
    (nn.CrossEntropyLoss(ignore_index=255), 4),
    (nn.CrossEntropyLoss(ignore_index=255, label_smoothing=0.1), 4),
    (nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0, 4.0]), ignore_index=255), 4),
    (nn.NLLLoss(ignore_index=255), 4),
]


@pytest.mark.parametrize(("loss", "classes"), NO_PIXEL)
def test_a_batch_in_which_no_pixel_counts_has_loss_0_and_gradients_0(loss: Any, classes: int) -> None:
    model, masks = LogitsModel(Net(classes=classes), loss=loss), torch.full((2, 8, 12), 255)
    value = model.batch_losses((torch.rand(2, 3, 8, 12), masks))["loss"]
    value.backward()
    assert value.item() == 0
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters())


def test_pixels_of_classes_with_weight_0_alone_are_no_pixels() -> None:
    loss = nn.CrossEntropyLoss(weight=torch.tensor([0.0, 1.0, 1.0, 1.0]), ignore_index=255)
    model, masks = LogitsModel(Net(), loss=loss), torch.zeros(2, 8, 12, dtype=torch.long)
    value = model.batch_losses((torch.rand(2, 3, 8, 12), masks))["loss"]
    value.backward()
    assert value.item() == 0
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters())


def test_a_loss_that_is_not_finite_stays_so_where_pixels_count() -> None:
    model = LogitsModel(Net(lambda x: x * torch.nan), loss=nn.CrossEntropyLoss(ignore_index=255))
    assert model.batch_losses(images_and_masks())["loss"].isnan()


def test_softmax_over_one_channel_is_an_error() -> None:
    model = LogitsModel(Net(classes=1), loss=nn.CrossEntropyLoss(ignore_index=255))
    with pytest.raises(ValueError, match="softmax over one channel is always 1"):
        model.batch_losses((torch.rand(2, 3, 8, 12), torch.zeros(2, 8, 12)))


@pytest.mark.parametrize("label", [2, -1, 17])
def test_one_channel_tells_two_labels_apart(label: int) -> None:
    images, masks = images_and_masks()
    masks = torch.where(masks == 255, 255, label)
    with pytest.raises(ValueError, match=rf"one channel, which tells label 1 from label 0.*{label}"):
        LogitsModel(Net(classes=1)).batch_losses((images, masks))


def other_weight(net: Any) -> None:
    net[0].weight = nn.Parameter(torch.ones(4, 3, 1, 1))


def other_layer(net: Any) -> None:
    net[0] = nn.Sequential(nn.Conv2d(3, 4, 1))


def weight_norm(net: Any) -> None:
    nn.utils.parametrizations.weight_norm(net[0])


def fewer_layers(net: Any) -> None:
    net[0], net[1] = nn.Identity(), nn.Conv2d(3, 2, 1)


@pytest.mark.parametrize("change", [lambda net: None, other_weight, other_layer, weight_norm, fewer_layers])
@pytest.mark.parametrize("whole", [True, False])
def test_where_the_model_is_follows_what_was_replaced(change: Any, whole: bool) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))
    model = LogitsModel(net)
    assert model.device.type == "cpu"
    change(net)
    (model if whole else net).to("meta")
    assert model.device.type == "meta"
    assert model._outputs(model._read(torch.zeros(1, 3, 4, 4), training=False)[0])[0].device.type == "meta"
    net.to_empty(device="cpu").double()
    assert model._read(torch.zeros(1, 3, 4, 4, dtype=torch.float64), training=False)[0].dtype is torch.float64
    assert copy.deepcopy(model).to("meta").device.type == "meta"
    assert model.device.type == "cpu"


def test_a_model_may_get_its_first_parameter_late() -> None:
    net = nn.Sequential(nn.Identity())
    model = LogitsModel(net)
    assert model.device.type == "cpu"
    net.append(nn.Conv2d(3, 2, 1, device="meta"))
    assert model.device.type == "meta"
