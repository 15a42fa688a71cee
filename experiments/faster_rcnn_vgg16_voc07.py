"""Faster R-CNN on VGG-16 on PASCAL VOC 2007, both stages trained together.

paper    Ren et al., "Faster R-CNN", 2015, section 3.2, "approximate joint training"
needs    VGG-16 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   69.9 % mAP on VOC 2007's test set, by its rules (the authors' repository, with the
         alternating schedule of faster_rcnn_vgg16_alternating.py)
cost     35,000 steps of 2 images of 600 to 1000 pixels
run      python launch.py --config experiments/faster_rcnn_vgg16_voc07.py
smoke    python launch.py --config experiments/faster_rcnn_vgg16_voc07.py:smoke

The authors' joint schedule is 70,000 steps of one image with rate 0.001, a tenth after 50,000; here
a step has two images. conv1_1 to conv2_2 stay as they are.
"""

from experiments.shared import rcnn
from vision_jax import models
from vision_jax.config import arguments


def get_config(arg="", years=(2007,), value=0.699):
    """VOC 07+12 passes its years and the number that it should reach."""
    given = arguments(arg, smoke=False)
    model = models.FasterRCNNVGG16(rcnn.VOC_CLASSES)
    config = rcnn.voc(model, years, value, "Ren et al. 2015, the authors' repository")
    return rcnn.smoke(config, rcnn.tiny_one_map()) if given.smoke else config
