"""Inception v3 on ImageNet: RMSProp, label smoothing, an auxiliary head, averaged weights, 299×299.

paper    Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2015,
         sections 7 and 8
expect   77.29 % top-1 (torchvision, Inception_V3_Weights.IMAGENET1K_V1, converted from
         TensorFlow's)
cost     100 epochs of 1.28 M images, 5.7 G multiply-adds forward each
run      python launch.py --config experiments/inception_v3.py --workdir runs/inception_v3
smoke    python launch.py --config experiments/inception_v3.py:smoke

In the paper 50 replicas of batch 32 update asynchronously; here one does. The weight decay is that
of the released code. Pixels are scaled to -1..1, as torchvision's weights expect, too. The smoke
has no auxiliary head, which trains on 299 pixels only, and no batch norm.
"""

from experiments import resnet50
from experiments.shared import embedded
from vision_jax import data, models
from vision_jax.config import arguments, node
from vision_jax.training import Ema, Expect, optimizer, schedule


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    config = resnet50.get_config()
    config.task.model = node(models.InceptionV3)
    config.task.mean = config.task.std = (0.5, 0.5, 0.5)
    config.task.smoothing = 0.1
    config.task.aux_weight = 0.4
    config.train.transforms = (node(data.RandomResizedCrop, size=299),)
    config.train.batch_size = 32
    config.eval.transforms = (node(data.Resize, size=342), node(data.CenterCrop, size=299))
    config.optimizer = node(
        optimizer.Optimizer,
        rule=node(optimizer.RmsProp, smoothing=0.9, momentum=0.9, eps=1.0),
        schedule=node(schedule.Exponential, value=0.045, factor=0.94, every=2),
        decay=4e-5,
        clip=2.0,
    )
    config.epochs = 100.0
    config.ema = node(Ema)
    source = "torchvision Inception_V3_Weights.IMAGENET1K_V1"
    config.expect = node(Expect, metric="eval/top1", value=0.77294, source=source)
    if given.smoke:
        config.task.model.aux = False
        config.task.model.layers.norm = "none"  # half the time to compile
        embedded.smoke(config, size=75)
    return config
