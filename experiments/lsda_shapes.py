"""LSDA on the embedded shapes: a detector of eight classes, four of which never had a box.

paper    Hoffman et al., "LSDA: Large Scale Detection through Adaptation", 2014
data     one shape, 32×32, for a classifier of eight classes; one to three shapes, 64×64, whose
         circles, squares, triangles and stars alone have boxes. Rings, crescents, crosses and
         pentagons in these images are background
expect   a higher AP50 on the classes without boxes with a lent change than without (measured on
         seed 0: 0.237 with one neighbour, 0.215 with none); in the paper, with 100 of ILSVRC's 200
         classes, 16.15 % after 10.31 of the classifier alone
cost     a minute on two CPU cores (measured, data included)
run      python launch.py --config experiments/lsda_shapes.py
         python launch.py --config experiments/lsda_shapes.py:neighbours=0
smoke    python launch.py --config experiments/lsda_shapes.py:smoke
         python launch.py --config experiments/lsda_shapes.py:smoke,stages

Two stages. `classifier` learns all classes from images that hold one object. `detector` fine-tunes
its layers on warped windows, with boxes of four classes, and learns their change of the last layer
and background. The third step is no training: at every evaluation each class without boxes gets
the mean change of its `neighbours` nearest classes with boxes; 0 lends nothing, 4 takes all. So
`--mode evaluate --workdir runs/lsda_shapes/detector --config.task.model.head.neighbours=2` is the
same network with another number. (The smoke is the second stage; `:smoke,stages` has both.)
"""

from experiments.shared import embedded
from vision_jax import data, models, tasks
from vision_jax.config import arguments, node
from vision_jax.evaluation import VOC, TopK
from vision_jax.models import Layers
from vision_jax.proposals import SlidingWindow
from vision_jax.training import Experiment, Stage, optimizer, schedule

BOXED, UNBOXED = (0, 1, 2, 3), (4, 5, 6, 7)
HIDDEN = (64,)


def get_config(arg=""):
    given = arguments(arg, neighbours=4, stages=False, smoke=False)
    config = node(
        Experiment,
        task=classification(),
        train=node(
            data.Train, source=node(data.TFDS, name="shapes/cls32", split="train"), batch_size=64
        ),
        eval=node(
            data.Eval,
            source=node(data.TFDS, name="shapes/cls32", split="validation"),
            batch_size=200,
        ),
        metrics={"top": node(TopK, ks=(1,))},
        optimizer=adamw(4e-3),
        steps=400,
        log_every=20,
        eval_every=400,
        best="eval/top1",
    )
    detector = detection(given.neighbours)
    if given.smoke:
        embedded.smoke(config, size=32)
        detector |= {"train": images("train[:16]", 8), "eval": images("validation[:8]", 8)}
        detector |= {"steps": 4, "eval_every": 2}
        if not given.stages:
            for key in detector.keys() - {"init.weights", "init.reinitialize"}:
                config[key] = detector[key]
            return config
    config.stages = (
        node(Stage, name="classifier"),
        node(Stage, name="detector", changes=tuple(detector.items())),
    )
    return config


def classification():
    """Makes the classifier's training, whose images are cut as windows will be."""
    head = node(models.FcHead, num_classes=embedded.CLASSES, hidden=HIDDEN, grid=0, dropout=0.0)
    return node(
        tasks.Classification,
        model=node(models.Classifier, backbone=backbone("sync"), head=head),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        augment=(node(tasks.augment.PadCrop, mode="reflect"), node(tasks.augment.Flip)),
    )


def detection(neighbours):
    """Makes the changes of the second stage."""
    head = node(
        models.LentClassifier,
        boxed=BOXED,
        neighbours=neighbours,
        hidden=HIDDEN,
        dropout=0.0,
        batch_size_per_image=16,
        score_threshold=0.01,
        max_detections=200,  # a class that is found everywhere must not crowd out the others
        layers=Layers(norm="none"),
    )
    model = node(
        models.LSDA,
        backbone=backbone("frozen"),
        num_classes=embedded.CLASSES,
        head=head,
        crop_size=32,
        context=4,
    )
    groups = (("boxed", BOXED), ("unboxed", UNBOXED))
    return {
        "task": node(tasks.Detection, model=model, mean=(0.5,) * 3, std=(0.25,) * 3),
        "train": images("train[:1000]", 16),
        "eval": images("validation[:200]", 25),
        "metrics": {"voc": node(VOC, num_classes=embedded.CLASSES, inclusive=False, groups=groups)},
        "optimizer": adamw(1e-3, ("(?!head/fc7/).*",)),  # the classifier's last layer stays
        "steps": 200,
        "eval_every": 200,
        "best": "eval/ap50_unboxed",
        "init.weights": "stage:classifier",
        "init.reinitialize": "head/(change_|background).*",
    }


def images(split, batch_size):
    """Makes a pipeline of images with windows as proposals."""
    kind = data.Train if split.startswith("train") else data.Eval
    windows = node(data.Propose, method=node(SlidingWindow, sides=(18, 28)), max_proposals=196)
    source = node(data.TFDS, name="shapes/det64", split=split, fields=("objects",))
    return node(kind, source=source, transforms=(windows,), batch_size=batch_size, max_boxes=4)


def backbone(norm):
    return node(
        models.ResNet,
        stages=(1, 1),
        block="basic",
        width=16,
        stem="deep",
        layers=Layers(norm=norm),
    )


def adamw(rate, trainable=(".*",)):
    """Makes AdamW with a cosine that ends at zero, after a tenth of warm-up."""
    rates = node(
        schedule.WarmUp, then=node(schedule.Cosine, value=rate), length=0.1, unit="fraction"
    )
    return node(
        optimizer.Optimizer,
        rule=node(optimizer.AdamW),
        schedule=rates,
        decay=0.05,
        clip=10.0,
        trainable=trainable,
    )
