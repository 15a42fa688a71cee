"""What AlexNet's response normalisation and overlapping pooling give.

lecture  UBC CPSC 532L, lecture 5 and KTH DD2424, lecture 7: AlexNet's layers
paper    Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", 2012,
         sections 3.3 and 3.4: normalisation lowers the top-1 and top-5 errors by 1.4 and 1.2
         points, overlapping pooling by 0.4 and 0.3 (from memory, unchecked)
cost     full: 4 × 3 runs of 90 epochs; twin: 4 × 3 runs of 300 steps
regime   6,000 shapes of 32×32 pixels, 300 steps of 64 images, five narrow convolutions: their seeds
         differ by more than the paper's effect
run      python launch.py --config experiments/sweeps/lrn_and_pooling.py --sweep
twin     python launch.py --config experiments/sweeps/lrn_and_pooling.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/lrn_and_pooling.py:smoke

Arguments: `lrn` and `overlap`, True or False. The twin has AlexNet's five convolutions and three
poolings with fewer channels, smaller first filters and no strides, for 32×32 images; narrow layers
do not learn from weights as small as the paper's, so its begin ten times as large.
"""

from experiments import alexnet
from experiments.shared import embedded
from vision_jax import models
from vision_jax.config import arguments, node
from vision_jax.report import Claim


def get_config(arg=""):
    given = arguments(arg, lrn=True, overlap=True, smoke=False, twin=False)
    config = alexnet.get_config("smoke" if given.smoke else "")
    config.expect = None
    if not given.twin:
        config.task.model.update(lrn=given.lrn, overlap=given.overlap)
        return config
    embedded.twin(config, steps=300, rate=2e-3)
    config.task.model = node(
        models.Classifier,
        backbone=node(
            models.AlexNetBackbone,
            features=(16, 32, 32, 32, 32),
            kernels=(5, 3, 3, 3, 3),
            steps=(1, 1, 1, 1, 1),
            paddings=(2, 1, 1, 1, 1),
            std=0.1,
            lrn=(given.lrn, given.lrn, False, False, False),
            window=3 if given.overlap else 2,
        ),
        head=node(
            models.FcHead, num_classes=8, hidden=(64,), grid=0, dropout=0.0, bias=1.0, std=0.1
        ),
    )
    return config


def _argument(lrn, overlap, argument):
    return f"lrn={lrn},overlap={overlap}" + (",twin" if "twin" in argument else "")


def sweep(add, argument=""):
    for lrn in (True, False):
        for overlap in (True, False):
            for seed in range(3):
                name = f"{'lrn' if lrn else 'plain'}-{'overlap' if overlap else 'apart'}"
                own = _argument(lrn, overlap, argument)
                add(f"{name}-seed{seed}", argument=own, seed=seed)


def claims(argument=""):
    full = {"argument": _argument(True, True, argument)}
    return tuple(
        Claim(
            f"{text} raises the accuracy",
            "eval/top1",
            higher=full,
            lower={"argument": _argument(*without, argument)},
            scale="AlexNet, ImageNet, 90 epochs",
            published=f"top-1 error {points} points lower, unchecked",
        )
        for text, without, points in (
            ("local response normalisation", (False, True), 1.4),
            ("overlapping pooling", (True, False), 0.4),
        )
    )
