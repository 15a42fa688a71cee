"""Keypoint R-CNN on ResNet-50 with a feature pyramid on COCO's people.

paper    He et al., "Mask R-CNN", 2017, section 5
needs    ResNet-50 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   64.0 % AP of keypoints on val2017, and 53.6 % of boxes (detectron2, R50-FPN 1x)
cost     90,000 steps of 16 images of up to 800×1333 pixels
run      python launch.py --config experiments/keypoint_rcnn_r50_fpn_coco.py
smoke    python launch.py --config experiments/keypoint_rcnn_r50_fpn_coco.py:smoke

detectron2 leaves images without labelled keypoints out of training; here they are background.
`published=NAME` takes a network of the zoo with its weights, such as
detectron2/keypoint_rcnn_R_50_FPN_3x.
"""

from experiments.shared import rcnn
from vision_jax import data, models
from vision_jax.config import arguments, node
from vision_jax.data.shapes_draw import KEYPOINTS

FIELDS = ("objects", "keypoints")


def get_config(arg=""):
    given = arguments(arg, smoke=False, published="")
    source = "detectron2, keypoint_rcnn_R_50_FPN_1x"
    model = rcnn.resnet_fpn(num_classes=1, keypoint=models.KeypointHead)
    published = given.published
    config = rcnn.coco(model, "eval/keypoint_ap", 0.64, source, fields=FIELDS, published=published)
    if given.smoke:
        settings = {"keypoints": len(KEYPOINTS), "pool": rcnn.tiny_pool(4), "widths": (8,)}
        keypoint = node(models.KeypointHead, **settings)
        return rcnn.smoke(config, rcnn.tiny_fpn(keypoint=keypoint), FIELDS)
    for pipeline in (config.train, config.eval):
        pipeline.source = node(data.OneClass, source=pipeline.source, name="person")
    return config
