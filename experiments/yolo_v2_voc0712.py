"""YOLO v2 on PASCAL VOC 2007 + 2012, the paper's recipe.

paper    Redmon & Farhadi, "YOLO9000: Better, Faster, Stronger", 2016, table 3, reports 76.8 % mAP
         on VOC 2007's test set at 416 pixels and 78.6 % at 544 (unchecked)
needs    Darknet-19 of ImageNet at 448 pixels, which is fetched from Darknet's author, or
         --config.init.weights=FILE, or a run folder of `darknet19_imagenet.py:size=448`, or the
         argument `pretrain`
expect   no number is cited
cost     160 epochs of 16,551 images, 14.7 G multiply-adds forward each at 416 pixels
run      python launch.py --config experiments/yolo_v2_voc0712.py
smoke    python launch.py --config experiments/yolo_v2_voc0712.py:smoke

Every ten batches have another of ten sizes from 320 to 608 pixels (`multiscale=False`: 416 always);
each is compiled once. `size` is that of evaluation. `pretrain` puts the two trainings on ImageNet,
at 224 and at 448 pixels, in front, as stages. `sweeps/path_from_yolo.py` takes the paper's steps
back one by one.

Darknet's `yolov2-voc.weights` is measured by `:darknet --mode evaluate
--config.init.weights=yolov2-voc.weights`; `darknet` computes batch norm and the passthrough as
Darknet does.
"""

from experiments import darknet19_imagenet, yolo_v1_voc0712
from experiments.shared import embedded
from vision_jax import data, models
from vision_jax.config import arguments, node
from vision_jax.training import schedule

SIZES = tuple(range(320, 609, 32))


def get_config(arg=""):
    given = arguments(arg, size=416, multiscale=True, darknet=False, pretrain=False, smoke=False)
    model = node(models.YOLOv2, backbone=node(models.Darknet), num_classes=yolo_v1_voc0712.CLASSES)
    config = yolo_v1_voc0712.voc0712(model, given.size)
    recipe(config, given.multiscale)
    config.init.weights = "darknet/darknet19_448.conv.23"
    if given.pretrain:
        first, second = (darknet19_imagenet.get_config(f"size={size}") for size in (224, 448))
        yolo_v1_voc0712.pretrain(config, first, second)
    if given.darknet:
        yolo_v1_voc0712.as_darknet(config)
    return tiny(config) if given.smoke else config


def recipe(config, multiscale):
    """Sets the rates of YOLO v2, and its random sizes."""
    config.optimizer.schedule = node(
        schedule.WarmUp, then=node(schedule.Step, value=1e-3, boundaries=(60, 90)), length=1.0
    )
    config.epochs = 160.0
    if multiscale:
        sizes = tuple(node(data.StretchTo, size=size) for size in SIZES)
        config.train.transforms = yolo_v1_voc0712.augmented(node(data.PerBatch, choices=sizes))


def tiny(config):
    """Makes the smoke of YOLO v2; it has two sizes where the experiment has several."""
    model = config.task.model
    model.backbone.stages = yolo_v1_voc0712.TINY_STAGES
    model.update(endpoint="stage4", passthrough="stage3", max_detections=20)
    model.update(priors=((1.2, 1.2), (2.5, 2.5)), convs=(16,), reduced=8, merged=16)
    several = any("PerBatch" in str(part) for part in config.train.transforms)
    config.stages, config.init.weights = (), None
    embedded.smoke_detection(config)
    if several:
        sizes = tuple(node(data.StretchTo, size=size) for size in (64, 96))
        config.train.transforms = (node(data.PerBatch, choices=sizes, every=1),)
    return config
