"""Do classes compete for a mask's pixels? Softmax over classes against a sigmoid for each.

lecture  HKUST COMP 5214: Mask R-CNN
paper    He et al., "Mask R-CNN", 2017, table 2b: decoupling masks from classes is better
cost     full: 2 × 3 runs of 90,000 steps; twin: 2 × 3 runs of 400 steps
regime   2,000 images of 64×64 pixels, 400 steps of 16, from scratch: classes are still uncertain
run      python launch.py --config experiments/sweeps/mask_softmax_vs_sigmoid.py --sweep
twin     python launch.py --config experiments/sweeps/mask_softmax_vs_sigmoid.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/mask_softmax_vs_sigmoid.py:smoke

A pixel is in the mask where its class has a probability of one half or more, in both: while classes
are still uncertain, as after the twin's few steps, a softmax hardly ever gets there.
"""

from experiments import mask_rcnn_r50_fpn_coco
from experiments.shared import rcnn
from experiments.sweeps.roi_pool_vs_align import network
from vision_jax.config import arguments
from vision_jax.report import Claim

ACTIVATION = "task.model.mask.activation"


def get_config(arg=""):
    given = arguments(arg, smoke=False, twin=False)
    config = mask_rcnn_r50_fpn_coco.get_config("smoke" if given.smoke else "")
    config.expect = None
    if given.twin:
        rcnn.twin(config, network(), 400, fields=mask_rcnn_r50_fpn_coco.FIELDS)
    return config


def sweep(add, argument=""):
    for activation in ("sigmoid", "softmax"):
        for seed in range(3):
            add(f"{activation}-seed{seed}", **{ACTIVATION: activation, "seed": seed})


def claims(argument=""):
    return (
        Claim(
            "a sigmoid for each class reaches a higher mask AP than a softmax over classes",
            "eval/mask_ap",
            higher={ACTIVATION: "sigmoid"},
            lower={ACTIVATION: "softmax"},
            scale="ResNet-50-FPN on COCO, 90,000 steps",
            published="mask AP 30.3 against 24.8, unchecked",
        ),
    )
