"""Minutes on a laptop: DeepMask and SharpMask on the embedded shapes' instance masks.

data     one to three shapes on clutter, 64×64, made from a seed on first use; all are objects
paper    Pinheiro et al., "Learning to Segment Object Candidates", 2015, and "Learning to Refine
         Object Segments", 2016
expect   a higher average recall of masks after the second stage than after the first: 0.495 against
         0.384 with ten proposals, 0.509 against 0.388 with 100 and with all; of boxes 0.515 against
         0.452, and 0.551 against 0.499; an AP50 of 0.486 of the Fast R-CNN that `detector` trains
         (measured once)
cost     800 steps of 64 windows of 64×64 pixels, then 500
run      python launch.py --config experiments/quickstart_masks.py
         python launch.py --config experiments/quickstart_masks.py:deepmask
         python launch.py --config experiments/quickstart_masks.py:detector
smoke    python launch.py --config experiments/quickstart_masks.py:smoke

Two stages: `deepmask` learns to score windows and to draw a coarse mask; `sharpmask` starts from
its weights, keeps them as they are, and learns to sharpen masks with the backbone's finer maps.
Both are evaluated by the average recall of 10, 100 and 1000 proposals per image, of boxes
(`eval/ar10`) and of masks (`eval/mask_ar10`). Of the pyramid's 410 windows the 200 best get a mask
and are suppressed, so that 1000 stands for all. Not in the paper: `beside`, windows without an
object that show parts of one, and a mask's threshold of 0.5.

`detector` hands the masks over: two stages more write the boxes around them for all images, and
`detector` trains Fast R-CNN on them, to tell the shapes' classes.
"""

from experiments import quickstart_detection
from experiments.shared import embedded, masks
from vision_jax import data, models, tasks
from vision_jax.config import arguments, node
from vision_jax.evaluation import COCO, VOC
from vision_jax.training import Experiment, Stage, optimizer, schedule

PROPOSALS = 30  # of an image, that Fast R-CNN looks at


def get_config(arg=""):
    given = arguments(arg, deepmask=False, detector=False, smoke=False)
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
            batch_size=40,
            max_boxes=4,
        ),
        metrics={
            "coco": node(
                COCO, num_classes=1, iou_types=("bbox", "segm"), max_detections=(10, 100, 1000)
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
    refinement = node(models.Refinement, width=48, hidden=24)
    shorter = (("steps", 500), ("eval_every", 500))
    if given.smoke:
        masks.smoke(config)
        refinement, shorter = node(models.Refinement, width=4, hidden=8), ()
    if given.deepmask or (given.smoke and not given.detector):
        return config
    config.stages = masks.stages(refinement, shorter)
    if given.detector:
        few = (("task.model.pre_nms_top_k", 2 * PROPOSALS),)
        config.stages += (*masks.writing(config, refinement, few), detecting(config))
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
        score_weight=0.25,
        dropout=0.0,
        scales=(0.84, 1.19, 1.68),
        pre_nms_top_k=200,
        nms_threshold=0.6,
        mask_threshold=0.5,
        max_detections=200,
        cropped_size=28,
    )


def patches():
    """Makes the windows: the paper's numbers, as shares of a window of 48 pixels."""
    near = {"shift": 4.0, "far_shift": 8.0, "far_octaves": 0.75, "beside": 0.6}
    fill = (128, 128, 128)  # the mean, which surrounds images in evaluation
    return node(data.MaskPatches, size=48, context=8, **near, scales=(-1.0, 2.0), fill=fill)


def detecting(config):
    """Makes a last stage: Fast R-CNN learns the shapes' classes in the boxes around the masks."""
    changes = [
        ("task.model", fast_rcnn()),
        ("metrics", {"voc": node(VOC, num_classes=embedded.CLASSES, inclusive=False)}),
        ("best", "eval/ap50"),
    ]
    for part, stage, kind in (("train", "train", data.Train), ("eval", "validation", data.Eval)):
        split = config[part].source.source.split
        source = node(data.TFDS, name="shapes/det64", split=split, fields=("objects",))
        file = f"stage:{stage}/proposals.npz"
        source = node(data.WithProposals, source=source, file=file, max_proposals=PROPOSALS)
        batches = {"batch_size": config.eval.batch_size, "max_boxes": 4}
        changes.append((part, node(kind, source=source, **batches)))
    return node(Stage, name="detector", changes=tuple(changes))


def fast_rcnn():
    return node(
        models.FastRCNN,
        backbone=node(models.ResNet, stages=(1, 1, 1), block="basic", width=16, stem="deep"),
        num_classes=embedded.CLASSES,
        pyramid=quickstart_detection.pyramid("none"),
        head=node(
            models.BoxHead,
            pool=node(models.RegionPool, levels=1),
            hidden=(64,),
            batch_size_per_image=32,
            max_detections=20,
        ),
    )
