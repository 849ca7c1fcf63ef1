# A small ConvNeXt-style pyramid with a light decode head.
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
    backbone=dict(type="TinyConvNeXt", depths=(1, 1, 3, 2), channels=(16, 32, 64, 128)),
    decode_head=dict(
        type="FuseHead",
        in_channels=[16, 32, 64, 128],
        in_index=[0, 1, 2, 3],
        channels=32,
        dropout_ratio=0.1,
        num_classes=num_classes,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type="TinyFCNHead",
        in_channels=64,
        in_index=2,
        channels=32,
        num_convs=1,
        dropout_ratio=0.1,
        num_classes=num_classes,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=0.4),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
