"""R-CNN, SPP-net, Fast R-CNN, Faster R-CNN, R-FCN: seconds per image, AP, training.

lecture  UBC CPSC 532L, lecture 5, HKUST COMP 5214 and Tsinghua 80240743, topic 5: R-CNN against
         Fast and Faster R-CNN
papers   Girshick et al., 2014; He et al., "SPP-net", 2014; Girshick, "Fast R-CNN", 2015, table 4;
         Ren et al., "Faster R-CNN", 2015, table 5; Dai et al., "R-FCN", 2016
cost     full: 5 trainings on VOC; twin: 5 × 3 runs of about a minute
regime   200 training and 100 test images of 64×64 pixels; 100 proposals by selective search for the
         first three; 300 steps of fine-tuning, and 1,800 of the last three, which train all layers
         at once; seconds are the processors' on one image with its regions
run      python launch.py --config experiments/sweeps/road_to_rfcn.py --sweep
twin     python launch.py --config experiments/sweeps/road_to_rfcn.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/road_to_rfcn.py:smoke
one      python launch.py --config experiments/sweeps/road_to_rfcn.py:kind=spp,twin

The twin's five have the same three convolutions, pre-trained as a classifier of single shapes, and
the same images, which are few: for R-FCN above all (quickstart_rfcn.py has all of them).
`eval/seconds` is the least of ten passes on this machine and `eval/cpu_seconds` what all stages of
the training took (proposals and evaluation too): in this sweep metrics are not repeatable by bits.
`eval/ap50` is. Selective search takes its time beside `eval/seconds`, as in the lectures' table.
The smoke of Faster R-CNN is trained, for four steps.
"""

from experiments import (
    fast_rcnn_vgg16_voc07,
    faster_rcnn_vgg16_voc07,
    rcnn_vgg16_voc07,
    rfcn_r50_voc0712,
    sppnet_zf5_voc07,
)
from experiments.shared.road_to_rfcn import KINDS, Cost, smoke, twin
from vision_jax.config import UserError, arguments, node, suggest
from vision_jax.report import Claim

FULL = {
    "rcnn": rcnn_vgg16_voc07,
    "spp": sppnet_zf5_voc07,
    "fast": fast_rcnn_vgg16_voc07,
    "faster": faster_rcnn_vgg16_voc07,
    "rfcn": rfcn_r50_voc0712,
}
# The lectures' seconds of one image with VGG-16, proposals of Fast R-CNN left out.
PUBLISHED = {"rcnn": 47, "fast": 0.32, "faster": 0.198}

LATER = {"spp": 63.1, "fast": 66.9, "faster": 69.9}  # mAP


def get_config(arg=""):
    given = arguments(arg, kind="faster", smoke=False, twin=False)
    if given.kind not in FULL:
        raise UserError(f"kind={given.kind!r}{suggest(given.kind, FULL)}")
    if given.smoke:
        config, size = smoke(), {"size": 64, "regions": 16, "passes": 1}
    elif given.twin:
        config, size = twin(given.kind), {"size": 64, "regions": 100}
    else:
        config, size = FULL[given.kind].get_config(), {"size": 608, "regions": 300}
    config.metrics.cost = node(Cost, model=config.task.model, **size)
    config.best, config.expect = "eval/ap50", None
    return config


def _argument(kind, argument):
    return f"kind={kind}" + (",twin" if "twin" in argument else "")


def sweep(add, argument=""):
    for seed in range(3 if "twin" in argument else 1):
        for kind in KINDS:
            add(f"{kind}-seed{seed}", argument=_argument(kind, argument), seed=seed)


def claims(argument=""):
    of = {kind: {"argument": _argument(kind, argument)} for kind in KINDS}
    longer = [
        Claim(
            f"{dear} takes longer than {cheap}",
            "eval/seconds",
            of[dear],
            of[cheap],
            published=_published(dear, cheap),
        )
        for dear, cheap in (("rcnn", "spp"), ("rcnn", "fast"), ("rcnn", "faster"))
    ]
    same = Claim(
        "spp finds as much as rcnn, within 0.05 of AP50",
        "eval/ap50",
        of["spp"],
        of["rcnn"],
        within=0.05,
        scale="VOC 2007, ZF-5 and AlexNet",
        published="59.2 against 58.5 % mAP (unchecked)",
    )
    better = [
        Claim(
            f"{later} finds more than {earlier}",
            "eval/ap50",
            of[later],
            of[earlier],
            scale="VOC 2007, VGG-16",
            published=f"{LATER[later]} against {LATER[earlier]} % mAP (unchecked)",
        )
        for later, earlier in (("fast", "spp"), ("faster", "fast"))
    ]
    return (*longer, same, *better)


def _published(dear, cheap):
    if cheap not in PUBLISHED:
        return "24 to 102 times (the abstract of SPP-net)"
    return f"{PUBLISHED[dear]} against {PUBLISHED[cheap]} seconds"
