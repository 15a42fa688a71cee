"""R-FCN on ResNet-50 on PASCAL VOC 2007 + 2012; see rfcn_r101_voc0712.py.

expect   77.6 % mAP on VOC 2007's test set, by its rules (the authors' repository, both stages
         trained at once)
cost     110,000 steps of 2 images of 600 to 1000 pixels
run      python launch.py --config experiments/rfcn_r50_voc0712.py
smoke    python launch.py --config experiments/rfcn_r50_voc0712.py:smoke
"""

from experiments import rfcn_r101_voc0712
from experiments.shared import rcnn
from vision_jax import models


def get_config(arg=""):
    return rfcn_r101_voc0712.get_config(arg, models.RFCNResNet50, rcnn.RESNET50, 0.776)
