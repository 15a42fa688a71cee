"""YOLO v3 tiny on COCO; the recipe of yolo_v3_coco.py, which has the details.

source   Darknet's yolov3-tiny.cfg
expect   no number is cited
cost     500,200 steps of 64 images, 2.8 G multiply-adds forward each at 416 pixels
run      python launch.py --config experiments/yolo_v3_tiny_coco.py
smoke    python launch.py --config experiments/yolo_v3_tiny_coco.py:smoke

From scratch. Darknet's `yolov3-tiny.weights` is measured as its `yolov3.weights` is.
"""

from experiments import yolo_v1_voc0712, yolo_v3_coco, yolo_v3_voc0712
from vision_jax import models
from vision_jax.config import arguments, node
from vision_jax.models.classifiers.darknet import TINY, TINY_POOLS
from vision_jax.models.detectors.yolo_v3 import COCO_PRIORS_TINY


def get_config(arg=""):
    given = arguments(arg, size=416, darknet=False, smoke=False)
    config = yolo_v3_coco.get_config(f"size={given.size}")
    config.task.model.backbone = node(models.Darknet, stages=TINY, pools=TINY_POOLS)
    config.task.model.update(endpoints=("stage7", "stage5"), priors=COCO_PRIORS_TINY)
    config.task.model.update(masks=((3, 4, 5), (0, 1, 2)), neck=((256,), ()))
    config.task.model.update(out=(512, 256), lateral=(128,))
    config.init.weights = config.expect = None
    if given.darknet:
        yolo_v1_voc0712.as_darknet(config)
    return yolo_v3_voc0712.tiny(config) if given.smoke else config
