"""Two minutes on a laptop: a small Faster R-CNN on the embedded shapes.

data     one to three shapes on clutter, 64×64, made from a seed on first use
paper    Ren et al., "Faster R-CNN", 2015, on a pyramid of features (Lin et al. 2017)
expect   AP50 of at least 0.75 on held-out images (measured: 0.837, RetinaNet 0.809); with
         `shuffle`, which gives every training image the annotations of another one, it stays at
         chance (0.001)
cost     2 minutes on two CPU cores, data and compilation included
run      python launch.py --config experiments/quickstart_detection.py
         python launch.py --config experiments/quickstart_detection.py:shuffle
         python launch.py --config experiments/quickstart_detection.py:detector=retinanet

The report in the run folder shows detections beside annotations; `--mode inspect` draws the
network's inputs and the anchors that answer for each object. For SSD see quickstart_ssd.py, for
YOLO quickstart_yolo.py.
"""

from experiments.shared import embedded
from vision_jax import data, models, tasks
from vision_jax.config import UserError, arguments, node, suggest
from vision_jax.evaluation import VOC
from vision_jax.models.detectors.retinanet import octave_sizes
from vision_jax.training import Expect, Experiment, optimizer, schedule

# Per level of the pyramid; the shapes are 15 to 33 pixels wide.
ANCHOR_SIZES = ((16.0,), (24.0,), (32.0,))


def get_config(arg=""):
    given = arguments(arg, detector="faster_rcnn", shuffle=False, smoke=False)
    detectors = {"faster_rcnn": faster_rcnn, "retinanet": retinanet}
    if given.detector not in detectors:
        raise UserError(f"detector={given.detector!r}{suggest(given.detector, detectors)}")
    config = demo(detectors[given.detector]())
    if given.detector == "retinanet":
        config.train.batch_size = 16  # one stage sees few objects in a step, and needs more of them
    if given.smoke:
        embedded.smoke_detection(config)
    if given.shuffle:
        config.train.source = node(data.Shuffled, source=config.train.source)
    return config


def demo(model):
    """Makes a detector's training on the embedded shapes, and its evaluation."""
    shapes = {"name": "shapes/det64", "fields": ("objects",)}
    return node(
        Experiment,
        task=node(tasks.Detection, model=model, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
        train=node(
            data.Train,
            source=node(data.TFDS, split="train", **shapes),
            transforms=(node(data.RandomFlip),),
            batch_size=32,
            max_boxes=4,
        ),
        eval=node(
            data.Eval,
            source=node(data.TFDS, split="validation", **shapes),
            batch_size=100,
            max_boxes=4,
        ),
        metrics={"voc": node(VOC, num_classes=embedded.CLASSES, inclusive=False)},
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
        epochs=10.0,
        log_every=25,
        eval_every=625,
        best="eval/ap50",
        expect=node(Expect, metric="eval/ap50", value=0.75, source="this demo's own bar"),
    )


def faster_rcnn():
    """Makes Faster R-CNN; regions are pooled from the finest level alone: the shapes are small."""
    return node(
        models.FasterRCNN,
        backbone=node(models.ResNet, stages=(1, 1, 1), block="basic", width=32, stem="deep"),
        num_classes=embedded.CLASSES,
        pyramid=pyramid("none"),
        rpn=node(
            models.RPN,
            anchor_sizes=ANCHOR_SIZES,
            batch_size_per_image=64,
            train_pre_nms_top_n=64,
            train_post_nms_top_n=64,
            pre_nms_top_n=64,
            post_nms_top_n=32,
        ),
        head=node(
            models.BoxHead,
            pool=node(models.RegionPool, levels=1),
            hidden=(128,),
            batch_size_per_image=32,
            max_detections=20,
        ),
    )


def retinanet():
    return node(
        models.RetinaNet,
        backbone=node(models.ResNet, stages=(1, 1, 1), block="basic", width=32, stem="deep"),
        pyramid=pyramid("none"),
        num_classes=embedded.CLASSES,
        anchor_sizes=octave_sizes(16, len(ANCHOR_SIZES), 1),
        depth=2,
        max_detections=20,
    )


def pyramid(extra):
    return node(models.FPN, endpoints=("conv2_x", "conv3_x", "conv4_x"), width=64, extra=extra)
