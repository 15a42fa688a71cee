"""R-FCN: the hardest regions, or a random sample?

lecture  Sharif, CNN applications: R-FCN
paper    Dai et al., "R-FCN", 2016, table 3: online hard example mining costs R-FCN next to nothing,
         since a region does, and raises its AP; Shrivastava et al., 2016
cost     full: 2 × 3 runs of 110,000 steps; twin: 2 × 3 runs of 200 steps
regime   2,000 images of 64×64 pixels with one to three objects, 200 steps of 16, from scratch; 16
         of up to 52 regions an image. At an AP50 below 0.05 nearly every region is hard, and the
         hardest are those that look least like an object: mining wants a detector that has learnt
run      python launch.py --config experiments/sweeps/hard_examples.py --sweep
twin     python launch.py --config experiments/sweeps/hard_examples.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/hard_examples.py:smoke
"""

from experiments.sweeps import position_sensitive_parts
from vision_jax.report import Claim

HARD = "task.model.head.hard_examples"


def get_config(arg=""):
    return position_sensitive_parts.get_config(arg)


def sweep(add, argument=""):
    for hard in (True, False):
        for seed in range(3):
            add(f"{'hard' if hard else 'random'}-seed{seed}", **{HARD: hard, "seed": seed})


def claims(argument=""):
    return (
        Claim(
            "the hardest regions teach more than a random sample: a higher AP50",
            "eval/ap50",
            higher={HARD: True},
            lower={HARD: False},
            scale="ResNet-101 on VOC 2007 + 2012, 128 of 300 regions",
        ),
    )
