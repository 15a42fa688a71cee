"""FCOS on ResNet-50 with a feature pyramid on COCO.

paper    Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection", 2019, section 4
needs    ResNet-50 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   38.7 % AP on val2017 (AdelaiDet, FCOS_R_50_1x, whose points are in the middles of cells)
cost     90,000 steps of 16 images of up to 800×1333 pixels
run      python launch.py --config experiments/fcos_r50_fpn_coco.py
smoke    python launch.py --config experiments/fcos_r50_fpn_coco.py:smoke

It is the network that torchvision publishes with 39.2 % AP. To fine-tune that one, give
`--config.init.weights=torchvision/fcos_resnet50_fpn_coco-99b0c9b7`.
"""

from experiments.shared import rcnn
from vision_jax import models
from vision_jax.config import arguments

# The backbone's norms stay as they are, the towers' do not.
TRAINED = ("(?!backbone/conv1/|backbone/conv2_|backbone/.*/norm/).*",)


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    model = models.FCOSResNet50FPN()
    config = rcnn.coco(model, value=0.387, source="AdelaiDet, FCOS_R_50_1x", rate=0.01)
    config.optimizer.trainable = TRAINED
    return rcnn.smoke(config, rcnn.tiny_fcos()) if given.smoke else config
