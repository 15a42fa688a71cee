"""VGG-16 (configuration D) on ImageNet, the recipe of torchvision's weights.

paper    Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
         Recognition", 2014, table 1
expect   71.59 % top-1, with batch norm 73.36 % (torchvision, VGG16_Weights.IMAGENET1K_V1 and
         VGG16_BN_Weights.IMAGENET1K_V1)
cost     90 epochs of 1.28 M images, 15.5 G multiply-adds forward each
run      python launch.py --config experiments/vgg16.py --workdir runs/vgg16
         python launch.py --config experiments/vgg16.py:bn --workdir runs/vgg16_bn
smoke    python launch.py --config experiments/vgg16.py:smoke

`bn` as argument puts a batch norm after every convolution. Deep nets without it start here from He
et al.'s initialisation, where the paper copies layers of a trained configuration A.
"""

from experiments import resnet50
from experiments.shared import embedded
from vision_jax import models
from vision_jax.config import arguments, node
from vision_jax.training import Expect


def get_config(arg="", depth=16, column="D", top1=0.71592, top1_bn=0.73360):
    """The siblings of other depths pass theirs, with the numbers that they should reach."""
    given = arguments(arg, bn=False, smoke=False)
    config = resnet50.get_config()
    norm, name, value = ("sync", "_BN", top1_bn) if given.bn else ("none", "", top1)
    config.task.model = node(models.vgg, configuration=column)
    config.task.model.layers.norm = norm
    config.optimizer.schedule.value = 0.01
    source = f"torchvision VGG{depth}{name}_Weights.IMAGENET1K_V1"
    config.expect = node(Expect, metric="eval/top1", value=value, source=source)
    if given.smoke:
        config.task.model.update(configuration="A", width=8, hidden=(32, 32), grid=1)
        embedded.smoke(config, size=32)
    return config
