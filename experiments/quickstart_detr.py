"""DETR on a laptop: a small one, on the embedded shapes.

data     one to three shapes on clutter, 64×64, and single shapes, 32×32, for the backbone; made
         from a seed on first use
paper    Carion et al., "End-to-End Object Detection with Transformers", 2020
expect   AP50 of at least 0.6 on held-out images (measured: 0.609, twice); boxes come first and
         classes late, 0.324 after a third of the steps, and DETR is slow to learn both: the paper's
         trains for 500 epochs
cost     500 steps of the backbone and 4500 of the detector, of 16 images: 3:44 on two CPU cores,
         data and reports included, programs from the compilation cache; 6:52 on cores that were
         shared with much other work
run      python launch.py --config experiments/quickstart_detr.py
         python launch.py --config experiments/quickstart_detr.py:epochs=64
smoke    python launch.py --config experiments/quickstart_detr.py:smoke

Two stages: the backbone learns to classify shapes, as the paper's starts from ImageNet; then the
detector learns with it. Eight queries, and no suppression: the report shows where each has learnt
to look, and what the attention of encoder and decoder reads. Unlike the paper's network it adds
positions to the map itself too, and its class loss weighs more than that of boxes.
"""

from experiments import quickstart, quickstart_detection
from experiments.shared import detr, embedded
from vision_jax import models, tasks
from vision_jax.config import arguments, node
from vision_jax.training import Expect, Stage

CLASSIFIED = ("train", "eval", "metrics", "optimizer")  # taken from quickstart.py
OWN = "this demo's own bar"
STEPS = 500  # of the backbone's training


def get_config(arg=""):
    given = arguments(arg, epochs=18, smoke=False)
    if given.smoke:
        return embedded.smoke_detection(quickstart_detection.demo(detr.network()))
    config = quickstart_detection.demo(detr.demo_network())
    config.optimizer = detr.rule()
    config.train.batch_size, config.epochs, config.eval_every = 16, float(given.epochs), 1500
    config.log_every = 50
    return two_stages(config, node(Expect, metric="eval/ap50", value=0.6, source=OWN))


def two_stages(config, expect):
    """Lets the backbone of `detr.demo_backbone` learn to classify, and the detector start with it.

    Args:
      config: of the detector's training, changed in place.
      expect: of the detector.
    """
    config.expect = None  # of the whole: the detector's stage has it
    start = (("init.weights", "stage:backbone"), ("init.reinitialize", detr.FRESH))
    config.stages = (
        node(Stage, name="backbone", changes=classification()),
        node(Stage, name="detector", changes=(*start, ("expect", expect))),
    )
    return config


def classification():
    """Returns the changes that make the experiment the training of a classifier."""
    like = quickstart.get_config()
    head = node(models.PoolHead, num_classes=embedded.CLASSES)
    task = node(
        tasks.Classification,
        model=node(models.Classifier, backbone=detr.demo_backbone(), head=head),
        mean=like.task.mean,
        std=like.task.std,
    )
    parts = tuple((name, like[name]) for name in CLASSIFIED)
    length = (("epochs", 0.0), ("steps", STEPS), ("eval_every", STEPS), ("best", "eval/top1"))
    return (("task", task), *parts, *length)
