# Plain SGD, as the schedule has it.
_base_ = [
    "_base_/models/tiny_convnext.py",
    "_base_/datasets/street_scenes.py",
    "_base_/default_runtime.py",
    "_base_/schedules/schedule_1400.py",
]
seg = dict(channels_last=True)  # these convolutions take a third less time on a CPU with pixels in this order
