"""Batch statistics per filter or per position of the map?

lecture  KTH DD2424, lecture 7: batch normalisation for convolutional layers
paper    Ioffe & Szegedy, "Batch Normalization", 2015, section 3.2: in convolutional nets all places
         of a map share their statistics, scale and bias
cost     full: 3 × 3 runs of 64,000 steps; twin: 3 × 3 runs of 300 steps
regime   6,000 shapes of 32×32 pixels, 300 steps of 64 images, a ResNet of 8 layers
run      python launch.py --config experiments/sweeps/bn_statistics.py --sweep
twin     python launch.py --config experiments/sweeps/bn_statistics.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/bn_statistics.py:smoke

`norm` is `sync` (per filter), `position` (each place of each map by itself: fewer values per
statistic, and h·w times the parameters) or `none`. Full: ResNet-20 on CIFAR-10; the twin is
narrower, on shapes.
"""

from experiments import resnet_cifar10
from experiments.shared import embedded
from vision_jax.config import arguments
from vision_jax.report import Claim

NORM = "task.model.backbone.layers.norm"


def get_config(arg=""):
    given = arguments(arg, smoke=False, twin=False)
    config = resnet_cifar10.get_config("smoke" if given.smoke else "")
    config.expect = None
    if given.twin:
        embedded.twin(config, steps=300)
        config.task.model.backbone.update(blocks=1, width=8)
        config.task.model.head.num_classes = 8
    return config


def sweep(add, argument=""):
    for norm in ("sync", "position", "none"):
        for seed in range(3):
            add(f"{norm}-seed{seed}", **{NORM: norm, "seed": seed})


def claims(argument=""):
    return tuple(
        Claim(
            f"statistics per filter give a higher accuracy than {text}",
            "eval/top1",
            higher={NORM: "sync"},
            lower={NORM: norm},
            scale="CIFAR-10, 64,000 steps",
        )
        for norm, text in (("position", "statistics per position"), ("none", "none"))
    )
