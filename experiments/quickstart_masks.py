"""Minutes on a laptop: DeepMask and SharpMask on the embedded shapes' instance masks.

data     one to three shapes on clutter, 64×64, made from a seed on first use; all are objects
paper    Pinheiro et al., "Learning to Segment Object Candidates", 2015, and "Learning to Refine
         Object Segments", 2016
expect   a higher average recall of masks after the second stage than after the first, which had
         0.367 with ten proposals, and 0.595 of boxes (measured once; the second is not yet)
cost     800 steps of 64 windows of 64×64 pixels, then 600
run      python launch.py --config experiments/quickstart_masks.py
         python launch.py --config experiments/quickstart_masks.py:deepmask
smoke    python launch.py --config experiments/quickstart_masks.py:smoke

Two stages: `deepmask` learns to score windows and to draw a coarse mask; `sharpmask` starts from
its weights, keeps them as they are, and learns to sharpen masks with the backbone's finer maps.
Both are evaluated by the average recall of 10 and 50 proposals per image, of boxes (`eval/ar10`)
and of masks (`eval/mask_ar10`).
"""

from experiments.shared import masks
from vision_jax import data, models, tasks
from vision_jax.config import arguments, node
from vision_jax.evaluation import COCO
from vision_jax.training import Experiment, optimizer, schedule


def get_config(arg=""):
    given = arguments(arg, deepmask=False, smoke=False)
    config = node(
        Experiment,
        task=node(tasks.Detection, model=network(), mean=(0.5,) * 3, std=(0.25,) * 3),
        train=node(
            data.Train,
            source=masks.any_class("shapes/det64", "train[:3000]"),
            transforms=(patches(), node(data.RandomFlip)),
            batch_size=64,
            max_boxes=1,
        ),
        eval=node(
            data.Eval,
            source=masks.any_class("shapes/det64", "validation[:200]"),
            batch_size=50,
            max_boxes=4,
        ),
        metrics={
            "coco": node(
                COCO, num_classes=1, iou_types=("bbox", "segm"), max_detections=(1, 10, 50)
            )
        },
        optimizer=node(
            optimizer.Optimizer,
            rule=node(optimizer.AdamW),
            schedule=node(
                schedule.WarmUp, then=node(schedule.Cosine, value=3e-3), length=0.1, unit="fraction"
            ),
            decay=0.05,
            decay_vectors=False,
            clip=10.0,
        ),
        steps=800,
        log_every=50,
        eval_every=800,
        best="eval/mask_ar10",
    )
    if given.smoke:
        return masks.smoke(config)
    if not given.deepmask:
        refinement = node(models.Refinement, width=16, hidden=16)
        config.stages = masks.stages(refinement, (("steps", 600), ("eval_every", 600)))
    return config


def network():
    """Makes a DeepMask whose windows are as far apart as a sixth of their side."""
    backbone = node(models.ResNet, stages=(1, 1), block="basic", width=16, border="reflect")
    return node(
        models.DeepMask,
        backbone=backbone,
        size=48,
        reduced=32,
        width=128,
        hidden=128,
        mask_size=16,
        output_size=48,
        dropout=0.0,
        scales=(0.84, 1.19, 1.68),
        pre_nms_top_k=100,
        nms_threshold=0.6,
        max_detections=50,
        cropped_size=28,
    )


def patches():
    """Makes the windows: the paper's numbers, as shares of a window of 48 pixels."""
    return node(data.MaskPatches, size=48, context=8, shift=5.0, far_shift=10.0, scales=(-1.0, 2.0))
