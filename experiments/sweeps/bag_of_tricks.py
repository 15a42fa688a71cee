"""The bag of tricks, one after the other, over three networks.

lecture  HKUST COMP 5214: bag of tricks for image classification
paper    He et al., "Bag of Tricks for Image Classification with Convolutional Neural Networks",
         2018, table 6; the lecture's top-1 of efficient training, + cosine, + label smoothing,
         + mixup: ResNet-50-D 77.16, 77.91, 78.31, 79.15; Inception v3 77.50, 78.19, 78.40, 78.77;
         MobileNet 71.90, 72.83, 72.93, 73.28
cost     full: 3 × 4 × 3 runs of 120 to 200 epochs; twin: 4 × 12 and 4 × 6 seeds of 800 steps, six
         in one program, and 4 × 3 runs of Inception v3 of 300 steps
regime   600 shapes of 32×32 pixels, 800 steps of 64 images (85 epochs), which all nets learn by
         heart: what mixup is against. Little is left to learn when the rate falls, so that a
         cosine and steps end alike; smoothing lowers the loss of what was learnt by heart, not its
         errors. Inception v3: 2,000 shapes, 300 steps, short for both
run      python launch.py --config experiments/sweeps/bag_of_tricks.py --sweep
twin     python launch.py --config experiments/sweeps/bag_of_tricks.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/bag_of_tricks.py:smoke

Arguments: `net` (`resnet`, `inception`, `mobilenet`) and `tricks`, how many of cosine, smoothing
and mixup come on top of `resnet50_bag_of_tricks.py`'s efficient training. The twin has narrow nets
on few shapes, 32 pixels wide. Its Inception v3 sees them enlarged to 75 pixels, the least that it
takes, has no auxiliary head, which trains on 299 only, and like the others no dropout; at their
rate its many layers without shortcuts learn little in 300 steps, so it has twice that.
"""

from types import SimpleNamespace

from experiments import inception_v3, mobilenet_v1, resnet50_bag_of_tricks, resnet50_d
from experiments.shared import embedded
from vision_jax import data
from vision_jax.config import UserError, arguments, node
from vision_jax.report import Claim
from vision_jax.training import schedule

NETS = {"resnet": resnet50_d, "inception": inception_v3, "mobilenet": mobilenet_v1}
ADDED = ("cosine", "smoothing", "mixup")
SEEDS = 6  # of the twin, in one program; Inception v3, which takes minutes to compile, has 3 alone
RECIPES = {  # the twin's: images, steps, rate
    "resnet": (600, 800, 4e-3),
    "inception": (2000, 300, 8e-3),
    "mobilenet": (600, 800, 4e-3),
}
PUBLISHED = {  # the lecture's top-1 in percent, with so many tricks
    "resnet": (77.16, 77.91, 78.31, 79.15),
    "inception": (77.50, 78.19, 78.40, 78.77),
    "mobilenet": (71.90, 72.83, 72.93, 73.28),
}


def get_config(arg=""):
    given = arguments(arg, net="resnet", tricks=3, smoke=False, twin=False)
    if given.net not in NETS or not 0 <= given.tricks <= len(ADDED):
        raise UserError(f"net={given.net},tricks={given.tricks}: {', '.join(NETS)}; 0 to 3 tricks")
    config = NETS[given.net].get_config("smoke" if given.smoke else "")
    on = dict.fromkeys(resnet50_bag_of_tricks.TRICKS, True)
    on |= {trick: number < given.tricks for number, trick in enumerate(ADDED)}
    config.task.smoothing, config.ema = 0.0, None
    resnet50_bag_of_tricks.recipe(config, SimpleNamespace(**on))
    if given.twin:
        _twin(config, given)
    return embedded.smoke(config, size=64) if given.smoke else config


def _twin(config, given):
    smoothing = config.task.smoothing
    images, steps, rate = RECIPES[given.net]
    embedded.twin(config, steps=steps, images=images, rate=rate)
    config.task.smoothing = smoothing
    if given.tricks < 1:
        config.optimizer.schedule.then = node(
            schedule.Step, value=rate, boundaries=(1 / 3, 2 / 3), unit="fraction"
        )
    if given.net == "resnet":
        config.task.model.backbone.update(stages=(1, 1, 1), width=8, block="basic")
        config.task.model.head.num_classes = 8
    else:
        config.task.model.update(multiplier=0.25, num_classes=8)
    if given.net == "inception":
        config.task.model.update(aux=False, dropout=0.0)
        for pipeline in (config.train, config.eval):
            pipeline.transforms = (node(data.Resize, size=75),)


def _argument(net, tricks, argument):
    return f"net={net},tricks={tricks}" + (",twin" if "twin" in argument else "")


def sweep(add, argument=""):
    for net in NETS:
        for tricks in range(len(ADDED) + 1):
            own = _argument(net, tricks, argument)
            at_once = "twin" in argument and net != "inception"
            embedded.of_seeds(add, f"{net}-{tricks}", at_once, SEEDS, argument=own)
            if at_once and net == "resnet":  # a cosine's gain is small there
                add(f"{net}-{tricks}-more", argument=own, seed=SEEDS, seeds=SEEDS)


def claims(argument=""):
    return tuple(
        Claim(
            f"{net}: {trick} on top raises the accuracy",
            "eval/top1",
            higher={"argument": _argument(net, number + 1, argument)},
            lower={"argument": _argument(net, number, argument)},
            scale="ImageNet, 120 to 200 epochs",
            published=f"top-1 {PUBLISHED[net][number + 1]} against {PUBLISHED[net][number]} %",
        )
        for net in NETS
        for number, trick in enumerate(ADDED)
    )
