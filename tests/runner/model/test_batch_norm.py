"""Batch norms: SyncBatchNorm turned into plain ones; frozen ones joined with convolutions: values and names stay."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from seg_runner.model.batch_norm import join_frozen_norms, revert_sync_batch_norms
from torch import nn


class Block(nn.Module):
    """Two joined pairs, one convolution that is read twice, and one norm that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm_one = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.two, self.norm_two = nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4, affine=False)
        self.read_twice, self.norm_three = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.three, self.shared = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Every kind of neighbourhood."""
        images = self.norm_two(self.two(self.norm_one(self.one(images)).relu()))
        kept = self.read_twice(images)
        return self.shared(self.three(self.norm_three(kept) + kept)) + self.shared(images)


class Branching(nn.Module):
    """Looks at its input, so that it cannot be traced as a whole."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Block()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The block, for what is not empty."""
        return self.block(images) if images.sum() != 0 else images


@pytest.fixture
def nets() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    net = Branching()
    for _ in range(3):
        net(torch.randn(4, 3, 5, 5) + 1)
    return net, copy.deepcopy(net)


def test_only_sure_pairs_are_joined(nets: tuple[nn.Module, nn.Module]) -> None:
    assert join_frozen_norms(nets[0], "block") == ["block.one", "block.two"]
    assert join_frozen_norms(copy.deepcopy(nets[1]), ["*"]) == ["block.one", "block.two"]


def test_values_and_gradients_with_frozen_norms(nets: tuple[nn.Module, nn.Module]) -> None:
    plain, joined = nets
    join_frozen_norms(joined, "block")
    images = torch.randn(2, 3, 5, 5)
    for net in nets:
        net.eval()
        net(images).square().sum().backward()
    assert torch.allclose(plain(images), joined(images), atol=1e-5)
    for (name, one), two in zip(plain.named_parameters(), joined.parameters(), strict=True):
        assert one.grad is not None
        assert two.grad is not None
        assert torch.allclose(one.grad, two.grad, rtol=1e-3, atol=1e-3), name
    assert list(plain.state_dict()) == list(joined.state_dict())


def test_norms_that_train_are_computed_as_ever(nets: tuple[nn.Module, nn.Module]) -> None:
    join_frozen_norms(nets[1], "block")
    images = torch.randn(2, 3, 5, 5)
    assert torch.equal(nets[0](images), nets[1](images))
    assert all(torch.equal(one, two) for one, two in zip(nets[0].buffers(), nets[1].buffers(), strict=True))


def test_the_convolutions_own_output_is_not_kept(nets: tuple[nn.Module, nn.Module]) -> None:
    def kept(net: nn.Module) -> int:
        sizes: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            out = net(torch.randn(2, 3, 40, 40))
        assert out.requires_grad
        return sum(sizes.values())

    join_frozen_norms(nets[1], "block")
    assert kept(nets[1].eval()) < kept(nets[0].eval())


def test_the_config_key(make_runner: Any, capsys: pytest.CaptureFixture[str]) -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    runner = make_runner(model=nn.Sequential(net), efficient_conv_bn_eval=["0"])
    runner.train()
    assert "efficient_conv_bn_eval: 1 convolutions" in capsys.readouterr().out
    assert runner.val()["mIoU"] >= 0
    with pytest.raises(ValueError, match="efficient_conv_bn_eval: no module is called 'bone'"):
        make_runner(model=nn.Sequential(net), efficient_conv_bn_eval=["bone"], overwrite=True).train()


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.SyncBatchNorm(4), nn.Sequential(nn.ReLU(), nn.SyncBatchNorm(4)))


def test_sync_batch_norm_to_plain_keeps_weights_and_names() -> None:
    model = net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    parameters = list(model.parameters())
    plain, count = revert_sync_batch_norms(model)
    assert count == 2
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in plain.modules())
    assert plain(torch.randn(2, 3, 5, 5)).shape == (2, 4, 5, 5)
    assert list(plain.state_dict()) == list(before)
    assert all(one is two for one, two in zip(plain.parameters(), parameters, strict=True))


def test_a_lone_norm_is_converted_too() -> None:
    model, count = revert_sync_batch_norms(nn.SyncBatchNorm(3))
    assert count == 1
    assert model(torch.randn(4, 3)).shape == (4, 3)
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        model(torch.randn(4))
