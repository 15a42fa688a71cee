"""R-CNN on AlexNet on PASCAL VOC 2007: every proposal warped, classified by SVMs, and refined.

paper    Girshick et al., "Rich feature hierarchies for accurate object detection and semantic
         segmentation", 2014
needs    AlexNet of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   58.5 % mAP on VOC 2007's test set with the regression of boxes, 54.2 % without, for
         CaffeNet (the authors' README); of torchvision's AlexNet no number is known
cost     proposals of 9,963 images; 70,000 steps of 128 warped regions; a pass over the training
         set, whose features take up to 170 GB; a pass over the test set
run      python launch.py --config experiments/rcnn_alexnet_voc07.py
         python launch.py --config experiments/rcnn_alexnet_voc07.py:proposals=proposals
smoke    python launch.py --config experiments/rcnn_alexnet_voc07.py:smoke

Stages: `trainval` and `test` write proposals of selective search; `finetune` trains the network
with a softmax over the classes and background; `features` writes fc7 and pool5 of all regions to
disk; `svm` trains a linear SVM per class on them, with hard negatives; `boxes` the regressors.
`proposals=NAME` reads NAME_trainval.npz and NAME_test.npz in place of the first two, which
`python -m vision_jax.proposals` makes with several workers (docs/proposals.md). `caffenet` takes
the paper's network in place of torchvision's, with
--config.init.weights=bvlc_reference_caffenet.caffemodel. (The smoke is one stage;
`:smoke,stages` goes through all.)
"""

from experiments.shared import rcnn, regions
from vision_jax import models
from vision_jax.config import arguments

ALEXNET = "torchvision/alexnet-owt-7be5be79"


def get_config(arg=""):
    given = arguments(arg, proposals="", caffenet=False, stages=False, smoke=False)
    make = models.RCNNAlexNet if given.caffenet else models.RCNNAlexNet2014
    config = regions.voc(make(rcnn.VOC_CLASSES))
    config.init.weights = None if given.caffenet else ALEXNET
    return finished(config, given)


def finished(config, given, small=regions.small):
    """Returns the smoke, of a network that `small` makes, or the experiment with its stages."""
    if given.smoke:
        regions.smoke(config, small(width=4), given.stages)
        if not given.stages:
            return config
    method = regions.search(small_images=given.smoke)
    count = 16 if given.smoke else 2000
    return regions.staged(config, method, count, given.proposals or None)
