"""R-FCN: how many parts must a region have?

lecture  Sharif, CNN applications: R-FCN
paper    Dai et al., "R-FCN", 2016, table 2: with k x k parts, k = 1 fails, 3 and 7 do not
cost     full: 3 × 3 runs of 110,000 steps; twin: 3 × 3 runs of 200 steps
regime   2,000 images of 64×64 pixels with one to three objects, 200 steps of 16, from scratch; a
         map of stride 4
run      python launch.py --config experiments/sweeps/position_sensitive_parts.py --sweep
twin     python launch.py --config experiments/sweeps/position_sensitive_parts.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/position_sensitive_parts.py:smoke

With one part, a region's score is the mean of one map over it. Whoever moves the region a little
changes that mean but little, so that nothing tells a good box from one beside it.
"""

from experiments import quickstart_rfcn, rfcn_r50_voc0712
from experiments.shared import rcnn
from vision_jax.config import arguments
from vision_jax.report import Claim

BINS = "task.model.score_maps.bins"
NUMBERS = (1, 3, 7)


def get_config(arg=""):
    given = arguments(arg, smoke=False, twin=False)
    config = rfcn_r50_voc0712.get_config("smoke" if given.smoke else "")
    config.expect = None
    if given.twin:
        rcnn.twin(config, quickstart_rfcn.model(), steps=200)
    return config


def sweep(add, argument=""):
    for bins in NUMBERS:
        for seed in range(3):
            add(f"k{bins}-seed{seed}", **{BINS: bins, "seed": seed})


def claims(argument=""):
    scale = "ResNet-101 on VOC 2007 + 2012, no hard examples"
    pairs = (
        ("ap50", 3, 1, "75.5 % with k = 3; k = 1 fails to converge"),
        ("ap50", 7, 3, "76.6 against 75.5 %"),
    )
    texts = {"ap50": "AP50", "ap75": "AP at IoU 0.75"}
    return tuple(
        Claim(
            f"{more} × {more} parts reach a higher {texts[metric]} than {fewer} × {fewer}",
            f"eval/{metric}",
            higher={BINS: more},
            lower={BINS: fewer},
            scale=scale,
            published=published,
        )
        for metric, more, fewer, published in (*pairs, ("ap75", 3, 1, ""))
    )
