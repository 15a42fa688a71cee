"""Faster R-CNN on ResNet-50 with a feature pyramid on COCO.

paper    Lin et al., "Feature Pyramid Networks for Object Detection", 2017, table 3
needs    ResNet-50 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   37.9 % AP on val2017 (detectron2, R50-FPN 1x)
cost     90,000 steps of 16 images of up to 800×1333 pixels
run      python launch.py --config experiments/faster_rcnn_r50_fpn_coco.py
smoke    python launch.py --config experiments/faster_rcnn_r50_fpn_coco.py:smoke

The form is detectron2's but for the ResNet, which is torchvision's; the pixel means too.
`published=NAME` takes a network of the zoo with its weights, such as
torchvision/fasterrcnn_resnet50_fpn_v2_coco-dd69338a or detectron2/faster_rcnn_R_50_FPN_3x.
"""

from experiments.shared import rcnn
from vision_jax.config import arguments


def get_config(arg="", depth=50, value=0.379, source="detectron2, faster_rcnn_R_50_FPN_1x"):
    """A deeper ResNet passes its depth, and the number that it should reach if one is known."""
    given = arguments(arg, smoke=False, published="")
    model = rcnn.resnet_fpn(depth)
    config = rcnn.coco(model, value=value, source=source, published=given.published)
    return rcnn.smoke(config, rcnn.tiny_fpn()) if given.smoke else config
