"""Classes and boxes learned together, or boxes after the rest? Fast R-CNN's multi-task loss.

lecture  UBC CPSC 532L, lecture 5 and HKUST COMP 5214: R-CNN's stages, Fast R-CNN's multi-task loss
paper    Girshick, "Fast R-CNN", 2015, section 5.1 and table 6: the multi-task loss improves
         even the classification, and is better than training the box regressor afterwards
cost     full: 2 × 3 runs of 40,000 steps; twin: 2 × 3 runs of 300 steps; twice as long if staged
regime   2,000 images of 64×64 pixels, 300 steps of 16, from scratch: both are far from convergence
run      python launch.py --config experiments/sweeps/joint_vs_stagewise.py --sweep
twin     python launch.py --config experiments/sweeps/joint_vs_stagewise.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/joint_vs_stagewise.py:smoke

`stagewise` trains without the box loss, then the box regressor alone for as many steps more.
"""

from experiments import fast_rcnn_vgg16_voc07
from experiments.shared import rcnn
from vision_jax import data, models
from vision_jax.config import arguments, node
from vision_jax.report import Claim
from vision_jax.training import Stage


def get_config(arg=""):
    given = arguments(arg, stagewise=False, smoke=False, twin=False)
    config = fast_rcnn_vgg16_voc07.get_config("smoke" if given.smoke or given.twin else "")
    if given.twin:
        whole = rcnn.twin_network()
        parts = {name: whole[name] for name in ("backbone", "pyramid", "head")}
        rcnn.twin(config, node(models.FastRCNN, **parts), steps=300)
        for pipeline in (config.train, config.eval):
            jitter = node(data.JitteredTruth, count=32)
            pipeline.transforms = (*pipeline.transforms, jitter)
    if given.stagewise:
        config.stages = stages()
    return config


def stages():
    alone = ("head/bbox_pred/.*",)
    return (
        node(Stage, name="classes", changes=(("task.model.head.box_weight", 0.0),)),
        node(
            Stage,
            name="boxes",
            changes=(
                ("optimizer.trainable", alone),
                ("optimizer.groups", ()),
                ("init.weights", "stage:classes"),
                ("init.reinitialize", None),
            ),
        ),
    )


def _argument(kind, argument):
    twin = ["twin"] if "twin" in argument else []
    return ",".join((["stagewise"] if kind == "stagewise" else []) + twin)


def sweep(add, argument=""):
    for kind in ("joint", "stagewise"):
        for seed in range(3):
            add(f"{kind}-seed{seed}", argument=_argument(kind, argument), seed=seed)


def claims(argument=""):
    joint, stagewise = (_argument(kind, argument) for kind in ("joint", "stagewise"))
    return (
        Claim(
            "the multi-task loss reaches a higher AP50 than boxes learned afterwards",
            "eval/ap50",
            higher={"argument": joint},
            lower={"argument": stagewise},
            scale="VGG-16 on VOC 2007",
        ),
    )
