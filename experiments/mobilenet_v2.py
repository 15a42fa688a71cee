"""MobileNetV2 on ImageNet, the recipe of torchvision's first weights.

paper    Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018
expect   71.88 % top-1 (torchvision, MobileNet_V2_Weights.IMAGENET1K_V1)
cost     300 epochs of 1.28 M images, 0.30 G multiply-adds forward each
run      python launch.py --config experiments/mobilenet_v2.py --workdir runs/mobilenet_v2
smoke    python launch.py --config experiments/mobilenet_v2.py:smoke

`width` as argument is the multiplier of every layer's channels.
"""

from experiments import resnet50
from experiments.shared import embedded
from vision_jax import models
from vision_jax.config import arguments, node
from vision_jax.training import Expect, schedule


def get_config(arg=""):
    given = arguments(arg, width=1.0, smoke=False)
    config = resnet50.get_config()
    config.task.model = node(models.MobileNetV2, multiplier=given.width)
    config.optimizer.schedule = node(schedule.Exponential, value=0.045, factor=0.98, every=1)
    config.optimizer.decay = 4e-5
    config.epochs = 300.0
    config.expect = None
    if given.width == 1:
        source = "torchvision MobileNet_V2_Weights.IMAGENET1K_V1"
        config.expect = node(Expect, metric="eval/top1", value=0.71878, source=source)
    if given.smoke:
        config.task.model.multiplier = 0.25
        embedded.smoke(config, size=32)
    return config
