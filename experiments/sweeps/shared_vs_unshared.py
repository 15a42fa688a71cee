"""Should proposals and detections come from the same features?

lecture  Tsinghua 80240743, topic 5: Faster R-CNN's results
paper    Ren et al., "Faster R-CNN", 2015, table 2: with a backbone for each stage AP50 on VOC 2007
         is lower than with a shared one, which also costs half
cost     full: 2 × 3 runs of 35,000 steps; twin: 2 × 3 runs of 300 steps
regime   2,000 images of 64×64 pixels, 300 steps of 16, from scratch: both are far from convergence
run      python launch.py --config experiments/sweeps/shared_vs_unshared.py --sweep
twin     python launch.py --config experiments/sweeps/shared_vs_unshared.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/shared_vs_unshared.py:smoke

Here both are trained together; the paper alternates (faster_rcnn_vgg16_alternating.py).
"""

from experiments import faster_rcnn_vgg16_voc07
from experiments.shared import rcnn
from vision_jax.config import arguments
from vision_jax.report import Claim

SHARED = "argument"


def get_config(arg=""):
    given = arguments(arg, unshared=False, smoke=False, twin=False)
    config = faster_rcnn_vgg16_voc07.get_config("smoke" if given.smoke else "")
    config.expect = None
    if given.twin:
        rcnn.twin(config, rcnn.twin_network(), steps=300)
    if given.unshared:
        config.task.model.rpn_backbone = config.task.model.backbone
        if not given.twin and not given.smoke:
            config.init.reinitialize = "(?!backbone/|rpn_backbone/|head/fc[67]/).*"
    return config


def _argument(kind, argument):
    twin = ["twin"] if "twin" in argument else []
    return ",".join((["unshared"] if kind == "unshared" else []) + twin)


def sweep(add, argument=""):
    for kind in ("shared", "unshared"):
        for seed in range(3):
            add(f"{kind}-seed{seed}", argument=_argument(kind, argument), seed=seed)


def claims(argument=""):
    return (
        Claim(
            "shared features reach a higher AP50 than a backbone for each stage",
            "eval/ap50",
            higher={SHARED: _argument("shared", argument)},
            lower={SHARED: _argument("unshared", argument)},
            scale="VGG-16 on VOC 2007",
            published="mAP 69.9 against 68.5",
        ),
    )
