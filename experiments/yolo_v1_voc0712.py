"""YOLO v1 on PASCAL VOC 2007 + 2012, the paper's recipe.

paper    Redmon et al., "You Only Look Once: Unified, Real-Time Object Detection", 2015
needs    the run folder `runs/extraction` of `darknet19_imagenet.py:network=extraction` with
         --config.task.model.backbone.layers.norm=none (not for `form=shipped`), or
         --config.init.weights=FOLDER, or the argument `pretrain`
expect   63.4 % mAP on VOC 2007's test set, by VOC 2007's rules (as quoted in SSD's repository)
cost     135 epochs of 16,551 images, 20.3 G multiply-adds forward each
run      python launch.py --config experiments/yolo_v1_voc0712.py
         python launch.py --config experiments/yolo_v1_voc0712.py:form=shipped
smoke    python launch.py --config experiments/yolo_v1_voc0712.py:smoke

`form` is `paper`; `shipped`, as Darknet has it: batch norm, three boxes per cell, a locally
connected layer; or `lecture`, where each cell regresses three base boxes and scores background as a
class. `pretrain` puts the training on ImageNet in front, as a stage. Augmentation is Darknet's (its
yolov1.cfg): each edge of an image moves by up to 20 % of its side, in or out; saturation and
exposure change by up to 1.5, and hue, of which the paper does not speak, by a tenth of the circle.

Darknet's `yolov1.weights` is measured by `:form=shipped,darknet --mode evaluate
--config.init.weights=yolov1.weights`; `darknet` computes batch norm as Darknet does.
"""

from experiments import darknet19_imagenet
from experiments.shared import embedded
from vision_jax import data, models, tasks
from vision_jax.config import UserError, arguments, node, suggest
from vision_jax.evaluation import VOC
from vision_jax.models import Layers
from vision_jax.models.classifiers.darknet import DARKNET, EXTRACTION
from vision_jax.training import Expect, Experiment, Stage, optimizer, schedule

CLASSES = 20
FORMS = ("paper", "shipped", "lecture")
TINY_STAGES = (((3, 8),), ((3, 16),), ((3, 32),), ((3, 48),))


def get_config(arg=""):
    given = arguments(arg, form="paper", darknet=False, pretrain=False, smoke=False)
    if given.form not in FORMS:
        raise UserError(f"form={given.form!r}{suggest(given.form, FORMS)}")
    layers = Layers(norm="sync" if given.form == "shipped" else "none")
    backbone = node(models.Darknet, stages=EXTRACTION, layers=layers)
    model = node(models.YOLOv1, backbone=backbone, num_classes=CLASSES, layers=layers)
    if given.form == "shipped":
        model.update(boxes_per_cell=3, local=256, hidden=())
    elif given.form == "lecture":
        model.update(boxes_per_cell=3, formulation="lecture")
    config = voc0712(model, size=448)
    config.init.weights = "runs/extraction"
    config.expect = None
    if given.form == "paper":
        source = "the paper's, as quoted in SSD's repository"
        config.expect = node(Expect, metric="eval/ap50", value=0.634, source=source)
    if given.pretrain:
        pretrain(config, darknet19_imagenet.get_config("network=extraction"))
        config.stages[0].changes += (("task.model.backbone.layers.norm", layers.norm),)
    if given.darknet:
        as_darknet(config)
    return tiny(config) if given.smoke else config


def voc0712(model, size):
    """Makes a detector's training on VOC 2007 + 2012, and evaluation on VOC 2007's test set."""
    years = tuple(
        node(data.TFDS, name=f"voc/{year}", split="train+validation", fields=("objects",))
        for year in (2007, 2012)
    )
    return node(
        Experiment,
        task=node(tasks.Detection, model=model, mean=(0.0,) * 3, std=(1.0,) * 3),
        train=node(
            data.Train,
            source=node(data.Concat, sources=years),
            transforms=augmented(node(data.StretchTo, size=size)),
            batch_size=64,
        ),
        eval=node(
            data.Eval,
            source=node(data.TFDS, name="voc/2007", split="test", fields=("objects",)),
            transforms=(node(data.StretchTo, size=size),),
            batch_size=32,
        ),
        metrics={"voc": node(VOC, num_classes=CLASSES, eleven_points=True)},
        optimizer=node(
            optimizer.Optimizer,
            rule=node(optimizer.Sgd, momentum=0.9),
            schedule=node(
                schedule.WarmUp,
                then=node(schedule.Step, value=1e-2, boundaries=(75, 105)),
                length=1.0,
                start=1e-3,
            ),
            decay=5e-4,
            clip=100.0,
        ),
        epochs=135.0,
        eval_every=2600,
        log_every=100,
        best="eval/ap50",
    )


def augmented(resize, jitter=0.2):
    """Makes Darknet's: edges that move, one size (by `resize`), mirror images and colours."""
    edges = node(data.EdgeJitter, jitter=jitter)
    return edges, resize, node(data.RandomFlip), node(data.HsvJitter)


def set_layers(config, **settings):
    """Changes settings of all layers: those of the detector's backbone, and the others."""
    for part in (config.task.model, config.task.model.backbone):
        part.layers.update(settings)


def as_darknet(config):
    """Lets a YOLO compute as Darknet does, which its published weights need."""
    settings = {"eps": DARKNET.eps, "momentum": DARKNET.momentum}
    set_layers(config, norm_form=DARKNET.norm_form, **settings)
    if "reorg" in config.task.model:
        config.task.model.reorg = "darknet"


def pretrain(config, *classifiers):
    """Puts classifiers' trainings in front of a detector's, each from what the last one left."""
    keys = ("task", "train", "eval", "metrics", "optimizer", "epochs", "best")
    stages, before = [], None
    for number, classifier in enumerate(classifiers, start=1):
        changes = [(key, classifier[key]) for key in keys]
        changes += [("init.weights", before), ("eval_every", 0), ("expect", None)]
        stages.append(node(Stage, name=f"imagenet{number}", changes=tuple(changes)))
        before = f"stage:imagenet{number}"
    stages.append(node(Stage, name="detection", changes=(("init.weights", before),)))
    config.stages = tuple(stages)


def tiny(config):
    """Makes the smoke of YOLO v1: cells of 8 pixels, two layers beside the backbone."""
    model = config.task.model
    model.backbone.stages = TINY_STAGES
    hidden = () if model.local else (32,)
    model.update(endpoint="stage4", side=8, convs=((8, 1),), hidden=hidden, max_detections=20)
    model.local = min(model.local, 4)
    config.stages, config.init.weights = (), None
    return embedded.smoke_detection(config)
