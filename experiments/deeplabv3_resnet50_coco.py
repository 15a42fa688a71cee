"""DeepLabv3 on a dilated ResNet-50 on COCO with VOC's classes, torchvision's recipe.

paper    Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017
data     as of fcn_resnet50_coco.py, which has the details and the arguments
needs    ResNet-50 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   mean IoU 66.4 % (torchvision, DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1)
cost     30 epochs of some 93,000 crops of 480×480
run      python launch.py --config experiments/deeplabv3_resnet50_coco.py
smoke    python launch.py --config experiments/deeplabv3_resnet50_coco.py:smoke
"""

from experiments import fcn_resnet50_coco
from vision_jax import models
from vision_jax.config import node


def get_config(arg=""):
    config = fcn_resnet50_coco.get_config(
        arg, models.DeepLabV3ResNet50, miou=0.664, name="DeepLabV3_ResNet50"
    )
    if "smoke" in arg.split(","):
        config.task.model.head = node(
            models.PyramidHead, num_classes=config.task.model.aux.num_classes, rates=(2,), width=8
        )
    return config
