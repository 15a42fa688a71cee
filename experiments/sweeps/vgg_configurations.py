"""VGG's columns: do more layers, 1×1 layers and response normalisation help?

lecture  UBC CPSC 532L, lecture 5 and KTH DD2424, lecture 7: VGG's table
paper    Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
         2014, tables 1 and 3: top-1 error at one scale 29.6 (A), 29.7 (A-LRN), 28.7 (B), 28.1 (C),
         27.0 (D) and 27.3 % (E) (from memory, unchecked)
cost     full: 6 × 3 runs of 90 epochs; twin: 6 × 3 runs of 300 steps
regime   6,000 shapes of 32×32 pixels, 300 steps of 64 images, an eighth of the channels: seeds
         differ by more than depth does
run      python launch.py --config experiments/sweeps/vgg_configurations.py --sweep
twin     python launch.py --config experiments/sweeps/vgg_configurations.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/vgg_configurations.py:smoke

The twin has an eighth of the channels and one hidden layer of 64, for 32×32 images; deep columns
start at random, where the paper copies layers of a trained A. Of response normalisation the paper
says that it improves nothing (section 4.1), and so does the claim.
"""

from experiments import vgg16
from experiments.shared import embedded
from vision_jax.config import arguments
from vision_jax.report import Claim

COLUMN = "task.model.configuration"
COLUMNS = ("A", "A-LRN", "B", "C", "D", "E")
PUBLISHED = dict(zip(COLUMNS, (29.6, 29.7, 28.7, 28.1, 27.0, 27.3), strict=True))


def get_config(arg=""):
    given = arguments(arg, smoke=False, twin=False)
    config = vgg16.get_config("smoke" if given.smoke else "")
    config.expect = None
    if given.twin:
        embedded.twin(config, steps=300, rate=1e-3)
        config.task.model.update(width=8, hidden=(64,), grid=1, dropout=0.0, num_classes=8)
    return config


def sweep(add, argument=""):
    for column in COLUMNS:
        for seed in range(3):
            add(f"{column}-seed{seed}", **{COLUMN: column, "seed": seed})


def claims(argument=""):
    pairs = (
        ("13 layers beat 11", "B", "A"),
        ("16 layers beat 13", "D", "B"),
        ("3×3 layers beat 1×1 layers in their place", "D", "C"),
        ("response normalisation does not help: 11 layers without it are better", "A", "A-LRN"),
    )
    return tuple(
        Claim(
            text,
            "eval/top1",
            higher={COLUMN: higher},
            lower={COLUMN: lower},
            scale="ImageNet, 90 epochs",
            published=f"error {PUBLISHED[higher]} against {PUBLISHED[lower]} %, unchecked",
        )
        for text, higher, lower in pairs
    )
