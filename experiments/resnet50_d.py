"""ResNet-50-D on ImageNet: `resnet50_bag_of_tricks.py` with the network of section 4.

paper    He et al., "Bag of Tricks for Image Classification with Convolutional Neural Networks",
         2018, section 4 and table 6
expect   79.15 % top-1, without mixup 78.48 % (GluonCV's resnet50_v1d)
cost     200 epochs (120 without mixup) of 1.28 M images, 4.3 G multiply-adds forward each
run      python launch.py --config experiments/resnet50_d.py --workdir runs/r50d
smoke    python launch.py --config experiments/resnet50_d.py:smoke

Three 3×3 convolutions first, strides in the 3×3 layers, and shortcuts that average before their
1×1. The arguments are those of the parent.
"""

from experiments import resnet50_bag_of_tricks as parent
from vision_jax.config import arguments, node
from vision_jax.training import Expect


def get_config(arg=""):
    given = arguments(arg, smoke=False, **dict.fromkeys(parent.TRICKS, True))
    config = parent.get_config(arg)
    config.task.model.backbone.stem, config.task.model.backbone.shortcut = "deep", "pool"
    others = [trick for trick in parent.TRICKS if trick != "mixup"]
    if not given.smoke and all(getattr(given, trick) for trick in others):
        value = 0.7915 if given.mixup else 0.7848
        config.expect = node(Expect, metric="eval/top1", value=value, source="GluonCV resnet50_v1d")
    return config
