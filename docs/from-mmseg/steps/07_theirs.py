"""Read the checkpoint with MMSegmentation's own tools."""

from seg_engine.mmseg import prepare

prepare()  # MMSegmentation imports without compiled operators

from mmseg.apis import inference_model, init_model  # noqa: E402

model = init_model("work_dirs/street/street.py", "street_mmengine.pth", device="cpu")
found = inference_model(model, "data/cityscapes/leftImg8bit/val/town/town_000000_leftImg8bit.png")
print(found.pred_sem_seg.data.shape)
