"""MobileNet v1 on ImageNet, trained with the bag of tricks.

paper    Howard et al., "MobileNets", 2017; the recipe of He et al., "Bag of Tricks for Image
         Classification with Convolutional Neural Networks", 2018
expect   73.28 % top-1 at width 1 with every trick (GluonCV's mobilenet1.0)
cost     200 epochs of 1.28 M images, 0.57 G multiply-adds forward each
run      python launch.py --config experiments/mobilenet_v1.py --workdir runs/mobilenet_v1
         python launch.py --config experiments/mobilenet_v1.py:width=0.5
smoke    python launch.py --config experiments/mobilenet_v1.py:smoke

Arguments: `width`, the multiplier of every layer's channels; and those of
`resnet50_bag_of_tricks.py`, of which zero_gamma has nothing to act on here.
"""

from experiments import resnet50
from experiments import resnet50_bag_of_tricks as parent
from experiments.shared import embedded
from vision_jax import models
from vision_jax.config import arguments, node
from vision_jax.training import Expect


def get_config(arg=""):
    given = arguments(arg, width=1.0, smoke=False, **dict.fromkeys(parent.TRICKS, True))
    config = resnet50.get_config()
    config.task.model = node(models.MobileNetV1, multiplier=given.width)
    parent.recipe(config, given)
    if given.width == 1 and all(getattr(given, trick) for trick in parent.TRICKS):
        config.expect = node(
            Expect, metric="eval/top1", value=0.7328, source="GluonCV mobilenet1.0"
        )
    if given.smoke:
        config.task.model.multiplier = 0.25
        embedded.smoke(config, size=32)
    return config
