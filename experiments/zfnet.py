"""ZFNet on ImageNet: AlexNet with 7×7 filters at stride 2 first, in one tower.

paper    Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", 2013, section 3
expect   no number is cited
cost     70 epochs of 1.28 M images, 1.2 G multiply-adds forward each
run      python launch.py --config experiments/zfnet.py --workdir runs/zfnet
smoke    python launch.py --config experiments/zfnet.py:smoke

`wide` as argument has 512, 1024 and 512 channels in the last three convolutions. Colour offsets and
weight decay are AlexNet's, about which the paper is silent; its renormalisation of filters to a
root mean square of 0.1 is not here.
"""

from experiments import alexnet, resnet50
from experiments.shared import embedded
from vision_jax import models
from vision_jax.config import arguments, node


def get_config(arg=""):
    given = arguments(arg, wide=False, smoke=False)
    config = resnet50.get_config()
    alexnet.published(config, node(models.ZFNet, wide=given.wide), size=224)
    config.epochs = 70.0
    if given.smoke:
        config.task.model.hidden = (32, 32)
        embedded.smoke(config, size=64)
    return config
