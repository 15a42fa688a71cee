"""The path from YOLO to YOLO v2, one step after the other.

lecture  HKUST COMP 5214: YOLO, and that v2 and v3 improve it
paper    Redmon & Farhadi, "YOLO9000: Better, Faster, Stronger", 2016, table 2, mAP on VOC 2007:
         YOLO 63.4; + batch norm 65.8; + high resolution classifier 69.5; + anchor boxes 69.2;
         + new network 69.6; + dimension priors and location prediction 74.4; + passthrough 75.4;
         + multi-scale 76.8; + high resolution detector 78.6 (the steps unchecked); section 2:
         anchor boxes raise recall from 81 to 88 % and lower mAP a little
cost     full: 9 × 3 runs of 135 to 160 epochs; twin: 8 × 3 runs of 400 steps
regime   1,000 images of 64×64 pixels with one to three objects of like size, 400 steps of 16, from
         scratch: far from convergence, where a step that makes the task harder costs more than it
         gives
run      python launch.py --config experiments/sweeps/path_from_yolo.py --sweep
twin     python launch.py --config experiments/sweeps/path_from_yolo.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/path_from_yolo.py:smoke

`steps` says how many are taken. The full runs need `runs/extraction`, `runs/extraction_448`,
`runs/extraction_bn` and its `_448` (darknet19_imagenet.py); the new network's weights are fetched.
The twin trains narrow networks of 64-pixel shapes from scratch; it has no classifier, whose step it
leaves out, and its high resolution is 96 pixels. Its stored results have the recall of the two
steps that the claim about anchor boxes compares, whose runs are newer than the others.
"""

import itertools

from experiments import yolo_v1_voc0712, yolo_v2_voc0712
from experiments.shared import embedded
from experiments.sweeps.bag_of_freebies import twin
from vision_jax import data
from vision_jax.config import UserError, arguments, node
from vision_jax.evaluation import COCO, Prefixed
from vision_jax.models.classifiers.darknet import EXTRACTION
from vision_jax.models.detectors.yolo_v2 import HAND_PRIORS, VOC_PRIORS
from vision_jax.report import Claim

STEPS = (
    "batch norm",
    "a high resolution classifier",
    "anchor boxes",
    "a new network",
    "dimension priors and location prediction",
    "a passthrough",
    "multi-scale training",
    "a high resolution detector",
)
PUBLISHED = (63.4, 65.8, 69.5, 69.2, 69.6, 74.4, 75.4, 76.8, 78.6)  # mAP after so many steps
NORM, CLASSIFIER, ANCHORS, NETWORK, PRIORS, PASSTHROUGH, SCALES, HIGH = range(len(STEPS))
# Of the twin: two grids of hand-made boxes, and k-means on the training boxes, in 8-pixel cells.
TWIN_HAND = tuple((s * w, s / w) for s in (1.0, 2.0, 4.0) for w in (0.7, 1.0, 1.4))
TWIN_PRIORS = ((1.67, 1.72), (2.15, 2.11), (2.55, 2.58), (3.06, 2.99), (3.56, 3.6))
TWIN_SIZES = (48, 64, 80)


def get_config(arg=""):
    given = arguments(arg, steps=len(STEPS), smoke=False, twin=False)
    if not 0 <= given.steps <= len(STEPS):
        raise UserError(f"steps={given.steps}: 0 to {len(STEPS)}")
    taken = [number < given.steps for number in range(len(STEPS))]
    config = _second(taken) if taken[ANCHORS] else _first(taken)
    config.expect = None
    if given.smoke:
        made = yolo_v2_voc0712 if taken[ANCHORS] else yolo_v1_voc0712
        return made.tiny(config)
    if given.twin:
        _twin(config, taken)
    return config


def _first(taken):
    """Makes YOLO, and its first two steps."""
    config = yolo_v1_voc0712.get_config()
    yolo_v1_voc0712.set_layers(config, norm="sync" if taken[NORM] else "none")
    folder = "runs/extraction_bn" if taken[NORM] else "runs/extraction"
    config.init.weights = folder + ("_448" if taken[CLASSIFIER] else "")
    return config


