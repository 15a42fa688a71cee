"""Does non-maximum suppression help DETR? The first layer of the decoder, and not the last.

lecture  HKUST COMP 5214: DETR
paper    Carion et al., "End-to-End Object Detection with Transformers", 2020, figure 4: one layer
         cannot tell its queries' answers apart, and predicts duplicates; later ones see each other
cost     full: 4 × 3 runs of 300 epochs; twin: 4 × 3 runs of 3000 steps
regime   4,000 images of 64×64 pixels, 3,000 steps of 16, from scratch
run      python launch.py --config experiments/sweeps/detr_suppression.py --sweep
twin     python launch.py --config experiments/sweeps/detr_suppression.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/detr_suppression.py:smoke

Runs of one seed train alike, to the bit: they differ in what is detected alone, by the first layer
or by the last, with suppression at an IoU of 0.7 or without.
"""

from experiments import detr_r50_coco
from experiments.shared import detr
from vision_jax.config import arguments
from vision_jax.report import Claim

LAYER, NMS = "task.model.answering_layer", "task.model.nms_threshold"
IOU = 0.7


def get_config(arg=""):
    given = arguments(arg, smoke=False, twin=False)
    config = detr_r50_coco.get_config("smoke" if given.smoke else "epochs=300")
    config.expect = None
    return detr.twin(config, steps=3000) if given.twin else config


def sweep(add, argument=""):
    for seed in range(3):
        for layer in (0, -1):
            for threshold in (None, IOU):
                name = f"layer{layer}-{'nms' if threshold else 'plain'}-seed{seed}"
                add(name, **{LAYER: layer, NMS: threshold, "seed": seed})


def claims(argument=""):
    scale = "ResNet-50 on COCO, 300 epochs"
    metric = "eval/ap50" if "twin" in argument else "eval/ap"
    helps = Claim(
        "suppression helps the first layer",
        metric,
        higher={LAYER: 0, NMS: IOU},
        lower={LAYER: 0, NMS: None},
        scale=scale,
        paired=True,
    )
    later = Claim(
        "without suppression the last layer is better than the first",
        metric,
        higher={LAYER: -1, NMS: None},
        lower={LAYER: 0, NMS: None},
        scale=scale,
        paired=True,
    )
    none = Claim(
        "suppression does not help the last layer: there are no duplicates",
        metric,
        higher={LAYER: -1, NMS: None},
        lower={LAYER: -1, NMS: IOU},
        scale=scale,
        within=0.005,
    )
    return (helps, later, none)
