"""Train, resume and predict from a config with `_base_` files: the demo's own, made small. Needs seg-engine."""

from __future__ import annotations

from pathlib import Path

from seg_registry import Config, builder
from seg_runner import Runner

from seg_engine import load_model
from seg_engine.demo.run import write_configs
from seg_engine.demo.scenes import write_scenes

SMALL = {
    "train_cfg": {"max_iters": 6, "val_interval": 6},
    "train_dataloader.batch_size": 2,
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "val_dataloader.num_workers": 0,
    "val_dataloader.persistent_workers": False,
    "param_scheduler.0.end": 2,
    "param_scheduler.1.begin": 2,
    "param_scheduler.1.end": 6,
    "custom_hooks.0.begin_iter": 2,
    "visualizer.vis_backends": [{"type": "LocalVisBackend"}],
    "work_dir": "street/run",
}


def main() -> None:
    scenes = write_scenes("street/street_scenes", training=8, validation=2)
    path = write_configs(Path("street/configs")) / "convnext_street.py"

    cfg = Config.fromfile(path)  # runs nothing; bases are read as data
    cfg.merge_from_dict(SMALL)
    print("the learning rate comes from", cfg.origin("optim_wrapper.optimizer.lr"))

    runner = Runner.from_cfg(cfg, build=builder(cfg))
    print(runner.points)  # which hook runs at which point, in which order
    runner.train()

    cfg.train_cfg.max_iters, cfg.resume = 8, True  # the same config, a little longer, goes on at 6
    Runner.from_cfg(cfg).train()

    prediction = load_model("street/run/iter_8.pth").predict(next((scenes / "images" / "validation").glob("*.png")))
    prediction.save("street/labels.png", "street/overlay.png")
    print("classes found:", sorted({prediction.classes[label] for label in prediction.labels.ravel()}))


if __name__ == "__main__":
    main()
