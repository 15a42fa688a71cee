"""What does it cost to classify every pixel by its own window? Against one pass of an FCN.

lecture  UBC CPSC 532L, lecture 5, KTH DD2424, lecture 7 and Sharif, CNN applications: the sliding
         window
papers   the lectures begin with a window around each pixel (Farabet et al., 2013); Long et al.,
         2015, section 4.1, count how much faster one pass over the whole image is
cost     full: 3 × 3, twin: 4 × 3 runs that train one step of one image, and are timed
regime   seconds of one image of 64×64 pixels; no accuracy
run      python launch.py --config experiments/sweeps/sliding_vs_fcn.py --sweep
twin     python launch.py --config experiments/sweeps/sliding_vs_fcn.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/sliding_vs_fcn.py:smoke

All networks have one backbone. `patches1` classifies the 33×33 pixels around every pixel,
`patches8` those around every eighth pixel of every eighth row, which is as many answers as FCN-8s's
finest map has; `full` keeps eight layers at the image's resolution; `fcn` is FCN-8s. The FCN alone
is trained, for a step; `eval/multiply_adds` and `eval/seconds` are of the kind named, per image,
forward, and the seconds are the median of five passes on this machine: in this sweep, metrics are
not repeatable by bits. The twin's images have 64×64 pixels and its backbone 8 to 64 channels; the
full ones 224×224 and 64 to 512, without `patches1`, whose windows would fill 60 GB.
"""

from experiments import fcn8s_vgg16_voc
from experiments.shared.segmentation_cost import KINDS, Cost, network
from vision_jax import data
from vision_jax.config import arguments, node
from vision_jax.report import Claim

KIND = "metrics.cost.model.kind"


def get_config(arg=""):
    given = arguments(arg, smoke=False, twin=False)
    config = fcn8s_vgg16_voc.get_config("smoke")
    if given.smoke:
        config.metrics.cost = node(Cost, model=node(network, width=8))
        return config
    size, width = (64, 8) if given.twin else (224, 64)
    for pipeline in (config.train, config.eval):
        pipeline.transforms = (node(data.Pad, height=size, width=size),)
    config.metrics = {"cost": node(Cost, model=node(network, width=width), size=size)}
    config.steps = config.eval_every = config.checkpoint_every = 1
    config.best = ""
    return config


def sweep(add, argument=""):
    for kind in KINDS if "twin" in argument else KINDS[1:]:
        for seed in range(3):
            add(f"{kind}-seed{seed}", **{KIND: kind, "seed": seed})


def claims(argument=""):
    pairs = [("patches8", "fcn"), ("full", "fcn")]
    if "twin" in argument:
        pairs += [("patches1", "fcn"), ("patches1", "patches8")]
    return tuple(
        Claim(f"{dear} takes longer than {cheap}", "eval/seconds", {KIND: dear}, {KIND: cheap})
        for dear, cheap in pairs
    )
