cat > fields.py <<'END'
# The data: folders, classes, and what happens to an image on its way to the model.
classes = ("soil", "crop", "weed")
palette = [(133, 94, 66), (60, 160, 60), (220, 50, 150)]
crop_size = (96, 96)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=(128, 128), ratio_range=(0.8, 1.5), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")]
fields = dict(
    type="BaseSegDataset",
    data_root="data",
    img_suffix=".jpg",
    metainfo=dict(classes=classes, palette=palette),
    pipeline=test_pipeline,
)
train = dict(fields, data_prefix=dict(img_path="images/train", seg_map_path="labels/train"), pipeline=train_pipeline)
val = dict(fields, data_prefix=dict(img_path="images/val", seg_map_path="labels/val"))
test = dict(fields, data_prefix=dict(img_path="images/test", seg_map_path="labels/test"))
train_dataloader = dict(batch_size=4, num_workers=1, sampler=dict(type="InfiniteSampler", shuffle=True), dataset=train)
val_dataloader = dict(batch_size=4, num_workers=1, sampler=dict(type="DefaultSampler", shuffle=False), dataset=val)
test_dataloader = dict(batch_size=4, num_workers=1, sampler=dict(type="DefaultSampler", shuffle=False), dataset=test)
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator

# The model: a small backbone, and a head that has one output per class.
model = dict(
    type="Segmentor",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[110.0, 95.0, 75.0],
        std=[45.0, 40.0, 40.0],
        bgr_to_rgb=True,
        size=crop_size,
        seg_pad_val=255,
    ),
    backbone=dict(type="TinyConvNeXt", depths=(1, 1, 3, 2), channels=(16, 32, 64, 128)),
    decode_head=dict(
        type="FuseHead",
        in_channels=[16, 32, 64, 128],
        in_index=[0, 1, 2, 3],
        channels=32,
        num_classes=len(classes),
        loss_decode=dict(type="CrossEntropyLoss"),
    ),
)

# The training: 120 steps; the learning rate rises for 20 of them, then falls.
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=0.003, weight_decay=0.05))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=20, by_epoch=False),
    dict(type="PolyLR", power=0.9, eta_min_ratio=0.01, begin=20, end=120, by_epoch=False),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=120, val_interval=40)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
randomness = dict(seed=0)

# What is written while it trains: a line every 20 steps, a checkpoint every 20, some validation pictures.
log_processor = dict(by_epoch=False)
default_hooks = dict(
    logger=dict(type="LoggerHook", interval=20, log_metric_by_epoch=False),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=20, max_keep_ckpts=2, save_best="mIoU"),
    visualization=dict(type="SegVisualizationHook", draw=True, samples=3),
)
visualizer = dict(type="SegLocalVisualizer", vis_backends=[dict(type="LocalVisBackend")])
END
