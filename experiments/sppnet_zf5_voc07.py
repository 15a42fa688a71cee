"""SPP-net on ZF-5 on PASCAL VOC 2007: R-CNN's stages on one map per image.

paper    He et al., "Spatial Pyramid Pooling in Deep Convolutional Networks for Visual
         Recognition", 2014, section 4
needs    a run of spp_net_imagenet.py in runs/zf5, or
         --config.init.weights=FILE
expect   58.0 % mAP on VOC 2007's test set at one scale, 59.2 % at five (the paper, unchecked, so
         not compared)
cost     proposals of 9,963 images; 300,000 steps of 128 regions; a pass over the training set,
         whose features take up to 170 GB; a pass over the test set
run      python launch.py --config experiments/sppnet_zf5_voc07.py
         python launch.py --config experiments/sppnet_zf5_voc07.py:scales=5
smoke    python launch.py --config experiments/sppnet_zf5_voc07.py:smoke

The stages and `proposals` are those of rcnn_alexnet_voc07.py; the convolutions stay as they are.
`scales=5` computes maps at 480, 576, 688, 864 and 1200 pixels of the short side, and pools each
region where it has about 208 pixels a side, as the released code does (the paper says 224). Images
come in with short sides of 688 pixels, so that the other scales are made from these.
"""

from experiments.rcnn_alexnet_voc07 import finished
from experiments.shared import rcnn, regions
from vision_jax import data, models
from vision_jax.config import UserError, arguments, node

SCALES = {1: (688,), 5: (480, 576, 688, 864, 1200)}
LONG = 1200  # most pixels of the long side


def get_config(arg=""):
    given = arguments(arg, proposals="", scales=1, stages=False, smoke=False)
    if given.scales not in SCALES:
        raise UserError(f"scales={given.scales} is neither 1 nor 5")
    model = models.SPPNetDetectorZF5(rcnn.VOC_CLASSES, SCALES[given.scales])
    config = regions.voc(model)
    place = node(data.ResizeShortestEdge, short=(688,), max_long=LONG)
    pad = node(data.Pad, height=LONG, width=LONG)
    config.train.transforms = (place, node(data.RandomFlip), pad)
    config.eval.transforms = (place, pad)
    config.train.batch_size = 2
    config.steps, config.optimizer.schedule.boundaries = 300_000, (250_000,)
    config.optimizer.schedule.value = 1e-4
    config.eval_every = 300_000
    config.optimizer.trainable = regions.HEAD_ONLY
    config.init.weights = "runs/zf5"
    return finished(config, given, regions.small_spp)
