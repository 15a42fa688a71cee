"""R-CNN, SPP-net, Fast R-CNN, Faster R-CNN: seconds per image.

lecture  UBC CPSC 532L, lecture 5, HKUST COMP 5214 and Tsinghua 80240743, topic 5: R-CNN against
         Fast and Faster R-CNN
papers   Girshick et al., 2014; He et al., "SPP-net", 2014; Girshick, "Fast R-CNN", 2015, table 4;
         Ren et al., "Faster R-CNN", 2015, table 5
cost     full: 4 × 3, twin: 4 × 3 runs that train one step, and are timed
regime   seconds of one image of 256×256 pixels with 64 regions, given but for Faster R-CNN's own;
         no accuracy
run      python launch.py --config experiments/sweeps/rcnn_speed.py --sweep
twin     python launch.py --config experiments/sweeps/rcnn_speed.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/rcnn_speed.py:smoke

All have VGG-16's thirteen convolutions. The smoke of Faster R-CNN is trained, for a step;
`eval/seconds` is of the kind named, per image, forward, the median of three passes on this machine:
in this sweep, metrics are not repeatable by bits. Proposals of the first three come for nothing
here (selective search takes two seconds), those of Faster R-CNN are its own. The twin's
images have 256×256 pixels, 64 regions and a backbone of 8 to 64 channels; the full ones 608×608,
300 regions warped to 224×224, and 64 to 512 channels.
"""

from experiments import faster_rcnn_vgg16_voc07
from experiments.shared.rcnn_cost import KINDS, Cost
from vision_jax.config import arguments, node
from vision_jax.report import Claim

KIND = "metrics.cost.kind"
# The lectures' seconds of one image with VGG-16, proposals of Fast R-CNN left out.
PUBLISHED = {"rcnn": 47, "fast": 0.32, "faster": 0.198}


def get_config(arg=""):
    given = arguments(arg, smoke=False, twin=False)
    config = faster_rcnn_vgg16_voc07.get_config("smoke")
    cost = node(Cost)
    if not given.smoke:
        cost.update(size=256, window=96, regions=64, width=8)
        if not given.twin:
            cost.update(size=608, window=224, regions=300, width=64)
        config.steps = config.eval_every = config.checkpoint_every = 1
    config.metrics = {"cost": cost}
    config.best = ""
    return config


def sweep(add, argument=""):
    for kind in KINDS:
        for seed in range(3):
            add(f"{kind}-seed{seed}", **{KIND: kind, "seed": seed})


def claims(argument=""):
    published = {
        kind: f"{PUBLISHED['rcnn']} against {PUBLISHED[kind]} seconds"
        for kind in ("fast", "faster")
    }
    published["spp"] = "24 to 102 times (the abstract of SPP-net)"
    return tuple(
        Claim(
            f"rcnn takes longer than {cheap}",
            "eval/seconds",
            {KIND: "rcnn"},
            {KIND: cheap},
            published=text,
        )
        for cheap, text in published.items()
    )
