"""ResNet-50 on ImageNet, today's recipe: torchvision's second weights as far as our parts go.

paper    none; "How to Train State-Of-The-Art Models Using TorchVision's Latest Primitives", 2021,
         and its record, github.com/pytorch/vision/issues/3995
expect   no number: TrivialAugment and repeated augmentation are not here. With the former
         torchvision reaches 80.67 % top-1, with both 80.86 % (ResNet50_Weights.IMAGENET1K_V2)
cost     600 epochs of 1.28 M images at 176×176, 2.6 G multiply-adds forward each
run      python launch.py --config experiments/resnet50_modern.py --workdir runs/r50_modern
smoke    python launch.py --config experiments/resnet50_modern.py:smoke

Mixup and cut-mix are drawn per pair of neighbours, in torchvision one of them per batch. Its
average takes every 32nd step; here it is every step, over as long a time.
"""

from experiments import embedded, resnet50
from vision_jax import data, tasks
from vision_jax.config import arguments, node
from vision_jax.training import Ema, optimizer, schedule


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    config = resnet50.get_config("smoke" if given.smoke else "")
    # torchvision erases with 0 after normalisation, the mean colour; here it is one gray.
    erasing = node(tasks.augment.Erasing, probability=0.1, fill=114.0)
    config.task.augment = (node(tasks.augment.Flip), erasing)
    config.task.smoothing = 0.1
    config.task.mixup, config.task.cutmix = 0.2, 1.0
    config.train.transforms = (node(data.RandomResizedCrop, size=176),)
    config.train.batch_size = 1024
    config.eval.transforms = (node(data.Resize, size=232), node(data.CenterCrop, size=224))
    config.optimizer = node(
        optimizer.Optimizer,
        rule=node(optimizer.Sgd, momentum=0.9),
        schedule=node(
            schedule.WarmUp,
            then=node(schedule.Cosine, value=0.5),
            length=5,
            start=0.005,
            shift=True,
        ),
        decay=2e-5,
        skip_decay=(".*/norm/.*",),
    )
    config.epochs = 600.0
    config.ema = node(Ema, decay=0.99997)
    config.expect = None
    return embedded.smoke(config, size=64) if given.smoke else config
