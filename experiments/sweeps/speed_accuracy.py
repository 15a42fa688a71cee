"""All detectors of the project on one machine, data and evaluator: speed against accuracy.

lecture  UBC CPSC 532L, lecture 5 and HKUST COMP 5214: detection without proposals
cost     full: one training of each detector on VOC 07+12 by its own recipe; twin: 4 × 3 runs of
         300 steps
regime   images of 64×64 pixels, 300 steps of 32, from scratch; SSD and Faster R-CNN have about as
         many multiply-adds here
run      python launch.py --config experiments/sweeps/speed_accuracy.py --sweep
twin     python launch.py --config experiments/sweeps/speed_accuracy.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/speed_accuracy.py:smoke

Beside `table.md` lies `bubbles.png`: images per second across, AP50 up, parameters as area. Images
per second are of the evaluation, in batches of one size, decoding and suppression included;
multiply-adds are of one image. `detector` is an experiment's name. Finished runs are not run again.
R-CNN, SPP-net and Fast R-CNN are not here, but in road_to_rfcn.py: their time is that of proposals
made beforehand.

The twin's are the quickstarts' detectors, on the embedded shapes.
"""

import importlib

import jax
import jax.numpy as jnp

from experiments import quickstart_detection, quickstart_ssd, quickstart_yolo
from experiments.shared import detection_speed, embedded
from vision_jax import data
from vision_jax.config import UserError, arguments, build, node
from vision_jax.evaluation import VOC
from vision_jax.inspect import summarize
from vision_jax.report import Claim

DETECTORS = (
    "yolo_v1_voc0712",
    "fast_yolo_voc0712",
    "yolo_v2_voc0712",
    "yolo_v3_voc0712",
    "ssd300_vgg16_voc0712",
    "ssd512_vgg16_voc0712",
    "ssd300_resnet50_voc0712",
    "retinanet_r50_fpn_voc",
    "faster_rcnn_vgg16_voc0712",
    "faster_rcnn_r50_fpn_voc0712",
    "rfcn_r50_voc0712",
    "rfcn_r101_voc0712",
)
SMALL = {
    "ssd": quickstart_ssd.model,
    "faster_rcnn": quickstart_detection.faster_rcnn,
    "retinanet": quickstart_detection.retinanet,
    "yolo": lambda: quickstart_yolo.get_config().task.model,
}
BUBBLES = ("eval/images_per_second", "eval/ap50", "parameters")
STEPS = 300  # the twin's
BATCH = 16  # of the evaluation


def get_config(arg=""):
    given = arguments(arg, detector="", smoke=False, twin=False)
    known = tuple(SMALL) if given.twin or given.smoke else DETECTORS
    name = given.detector or known[0]
    if name not in known:
        raise UserError(f"detector={name}: use one of {', '.join(known)}")
    if given.twin or given.smoke:
        config = quickstart_detection.demo(SMALL[name]())
        config.steps, config.epochs, config.eval_every = STEPS, 0.0, STEPS
        if given.smoke:
            embedded.smoke_detection(config)
    else:
        config = importlib.import_module(f"experiments.{name}").get_config()
        config.eval.source = node(data.TFDS, name="voc/2007", split="test", fields=("objects",))
        config.metrics = {"voc": node(VOC, num_classes=20, eleven_points=True)}
        config.best = "eval/ap50"
    config.eval.batch_size = 8 if given.smoke else BATCH
    config.metrics.speed = node(detection_speed.Speed)
    config.expect = None
    return config


def extras(config):
    """Counts parameters, and multiply-adds of one image at the size of the evaluation."""
    height = width = 64
    for part in config.eval.transforms:
        if "size" in part:
            height = width = part.size
        elif "height" in part:
            height, width = part.height, part.width
    image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    sizes = jax.ShapeDtypeStruct((1, 2), jnp.float32)
    found = summarize(build(config.task).model, image, sizes)
    return {
        "multiply_adds": float(found.multiply_adds),
        "parameters": float(found.parameters),
    }


def _argument(name, argument):
    return f"detector={name}" + (",twin" if "twin" in argument else "")


def sweep(add, argument=""):
    twin = "twin" in argument
    for name in SMALL if twin else DETECTORS:
        for seed in range(3 if twin else 1):
            add(f"{name}-seed{seed}", argument=_argument(name, argument), seed=seed)


def claims(argument=""):
    if "twin" not in argument:
        return ()
    one, two = ({"argument": _argument(name, argument)} for name in ("ssd", "faster_rcnn"))
    return (
        Claim(
            "one stage is faster than two: SSD against Faster R-CNN",
            "eval/images_per_second",
            higher=one,
            lower=two,
            scale="VGG-16 both, VOC",
            published="46 against 7 images per second, unchecked",
        ),
    )
