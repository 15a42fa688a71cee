"""ResNets (and plain nets) of depth 6n+2 on CIFAR-100: `resnet_cifar10.py` with 100 classes.

expect   no number: the paper has none for this set
cost     64,000 steps of 128 images; 0.041 G multiply-adds forward per image for depth 20
run      python launch.py --config experiments/resnet_cifar100.py:depth=56
smoke    python launch.py --config experiments/resnet_cifar100.py:smoke
"""

from experiments import resnet_cifar10
from vision_jax.config import arguments

MEAN, STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)  # of the training pixels


def get_config(arg=""):
    given = arguments(arg, depth=20, plain=False, smoke=False)
    config = resnet_cifar10.get_config(arg)
    config.task.mean, config.task.std = MEAN, STD
    config.task.model.head.num_classes = 100
    config.metrics.confusion.num_classes = 100
    config.expect = None
    if not given.smoke:
        config.train.source.name = config.eval.source.name = "cifar100"
    return config
