"""YOLO v2 on COCO; the recipe of yolo_v2_voc0712.py, which has the details.

paper    Redmon & Farhadi, "YOLO9000", 2016, table 5, reports 21.6 % AP and 44.0 % AP50 on test-dev
         at 544 pixels (unchecked)
expect   no number is cited
cost     160 epochs of 118,287 images, 14.7 G multiply-adds forward each at 416 pixels
run      python launch.py --config experiments/yolo_v2_coco.py
smoke    python launch.py --config experiments/yolo_v2_coco.py:smoke

Darknet's `yolov2.weights` is measured by `:darknet --mode evaluate
--config.init.weights=darknet/yolov2`.
"""

from experiments import yolo_v2_voc0712
from vision_jax import data
from vision_jax.config import arguments, node
from vision_jax.evaluation import COCO
from vision_jax.models.detectors.yolo_v2 import COCO_PRIORS

CLASSES = 80


def get_config(arg=""):
    given = arguments(arg, size=544, darknet=False, smoke=False)
    config = yolo_v2_voc0712.get_config(f"size={given.size},darknet={given.darknet}")
    config.task.model.priors = COCO_PRIORS
    on_coco(config)
    return yolo_v2_voc0712.tiny(config) if given.smoke else config


def on_coco(config):
    """Gives the same detector COCO's 80 classes."""
    config.task.model.num_classes = CLASSES
    coco = {"name": "coco/2017", "fields": ("objects",)}
    config.train.source = node(data.TFDS, split="train", **coco)
    config.eval.source = node(data.TFDS, split="validation", **coco)
    config.metrics = {"coco": node(COCO, num_classes=CLASSES)}
    config.eval_every, config.best, config.expect = 18_480, "eval/ap", None