def _second(taken):
    """Makes the steps from anchor boxes on, when it is a fully convolutional network."""
    size = 544 if taken[HIGH] else 416
    config = yolo_v2_voc0712.get_config(f"size={size},multiscale={taken[SCALES]}")
    model = config.task.model
    if not taken[NETWORK]:
        model.backbone.stages, model.endpoint = EXTRACTION, "stage5"
        config.init.weights = "runs/extraction_bn_448"
    if not taken[PASSTHROUGH]:
        model.passthrough = ""
    model.location = "direct" if taken[PRIORS] else "offset"
    model.priors = VOC_PRIORS if taken[PRIORS] else HAND_PRIORS
    return config


def _twin(config, taken):
    model = config.task.model
    config.init.weights = None
    size = 96 if taken[HIGH] else 64
    plain = node(data.StretchTo, size=size)
    if taken[SCALES]:
        sizes = TWIN_SIZES if size == 64 else (80, 96, 112)
        plain = node(data.PerBatch, choices=tuple(node(data.StretchTo, size=s) for s in sizes))
    config.train.transforms = (plain, node(data.RandomFlip))
    config.eval.transforms = (node(data.StretchTo, size=size),)
    config.metrics.voc.update(num_classes=embedded.CLASSES, inclusive=False, eleven_points=False)
    config.train.max_boxes = config.eval.max_boxes = 4
    if taken[ANCHORS]:
        # The new network is deeper and thinner, as Darknet-19 is beside the first one.
        wide = (((3, 16),), ((3, 32),), ((3, 64),), ((3, 64),))
        deep = (((3, 16),), ((3, 32),), ((3, 32), (1, 16), (3, 64)), ((3, 64), (1, 32), (3, 64)))
        model.backbone.stages = deep if taken[NETWORK] else wide
        model.update(endpoint="stage4", convs=(64,), reduced=16, merged=64, warm_up=800)
        model.update(passthrough="stage3" if taken[PASSTHROUGH] else "", max_detections=20)
        sides = TWIN_PRIORS if taken[PRIORS] else TWIN_HAND
        model.priors = tuple((w * size / 64, h * size / 64) for w, h in sides)
    else:
        model.backbone.stages = (((3, 16),), ((3, 32),), ((3, 64),), ((3, 64),))
        model.update(endpoint="stage4", side=8, convs=((16, 1),), hidden=(256,), max_detections=20)
    coco = node(COCO, num_classes=embedded.CLASSES, iou_types=("bbox",))
    config.metrics.coco = node(Prefixed, metric=coco, prefix="coco_")  # both report an AP50
    twin(config, steps=400)


def _argument(steps, argument):
    return f"steps={steps}" + (",twin" if "twin" in argument else "")


def _taken(argument):
    """Lists the steps that the runs take; the twin has no step for the classifier."""
    skipped = (CLASSIFIER + 1,) if "twin" in argument else ()
    return [steps for steps in range(len(STEPS) + 1) if steps not in skipped]


def sweep(add, argument=""):
    for steps in _taken(argument):
        for seed in range(3):
            own = _argument(steps, argument)
            add(f"{steps}-seed{seed}", argument=own, seed=seed, data_seed=seed)


def claims(argument=""):
    return tuple(
        _claim(before, after, argument) for before, after in itertools.pairwise(_taken(argument))
    )


def _claim(before, after, argument):
    """Makes a step's claim: that it raises AP50, but for anchor boxes, of which the paper says
    that they raise recall at about the same AP50; recall is measured in the twin alone.
    """
    twin, anchors = "twin" in argument, after == ANCHORS + 1
    text, metric, within = f"{STEPS[after - 1]} on top raises AP50", "eval/ap50", None
    published = f"mAP {PUBLISHED[after]} against {PUBLISHED[before]}, the steps unchecked"
    if anchors:
        published = "recall 88 against 81 %, mAP 69.2 against 69.5, unchecked"
        text = "anchor boxes on top keep AP50, within 0.01"
        within = 0.01
    if anchors and twin:
        text, metric, within = "anchor boxes on top raise recall", "eval/coco_ar10", None
    return Claim(
        text,
        metric,
        higher={"argument": _argument(after, argument)},
        lower={"argument": _argument(before, argument)},
        scale="VOC 2007 + 2012, 135 to 160 epochs",
        within=within,
        published=published,
    )
