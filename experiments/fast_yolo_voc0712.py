"""Fast YOLO on PASCAL VOC 2007 + 2012, as Darknet ships it; the recipe of yolo_v1_voc0712.py.

paper    Redmon et al., "You Only Look Once", 2015, table 1, reports 52.7 % mAP on VOC 2007's test
         set (unchecked)
expect   no number is cited
cost     135 epochs of 16,551 images, 1.6 G multiply-adds forward each
run      python launch.py --config experiments/fast_yolo_voc0712.py
smoke    python launch.py --config experiments/fast_yolo_voc0712.py:smoke

Eight convolutions with batch norm and one fully connected layer, from scratch: the paper's has
nine, is pretrained, and has no norm.
"""

from experiments import yolo_v1_voc0712
from vision_jax import models
from vision_jax.config import arguments, node
from vision_jax.models.classifiers.darknet import FAST


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    model = node(
        models.YOLOv1,
        backbone=node(models.Darknet, stages=FAST),
        num_classes=yolo_v1_voc0712.CLASSES,
        endpoint="stage7",
        convs=(),
        hidden=(),
        dropout=0.0,
        layers=models.Layers(),
    )
    config = yolo_v1_voc0712.voc0712(model, size=448)
    return yolo_v1_voc0712.tiny(config) if given.smoke else config
