"""Into how many bins does Pix2Seq have to divide an image's side?

lecture  HKUST COMP 5214: Pix2Seq
paper    Chen et al., "Pix2seq: A Language Modeling Framework for Object Detection", 2021, figure 6:
         500 bins, more than one for two pixels, are as good as 2,000 with images of 640 pixels
cost     full: 4 × 3 runs of 300 epochs; twin: 4 × 3 runs of 1,500 steps
regime   4,000 images of 64×64 pixels, all objects of one class, 1,500 steps of 16 from a
         backbone that has learnt to classify the shapes
needs    full: ResNet-50 of ImageNet and COCO; twin: a trained backbone of the demo,
         python launch.py --config experiments/quickstart_detr.py --workdir runs/quickstart_detr
run      python launch.py --config experiments/sweeps/pix2seq_bins.py --sweep
twin     python launch.py --config experiments/sweeps/pix2seq_bins.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/pix2seq_bins.py:smoke

Whatever the network learns, n bins bound the overlap: a corner is up to half a bin off. In the
twin 16 bins are enough for what 1,500 steps teach, and 64 are worse: to the loss neighbouring bins
are words that have nothing in common, and the more there are the longer they take to learn.
"""

import itertools

from experiments import pix2seq_r50_coco
from experiments.shared import pix2seq
from vision_jax.config import arguments
from vision_jax.report import Claim

BINS = "task.model.bins"
FULL, TWIN = (50, 100, 500, 2000), (6, 16, 64, 256)


def get_config(arg=""):
    given = arguments(arg, smoke=False, twin=False)
    config = pix2seq_r50_coco.get_config("smoke" if given.smoke else "")
    config.expect = None
    return pix2seq.twin(config, steps=1500) if given.twin else config


def sweep(add, argument=""):
    for seed in range(3):
        for bins in TWIN if "twin" in argument else FULL:
            add(f"{bins}-bins-seed{seed}", **{BINS: bins, "seed": seed})


def claims(argument=""):
    values = TWIN if "twin" in argument else FULL
    parts = {"metric": "eval/ap", "scale": "ResNet-50 on COCO, 300 epochs"}
    more = tuple(
        Claim(
            f"{many} bins are better than {few}",
            higher={BINS: many},
            lower={BINS: few},
            **parts,
        )
        for few, many in itertools.pairwise(values[:3])
    )
    enough = Claim(
        f"{values[3]} bins are as good as {values[2]}",
        higher={BINS: values[3]},
        lower={BINS: values[2]},
        within=0.02,
        **parts,
    )
    return (*more, enough)
