"""Does non-maximum suppression help DETR? The first layer of the decoder, and not the last.

lecture  HKUST COMP 5214: DETR
paper    Carion et al., "End-to-End Object Detection with Transformers", 2020, figure 4: one layer
         cannot tell its queries' answers apart, and predicts duplicates; later ones see each other
cost     each run only evaluates
regime   the networks of `detr_layers.py`'s twin with one layer of the encoder, 400 images of 64×64
         pixels
needs    trained runs of `detr_layers.py`; twin: those of its twin, in
         experiments/sweeps/results/detr_layers-twin
run      python launch.py --config experiments/sweeps/detr_suppression.py --sweep
twin     python launch.py --config experiments/sweeps/detr_suppression.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/detr_suppression.py:smoke

A run takes a trained network, makes one step at a rate of 0, and is evaluated. Those of one seed
differ in what is detected alone: by the first layer or by the last, with suppression at an IoU of
0.7 or without.

In the twin it helps the last layer too, by 0.007 of AP50: after 2,500 steps (AP50 0.47) some
objects are answered twice. Of quickstart_detr.py's network, which has learnt for longer, it raises
the first layer's AP50 from 0.578 to 0.594 and the last one's from 0.609 to 0.617: less, but not
nothing.
"""

from experiments.sweeps import captioning_beams, detr_layers
from vision_jax.config import arguments
from vision_jax.report import Claim

LAYER, NMS = "task.model.answering_layer", "task.model.nms_threshold"
IOU = 0.7
FULL, TWIN = "runs/detr_layers", "experiments/sweeps/results/detr_layers-twin"


def get_config(arg=""):
    given = arguments(arg, smoke=False, twin=False)
    if given.smoke:
        return detr_layers.get_config("smoke")
    config = detr_layers.get_config("twin" if given.twin else "")
    return captioning_beams.only_evaluated(config)


def sweep(add, argument=""):
    folder = TWIN if "twin" in argument else FULL
    depth = detr_layers.usual(argument)
    for seed in range(3):
        weights = f"{folder}/{depth}-layers-seed{seed}"
        for layer in (0, -1):
            for threshold in (None, IOU):
                name = f"layer{layer}-{'nms' if threshold else 'plain'}-seed{seed}"
                changes = {LAYER: layer, NMS: threshold, "init.weights": weights, "seed": seed}
                add(name, **changes)


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
