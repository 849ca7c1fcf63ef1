# A small vision transformer with a convolutional stem and the same decode head.
num_classes = 8
data_preprocessor = dict(
    type="SegDataPreProcessor",
    mean=[112.0, 108.0, 105.0],
    std=[55.0, 53.0, 54.0],
    bgr_to_rgb=True,
    pad_val=0,
    seg_pad_val=255,
    size=(160, 160),
)
model = dict(
    type="Segmentor",
    data_preprocessor=data_preprocessor,
    backbone=dict(type="TinyViT", img_size=160, patch_size=8, embed_dims=96, num_layers=4, num_heads=4),
    decode_head=dict(
        type="FuseHead",
        in_channels=[12, 24, 48, 96],
        in_index=[0, 1, 2, 3],
        channels=32,
        dropout_ratio=0.1,
        num_classes=num_classes,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
