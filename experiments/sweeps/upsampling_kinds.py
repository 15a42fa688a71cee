"""Which way up? One encoder and decoder with five kinds of upsampling between the decoder's layers.

lecture  UBC CPSC 532L, lecture 5, Tsinghua 80240743, topic 5 and KTH DD2424, lecture 7: upsampling
         within the network
papers   Badrinarayanan et al., "SegNet", 2015, section 4.2, compares decoders: remembered positions
         against bilinear interpolation and others; the kinds are the lectures'
cost     full: 5 × 3 runs of 60,000 steps; twin: 5 × 3 runs of 160 steps
regime   128 shapes of 64×64 pixels, 160 steps of 16 images, three stages from scratch: stopped
         while the sparse kinds still find little but background
run      python launch.py --config experiments/sweeps/upsampling_kinds.py --sweep
twin     python launch.py --config experiments/sweeps/upsampling_kinds.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/upsampling_kinds.py:smoke

The full sweep is SegNet on VOC. The twin's network has three stages and is measured on the embedded
shapes that it is trained on.
"""

from experiments import segnet_voc
from experiments.shared import embedded
from vision_jax import models
from vision_jax.config import arguments, node
from vision_jax.report import Claim

KINDS = ("unpool", "nails", "nearest", "bilinear", "transposed")


def get_config(arg=""):
    given = arguments(arg, smoke=False, twin=False)
    config = segnet_voc.get_config("smoke" if given.smoke else "")
    if not given.smoke:  # a head of its own, whose `up` the sweep changes
        config.task.model = full()
    if given.twin:
        config.task.model = tiny()
        embedded.twin_segmentation(config, steps=160)
    return config


def full():
    """Makes SegNet on VGG-16, as `models.segnet` makes it, in parts."""
    head = node(models.SegNetHead, num_classes=segnet_voc.CLASSES)
    backbone = node(models.VGG, keep=head.encoder_endpoints, layers=node(models.Layers))
    return node(models.Segmenter, backbone=backbone, head=head)


def tiny():
    """Makes a SegNet of three stages of two convolutions, 12 to 48 channels, and three back."""
    endpoints = ("conv1_2", "conv2_2", "conv3_2")
    vgg = {"kernels": ((3, 3),) * 3, "width": 12, "keep": endpoints}
    head = {"encoder_endpoints": endpoints, "convs": (1, 1, 1)}
    return node(
        models.Segmenter,
        backbone=node(models.VGG, **vgg, layers=node(models.Layers)),
        head=node(models.SegNetHead, num_classes=embedded.SEGMENTED, **head),
    )


def sweep(add, argument=""):
    for kind in KINDS:
        for seed in range(3):
            add(f"{kind}-seed{seed}", **{"task.model.head.up": kind, "seed": seed})


def claims(argument=""):
    scale = "SegNet on street scenes or VOC, from ImageNet's weights"
    pairs = (("unpool", "nails"), ("unpool", "bilinear"), ("transposed", "nails"))
    texts = {"unpool": "remembered positions", "transposed": "transposed convolutions"}
    return tuple(
        Claim(
            f"{texts[better]} reach a higher boundary F than {worse}",
            "eval/boundary_f",
            higher={"task.model.head.up": better},
            lower={"task.model.head.up": worse},
            scale=scale,
        )
        for better, worse in pairs
    )
