"""Does it help to add the scores of finer maps? FCN-32s, 16s, 8s.

lecture  UBC CPSC 532L, lecture 5, Tsinghua 80240743, topic 5 and KTH DD2424, lecture 7: fully
         convolutional networks
paper    Shelhamer et al., the journal version of "Fully Convolutional Networks", 2016: 63.6, 65.0
         and 65.5 % mean IoU on VOC 2011's validation images
cost     full: 3 × 3 runs of 30,000 steps; twin: 3 × 3 runs of 250 steps
regime   128 shapes of 64×64 pixels, 250 steps of 16 images, from scratch, measured on the training
         images: what an architecture can draw
run      python launch.py --config experiments/sweeps/fcn_strides.py --sweep
twin     python launch.py --config experiments/sweeps/fcn_strides.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/fcn_strides.py:smoke

The full sweep is VGG-16's on VOC, by the modern recipe of fcn32s_vgg16_voc.py, all at once. The
twin asks it of a small ResNet on embedded shapes of 64×64 pixels, of which FCN-32s has a map of
2×2, on the images that it is trained on.
"""

from experiments import fcn8s_vgg16_voc
from experiments.shared import embedded
from vision_jax import models
from vision_jax.config import arguments, node
from vision_jax.report import Claim

STRIDE, SKIPS = "task.model.stride", "task.model.head.skips"
PUBLISHED = {32: 63.6, 16: 65.0, 8: 65.5}  # mean IoU in percent, VOC 2011
TWIN = {32: (), 16: ("conv4_x",), 8: ("conv4_x", "conv3_x")}


def get_config(arg=""):
    given = arguments(arg, smoke=False, twin=False)
    if given.smoke:
        return fcn8s_vgg16_voc.get_config("smoke")
    config = fcn8s_vgg16_voc.get_config("recipe=modern,at_once")
    config.task.model.scales = ()  # as many as skips, of which there are fewer in the others
    if given.twin:
        config.task.model = tiny()
        embedded.twin_segmentation(config, steps=250)
    return config


def tiny():
    """Makes an FCN-8s on a ResNet of ten layers, 16 to 128 channels."""
    return node(
        models.FCN,
        backbone=node(models.ResNet, stages=(1, 1, 1, 1), block="basic", width=16),
        head=node(models.FCNHead, num_classes=embedded.SEGMENTED, hidden=(), skips=TWIN[8]),
    )


def setting(stride, argument):
    """Returns the settings that a run with that stride changes."""
    return {SKIPS: TWIN[stride]} if "twin" in argument else {STRIDE: stride}


def sweep(add, argument=""):
    for stride in TWIN:
        for seed in range(3):
            add(f"fcn{stride}s-seed{seed}", **setting(stride, argument), seed=seed)


def claims(argument=""):
    scale = "VGG-16 on VOC, from ImageNet's weights"
    pairs = ((16, 32), (8, 16), (8, 32))
    return tuple(
        Claim(
            f"FCN-{fine}s has the higher {name} than FCN-{coarse}s",
            f"eval/{metric}",
            higher=setting(fine, argument),
            lower=setting(coarse, argument),
            scale=scale,
            published=f"mean IoU {PUBLISHED[fine]} against {PUBLISHED[coarse]} %"
            if metric == "miou"
            else "",
        )
        for name, metric in (("mean IoU", "miou"), ("boundary F", "boundary_f"))
        for fine, coarse in pairs
    )
