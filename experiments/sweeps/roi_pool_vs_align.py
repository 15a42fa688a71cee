"""RoIPool or RoIAlign? For boxes and for masks.

lecture  HKUST COMP 5214: RoI pooling, Mask R-CNN
paper    He et al., "Mask R-CNN", 2017, table 2c: RoIAlign's masks are better, most of all where
         much overlap is asked for
cost     full: 2 × 3 runs of 90,000 steps; twin: 2 × 3 runs of 400 steps
regime   2,000 images of 64×64 pixels, 400 steps of 16, from scratch; objects of 15 to 33 pixels on
         a map of stride 4
run      python launch.py --config experiments/sweeps/roi_pool_vs_align.py --sweep
twin     python launch.py --config experiments/sweeps/roi_pool_vs_align.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/roi_pool_vs_align.py:smoke

RoIPool rounds regions to whole cells: on the twin's map of stride 4 that is as coarse for shapes of
15 to 33 pixels as the full sweep's is for COCO's smaller objects.
"""

from experiments import mask_rcnn_r50_fpn_coco
from experiments.shared import rcnn
from vision_jax import models
from vision_jax.config import arguments, node
from vision_jax.report import Claim

BOX, MASK = "task.model.head.pool.kind", "task.model.mask.pool.kind"


def get_config(arg=""):
    given = arguments(arg, smoke=False, twin=False)
    config = mask_rcnn_r50_fpn_coco.get_config("smoke" if given.smoke else "")
    config.expect = None
    if given.twin:
        rcnn.twin(config, network(), 400, fields=mask_rcnn_r50_fpn_coco.FIELDS)
    return config


def network():
    """Makes the twins' network with masks of 14×14."""
    pool = node(models.RegionPool, size=7, levels=1)
    mask = node(models.MaskHead, pool=pool, widths=(32, 32))
    return rcnn.twin_network(mask=mask)


def sweep(add, argument=""):
    for kind in ("align", "max"):
        for seed in range(3):
            add(f"{kind}-seed{seed}", **{BOX: kind, MASK: kind, "seed": seed})


def claims(argument=""):
    scale = "ResNet-50-FPN on COCO, 90,000 steps"
    texts = {"eval/ap": "box AP", "eval/mask_ap": "mask AP", "eval/ap75": "box AP at IoU 0.75"}
    return tuple(
        Claim(
            f"RoIAlign reaches a higher {text} than RoIPool",
            metric,
            higher={BOX: "align"},
            lower={BOX: "max"},
            scale=scale,
            published="30.2 against 26.9, unchecked" if metric == "eval/mask_ap" else "",
        )
        for metric, text in texts.items()
    )
