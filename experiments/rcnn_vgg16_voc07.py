"""R-CNN on VGG-16 on PASCAL VOC 2007.

paper    Girshick et al., "Rich feature hierarchies for accurate object detection and semantic
         segmentation", 2014, section 3.3 ("O-Net")
needs    VGG-16 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   66.0 % mAP on VOC 2007's test set (the paper, unchecked, so not compared)
cost     proposals of 9,963 images; 70,000 steps of 128 warped regions; a pass over the training
         set, whose features take up to 170 GB; a pass over the test set, 47 s per image on a GPU
         of 2014
run      python launch.py --config experiments/rcnn_vgg16_voc07.py
         python launch.py --config experiments/rcnn_vgg16_voc07.py:proposals=proposals
smoke    python launch.py --config experiments/rcnn_vgg16_voc07.py:smoke

The stages and `proposals` are those of rcnn_alexnet_voc07.py.
"""

from experiments.rcnn_alexnet_voc07 import finished
from experiments.shared import rcnn, regions
from vision_jax import models
from vision_jax.config import arguments


def get_config(arg=""):
    given = arguments(arg, proposals="", stages=False, smoke=False)
    return finished(regions.voc(models.RCNNVGG16(rcnn.VOC_CLASSES)), given)
