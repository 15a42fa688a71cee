"""YOLO v3 on PASCAL VOC 2007 + 2012 with the bag of freebies, each of which an argument takes away.

paper    Redmon & Farhadi, "YOLOv3: An Incremental Improvement", 2018; Zhang et al., "Bag of
         Freebies for Training Object Detection Neural Networks", 2019, section 3
needs    Darknet-53 of ImageNet, which is fetched from Darknet's author, or
         --config.init.weights=FILE, or a run folder of `darknet53_imagenet.py`, or the argument
         `pretrain`
expect   81.5 % mAP on VOC 2007's test set at 416 pixels (GluonCV, yolo3_darknet53_voc)
cost     200 epochs of 16,551 images, 32.7 G multiply-adds forward each at 416 pixels
run      python launch.py --config experiments/yolo_v3_voc0712.py
         python launch.py --config experiments/yolo_v3_voc0712.py:mixup=False,cosine=False
smoke    python launch.py --config experiments/yolo_v3_voc0712.py:smoke

Arguments, all on: `augment`, colours, zooming out, crops that overlap an object enough; `sync`,
batch norm over all devices; `shapes`, another of ten sizes every ten batches, each compiled once;
`cosine` instead of a tenth at epochs 160 and 180; `smoothing` of class labels by 0.1; `mixup` of
every other image with another one, λ ~ Beta(1.5, 1.5), but for the last tenth of the training
(GluonCV: 20 epochs).
"""

from experiments import darknet53_imagenet, yolo_v1_voc0712, yolo_v2_voc0712
from experiments.shared import embedded
from vision_jax import data, models
from vision_jax.config import arguments, node
from vision_jax.training import Expect, schedule

MIXED = 0.9  # of all steps
FREEBIES = ("augment", "sync", "shapes", "cosine", "smoothing", "mixup")


def get_config(arg=""):
    options = {"size": 416, "pretrain": False, "smoke": False, **dict.fromkeys(FREEBIES, True)}
    given = arguments(arg, **options)
    backbone = node(models.ResidualDarknet)
    model = node(models.YOLOv3, backbone=backbone, num_classes=yolo_v1_voc0712.CLASSES)
    config = yolo_v1_voc0712.voc0712(model, given.size)
    freebies(config, given)
    config.epochs, config.init.weights = 200.0, "darknet/darknet53.conv.74"
    if all(getattr(given, name) for name in FREEBIES) and given.size == 416:
        source = "GluonCV yolo3_darknet53_voc"
        config.expect = node(Expect, metric="eval/ap50", value=0.815, source=source)
    if given.pretrain:
        yolo_v1_voc0712.pretrain(config, darknet53_imagenet.get_config())
    return tiny(config) if given.smoke else config


def freebies(config, given, sizes=yolo_v2_voc0712.SIZES):
    """Sets the experiment's `FREEBIES`, in place.

    Args:
      config: a YOLO v3 experiment, whose last sizes are those of its evaluation.
      given: has an attribute for each of them, and `size`.
      sizes: of the random shapes.
    """
    yolo_v1_voc0712.set_layers(config, norm="sync" if given.sync else "local")
    config.task.model.smoothing = 0.1 if given.smoothing else 0.0
    step = node(schedule.Step, value=1e-3, boundaries=(160, 180))
    rate = node(schedule.Cosine, value=1e-3) if given.cosine else step
    config.optimizer.schedule = node(schedule.WarmUp, then=rate, length=2.0)
    one = node(data.StretchTo, size=given.size)
    if given.shapes:
        one = node(data.PerBatch, choices=tuple(node(data.StretchTo, size=s) for s in sizes))
    geometry = (node(data.Expand), node(data.IoUCrop))
    config.train.transforms = (
        *((node(data.Until, transform=node(data.BoxMixUp), share=MIXED),) if given.mixup else ()),
        *((node(data.PhotometricDistortion), *geometry) if given.augment else ()),
        one,
        *((node(data.RandomFlip),) if given.augment else ()),
    )


def tiny(config):
    """Makes the smoke of all YOLO v3s, one program: two scales, one size."""
    model = config.task.model
    model.smoothing, config.optimizer.schedule = 0.1, node(schedule.Constant, value=1e-3)
    backbone = {"blocks": (1, 1, 1), "width": 4, "layers": model.backbone.layers}
    model.backbone = node(models.ResidualDarknet, **backbone)
    model.update(endpoints=("stage3", "stage2"), neck=((16,), ()), out=(16, 16), lateral=(8,))
    model.priors = ((10, 10), (14, 14), (18, 18), (22, 22), (28, 28), (40, 40))
    model.update(masks=((3, 4, 5), (0, 1, 2)), max_detections=20)
    config.stages, config.init.weights = (), None
    return embedded.smoke_detection(config)
