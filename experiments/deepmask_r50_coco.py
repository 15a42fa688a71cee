"""DeepMask on ResNet-50 on COCO: proposals of masks, of objects of no class.

paper    Pinheiro et al., "Learning to Segment Object Candidates", 2015 (arXiv:1506.06204)
needs    ResNet-50 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   no number is cited: the paper's network is VGG-A; the authors' second code, whose recipe
         this is, has a ResNet-50
cost     1,200,000 steps of 32 windows of 192×192 pixels
run      python launch.py --config experiments/deepmask_r50_coco.py
smoke    python launch.py --config experiments/deepmask_r50_coco.py:smoke

Average recall is measured on 5,000 images by COCO's rules at 10, 100 and 1000 proposals per image,
of boxes (`eval/ar10`) and of masks (`eval/mask_ar10`), whatever the objects' classes are. The paper
trains mask and score on the same windows, as here; its second code draws one of the two for each
batch, and lets masks see another jitter than scores.
"""

from experiments.shared import masks
from vision_jax import models
from vision_jax.config import arguments, node


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    config = masks.coco(node(models.DeepMask, backbone=masks.resnet50()))
    return masks.smoke(config) if given.smoke else config
