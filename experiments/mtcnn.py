"""MTCNN: faces and their landmarks in photographs, with published weights.

paper    Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional
         Networks", 2016 (arXiv:1604.02878)
weights  experiments/weights/mtcnn.safetensors: the authors', as facenet-pytorch has them (MIT; the
         notices lie beside the file)
expect   one face in scikit-image's astronaut, as the reference finds it; the paper has a recall of
         95.04 % on FDDB, which is not repeated here
cost     0.05 s for a photograph of 512×512 pixels on two CPU cores, and half a minute to compile
         for each size of the canvas
run      python launch.py --config experiments/mtcnn.py --mode predict --input FOLDER
train    python launch.py --config experiments/mtcnn.py --config.init.weights=None
smoke    python launch.py --config experiments/mtcnn.py:smoke

Photographs are shrunk to at most 1024 pixels and laid on a canvas of multiples of 128, so that few
programs are compiled. For smaller faces lower --config.task.model.min_size, or raise
--config.eval.transforms[0].max_long.

Out of the box training has no faces: one class of the embedded shapes stands in for them. Name
your own by config.train.source and config.eval.source, such as node(data.CocoFolder, …), with one
class and, for the landmarks, five keypoints, whose mirror is (1, 0, 2, 4, 3). The paper trains the
three networks one after the other, each on the mistakes of the one before; here all see the same
crops, made anew in each step.
"""

import os
import pathlib

from experiments.shared import embedded
from vision_jax import data, models, tasks
from vision_jax.config import arguments, node
from vision_jax.data.shapes_draw import KEYPOINT_MIRROR
from vision_jax.evaluation import VOC
from vision_jax.training import Experiment, optimizer, schedule

WEIGHTS = pathlib.Path(__file__).with_name("weights") / "mtcnn.safetensors"
STAND_IN = "circle"  # the class of the embedded shapes that is called a face


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    config = node(
        Experiment,
        task=node(tasks.Detection, model=node(models.MTCNN), mean=(0.0,) * 3, std=(1 / 255,) * 3),
        train=node(
            data.Train,
            source=faces("train"),
            transforms=(node(data.RandomFlip, mirror=KEYPOINT_MIRROR),),
            batch_size=32,
            max_boxes=16,
        ),
        eval=node(
            data.Eval,
            source=faces("validation"),
            transforms=(node(data.Canvas),),
            batch_size=16,
            max_boxes=16,
        ),
        metrics={"voc": node(VOC, num_classes=1, inclusive=False)},
        optimizer=node(
            optimizer.Optimizer,
            rule=node(optimizer.AdamW),
            schedule=node(schedule.Cosine, value=1e-3),
            decay=1e-4,
            decay_vectors=False,
        ),
        steps=3000,
        log_every=100,
        eval_every=1000,
        best="eval/ap50",
    )
    config.init.weights = weights()
    return smoke(config) if given.smoke else config


def weights():
    """Returns the shipped file's path, from the checkout where launch.py is called there."""
    inside = WEIGHTS.is_relative_to(pathlib.Path.cwd())
    return os.path.relpath(WEIGHTS) if inside else str(WEIGHTS)


def faces(split):
    source = node(data.TFDS, name="shapes/det64", split=split, fields=("objects", "keypoints"))
    return node(data.OneClass, source=source, name=STAND_IN, renamed="face")


def smoke(config):
    """Makes a run of four steps on a few embedded images, from fresh weights."""
    embedded.smoke_detection(config)
    config.task.model.num_classes, config.metrics.voc.num_classes = 1, 1
    config.task.model.update(
        min_size=24, factor=0.3, train_crops=8, max_per_level=16, max_refined=16, max_detections=8
    )
    config.train.source, config.eval.source = faces("train[:32]"), faces("validation[:16]")
    config.train.transforms = (node(data.RandomFlip, mirror=KEYPOINT_MIRROR),)
    config.eval.transforms = ()
    config.init.weights = None
    return config
