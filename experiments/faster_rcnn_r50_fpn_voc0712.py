"""Faster R-CNN on ResNet-50 with a feature pyramid on PASCAL VOC 2007 + 2012.

paper    Lin et al., "Feature Pyramid Networks for Object Detection", 2017
needs    ResNet-50 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   79.5 % mAP on VOC 2007's test set, by its rules (OpenMMLab's MMDetection)
cost     12 epochs, 12,400 steps of 16 images of 600 to 1000 pixels
run      python launch.py --config experiments/faster_rcnn_r50_fpn_voc0712.py
smoke    python launch.py --config experiments/faster_rcnn_r50_fpn_voc0712.py:smoke
"""

from experiments.shared import rcnn
from vision_jax.config import arguments


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    model = rcnn.resnet_fpn(num_classes=rcnn.VOC_CLASSES)
    config = rcnn.voc_resnet(model, 0.795, "MMDetection, faster_rcnn_r50_fpn_1x_voc0712")
    return rcnn.smoke(config, rcnn.tiny_fpn()) if given.smoke else config
