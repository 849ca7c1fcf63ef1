"""MMSegmentation after `prepare()`: it imports, and models that need mmcv's operators are built and trained."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

for package in ("mmengine", "mmcv", "mmseg", "seg_registry", "seg_optim"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed here", allow_module_level=True)

from benchmarks._mmsegmentation import import_mmseg  # noqa: E402
from seg_engine.mmseg.operators import deformable_attention, sigmoid_focal_loss  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

WIDTHS = ("in_channels", "channels", "out_channels", "feat_channels", "embed_dims", "num_feats", "feedforward_channels")
SIZE = 64

FRESH = """
import json, sys
import mmcv
before = mmcv.__version__
from seg_engine.mmseg import prepare
lines = prepare()
import mmseg.models, mmseg.datasets, mmcv.ops, torch
try:
    mmcv.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
except NotImplementedError as error:
    said = str(error)
json.dump([lines, prepare(), before, mmcv.__version__, said, mmseg.__version__], sys.stderr)
"""


def test_a_fresh_process_imports_it_and_nothing_else_is_changed() -> None:
    """What a process says on standard error after all else is the report of the lines above."""
    command = [sys.executable, "-W", "ignore", "-c", FRESH]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines, again, before, after, said, version = json.loads(done.stderr[done.stderr.rindex("[[") :])
    assert lines[0].startswith("mmcv has no compiled operators")
    refused = [line for line in lines if line.startswith("mmseg was imported with mmcv")]
    assert bool(refused) is (version == "1.2.2" and before >= "2.2"), lines
    assert again == []
    assert after == before
    assert "'nms' is not among them" in said


def shrunk(value: Any, key: str = "") -> Any:
    """Return a model's config an eighth as wide, on the CPU, without weights from the network."""
    if isinstance(value, dict):
        table = {name: shrunk(inner, name) for name, inner in value.items() if name not in ("pretrained", "init_cfg")}
        if str(table.get("type")).startswith("ResNet"):
            table |= {"base_channels": 8}
        return table
    if isinstance(value, list | tuple):
        return [shrunk(inner, key) for inner in value]
    if key in WIDTHS and value % 8 == 0:
        return value // 8
    return {"SyncBN": "BN"}.get(value, value) if isinstance(value, str) else value


def psanet(model: dict[str, Any]) -> None:
    model["decode_head"]["mask_size"] = (15, 15)


def pointrend(model: dict[str, Any]) -> None:
    model["train_cfg"]["num_points"] = 32


def mask2former(model: dict[str, Any]) -> None:
    head = model["decode_head"]
    head["num_queries"], head["train_cfg"]["num_points"] = 5, 64
    head["pixel_decoder"]["encoder"]["num_layers"] = 1


def deformable(version: str) -> Callable[[dict[str, Any]], None]:
    def change(model: dict[str, Any]) -> None:
        dcn = {"type": version, "deform_groups": 2, "fallback_on_stride": False}
        model["backbone"] |= {"dcn": dcn, "stage_with_dcn": (False, False, True, True)}

    return change


def maskformer(model: dict[str, Any]) -> None:
    model["decode_head"]["num_queries"] = 5


FCN = "fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py"
MODELS = {
    "PSANet": ("psanet/psanet_r50-d8_4xb2-40k_cityscapes-512x1024.py", psanet, "attention"),
    "PointRend": ("point_rend/pointrend_r50_4xb2-80k_cityscapes-512x1024.py", pointrend, "fcs"),
    "Mask2Former": ("mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024.py", mask2former, "sampling_offsets"),
    "deformable ResNet": (FCN, deformable("DCN"), "conv2.conv_offset"),
    "modulated ResNet": (FCN, deformable("DCNv2"), "conv2.conv_offset"),
    "focal loss": ("maskformer/maskformer_r50-d32_8xb2-160k_ade20k-512x512.py", maskformer, "mask_embed"),
}


def batch() -> dict[str, Any]:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(2):
        sample = SegDataSample(metainfo={"img_shape": (SIZE, SIZE), "ori_shape": (SIZE, SIZE)})
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 19, (1, SIZE, SIZE), generator=generator))
        samples.append(sample)
    images = torch.randint(0, 255, (2, 3, SIZE, SIZE), generator=generator).byte()
    return {"inputs": list(images), "data_samples": samples}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_built_and_trained(name: str) -> None:
    from seg_optim import OptimWrapper
    from seg_registry import Config, builder

    root = import_mmseg()
    file, change, through = MODELS[name]
    if "mmdet" in (root / file).read_text() and importlib.util.find_spec("mmdet") is None:
        pytest.skip("its decoder is made of parts of mmdet, which is not installed here")
    cfg = Config.fromfile(root / file)
    table = shrunk(cfg.to_dict()["model"])
    table["data_preprocessor"]["size"] = (SIZE, SIZE)
    change(table)
    torch.manual_seed(0)
    model = builder(cfg, allow_imports=True).build("model", table)
    before = {key: value.clone() for key, value in model.named_parameters()}
    losses = model.train_step(batch(), OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1)))
    assert all(torch.as_tensor(value).isfinite().all() for value in losses.values())
    moved = [key for key, value in model.named_parameters() if not torch.equal(value, before[key])]
    assert [key for key in moved if through in key], f"nothing was learnt through {through}: {moved}"


def test_deformable_attention_is_that_of_mmcv() -> None:
    """mmcv has one in Python, for the CPU, and its compiled one has to equal it."""
    import_mmseg()
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction, multi_scale_deformable_attn_pytorch

    torch.manual_seed(0)
    shapes = torch.tensor([[16, 24], [8, 12], [4, 6]])
    starts = torch.tensor([0, 384, 480])
    value, above = torch.randn(2, 504, 8, 4).requires_grad_(), torch.randn(2, 30, 32)
    locations = (torch.rand(2, 30, 8, 3, 4, 2) * 1.2 - 0.1).requires_grad_()
    weights = torch.randn(2, 30, 8, 12).softmax(-1).reshape(2, 30, 8, 3, 4).requires_grad_()
    inputs = (value, locations, weights)
    found = MultiScaleDeformableAttnFunction.apply(value, shapes, starts, locations, weights, 64)
    reference = multi_scale_deformable_attn_pytorch(value, shapes, locations, weights)
    torch.testing.assert_close(found, reference, rtol=1e-5, atol=1e-5)
    assert torch.equal(found, deformable_attention(value, shapes, starts, locations, weights))
    for mine, other in zip(
        torch.autograd.grad(found, inputs, above), torch.autograd.grad(reference, inputs, above), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-4)


def test_focal_loss_is_that_of_mmseg() -> None:
    """MMSegmentation has one in Python, for the CPU; both lie behind one name, by the device."""
    import_mmseg()
    from mmcv.ops import sigmoid_focal_loss as compiled
    from mmseg.models.losses.focal_loss import py_sigmoid_focal_loss

    logits = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    target = torch.arange(40) % 6  # 5 is no class
    one_hot = torch.nn.functional.one_hot(target, 6)[:, :5].float()
    found = compiled(logits, target, 2.0, 0.25, None, "none")
    reference = py_sigmoid_focal_loss(logits, one_hot, gamma=2.0, alpha=0.25, reduction="none")
    torch.testing.assert_close(found, reference, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found, sigmoid_focal_loss(logits, target, 2.0, 0.25))
    slopes = [torch.autograd.grad(one.mean(), logits)[0] for one in (found, reference)]
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-5, atol=1e-5)
    mean = compiled(logits, target, 2.0, 0.25, None, "mean")
    assert mean.item() == pytest.approx(found.sum().item() / 40)
