"""R-FCN on ResNet-101 on COCO; see rfcn_r101_voc0712.py.

needs    ResNet-101 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   27.9 % AP (the authors' repository, on the validation set of 2014; this evaluates val2017)
cost     120,000 steps of 8 images of 600 to 1000 pixels
run      python launch.py --config experiments/rfcn_r101_coco.py
smoke    python launch.py --config experiments/rfcn_r101_coco.py:smoke

Objects are smaller than VOC's, so that anchors begin at 64 pixels.
"""

from experiments import rfcn_r101_voc0712
from experiments.shared import rcnn
from vision_jax import data, models
from vision_jax.config import arguments, node

SIZES = (64.0, 128.0, 256.0, 512.0)


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    model = models.RFCNResNet101(num_classes=80, version="v1.5")
    model = model.clone(rpn=model.rpn.clone(anchor_sizes=(SIZES,)))
    config = rcnn.coco(model, value=0.279, source="the authors' repository, on val2014")
    rfcn_r101_voc0712.recipe(config, rcnn.RESNET101)
    place = (node(data.ResizeShortestEdge, short=(600,), max_long=1000),)
    pad = node(data.Pad, height=1008, width=1008)
    config.train.transforms = (*place, node(data.RandomFlip), pad)
    config.eval.transforms, config.train.batch_size = (*place, pad), 8
    config.optimizer = rcnn.sgd(1e-3, (90_000,), 0, 5e-4, rcnn.RESNET_TRAINED)
    config.steps = 120_000
    return rcnn.smoke(config, rfcn_r101_voc0712.tiny()) if given.smoke else config
