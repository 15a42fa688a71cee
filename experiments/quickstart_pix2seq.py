"""Pix2Seq on a laptop: a small one, on the embedded shapes.

data     one to three shapes on clutter, 64×64, and single shapes, 32×32, for the backbone; made
         from a seed on first use
paper    Chen et al., "Pix2seq: A Language Modeling Framework for Object Detection", 2021
expect   AP50 of at least 0.2 on held-out images (measured: 0.295); boxes are found early, classes
         late
cost     8 minutes on two CPU cores that were shared with much other work, data and compilation
         included
run      python launch.py --config experiments/quickstart_pix2seq.py
         python launch.py --config experiments/quickstart_pix2seq.py:epochs=32
smoke    python launch.py --config experiments/quickstart_pix2seq.py:smoke

Two stages, as in quickstart_detr.py: the backbone learns to classify shapes, then the detector
learns to write up to six objects, 64 bins to a side. The report has what was written beside the
boxes.
"""

from experiments import quickstart_detection, quickstart_detr
from experiments.shared import embedded, pix2seq
from vision_jax.config import arguments, node
from vision_jax.training import Expect


def get_config(arg=""):
    given = arguments(arg, epochs=12, smoke=False)
    if given.smoke:
        return embedded.smoke_detection(quickstart_detection.demo(pix2seq.network()))
    config = quickstart_detection.demo(pix2seq.demo_network())
    config.optimizer = pix2seq.rule()
    config.train.batch_size, config.epochs, config.eval_every = 16, float(given.epochs), 10_000
    config.log_every = 50
    expect = node(Expect, metric="eval/ap50", value=0.2, source=quickstart_detr.OWN)
    return quickstart_detr.two_stages(config, expect)
