"""A mask in one go, or sharpened top-down? DeepMask against SharpMask on the same backbone.

lecture  Tsinghua 80240743, topic 5: DeepMask and SharpMask
paper    Pinheiro et al., "Learning to Refine Object Segments", 2016: refined masks are better
cost     full: 2 × 3 runs of 1,200,000 steps, twice as long if refined; twin: 2 × 3 runs of 800
         steps, and 500 more if refined
regime   64×64 shapes on clutter, 800 steps of 64 windows, and 500 more that refine
run      python launch.py --config experiments/sweeps/coarse_vs_refined_masks.py --sweep
twin     python launch.py --config experiments/sweeps/coarse_vs_refined_masks.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/coarse_vs_refined_masks.py:smoke

A refined network has the very backbone and scores of the other one of its seed, which its second
stage keeps as they are: only masks differ, and the boxes around them.
"""

from experiments import quickstart_masks, sharpmask_r50_coco
from vision_jax.config import arguments
from vision_jax.report import Claim

KINDS = ("coarse", "refined")


def get_config(arg=""):
    given = arguments(arg, refined=False, smoke=False, twin=False)
    if given.twin:
        config = quickstart_masks.get_config()
    else:
        config = sharpmask_r50_coco.get_config("smoke,stages" if given.smoke else "")
    config.expect = None
    if not given.refined:
        config.stages = ()
    return config


def _argument(kind, argument):
    twin = ["twin"] if "twin" in argument else []
    return ",".join((["refined"] if kind == "refined" else []) + twin)


def sweep(add, argument=""):
    for kind in KINDS:
        for seed in range(3):
            add(f"{kind}-seed{seed}", argument=_argument(kind, argument), seed=seed)


def claims(argument=""):
    coarse, refined = (_argument(kind, argument) for kind in KINDS)
    metric = "eval/mask_ar10" if "twin" in argument else "eval/mask_ar100"
    return (
        Claim(
            "masks that are refined top-down have a higher average recall than coarse ones",
            metric,
            higher={"argument": refined},
            lower={"argument": coarse},
            scale="ResNet-50 on COCO",
        ),
    )
