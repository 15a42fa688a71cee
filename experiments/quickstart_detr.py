"""DETR on a laptop: a small one, on the embedded shapes.

data     one to three shapes on clutter, 64×64, made from a seed on first use
paper    Carion et al., "End-to-End Object Detection with Transformers", 2020
expect   AP50 of at least 0.6 on held-out images
cost     under 4 minutes on two CPU cores, data and compilation included
run      python launch.py --config experiments/quickstart_detr.py
smoke    python launch.py --config experiments/quickstart_detr.py:smoke

A set of ten queries, and no suppression: the report shows where each has learnt to look, and what
the attention of encoder and decoder reads.
"""

from experiments import quickstart_detection
from experiments.shared import detr, embedded
from vision_jax.config import arguments, node
from vision_jax.training import Expect


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    if given.smoke:
        return embedded.smoke_detection(quickstart_detection.demo(detr.network()))
    config = quickstart_detection.demo(detr.demo_network())
    config.optimizer = detr.rule()
    config.epochs, config.eval_every = 16.0, 0
    config.expect = node(Expect, metric="eval/ap50", value=0.6, source="this demo's own bar")
    return config
