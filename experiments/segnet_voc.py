"""SegNet on PASCAL VOC: a decoder that puts maxima back to where the encoder found them.

paper    Badrinarayanan et al., "SegNet", 2015
data     VOC 2012's training images with SBD's; the paper's own numbers are of CamVid, street scenes
         of 11 classes and 360×480 pixels, which is not among the data sets here
needs    VGG-16 of ImageNet with batch norm, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   no number is cited: the published ones are of other data
cost     60,000 steps of 12 crops of 352×352
run      python launch.py --config experiments/segnet_voc.py
smoke    python launch.py --config experiments/segnet_voc.py:smoke

The recipe is the paper's: SGD with a constant rate of 0.1 and momentum 0.9, 12 images per step.
The paper weighs classes by median frequency; `tasks.median_frequency` computes such weights for
--config.task.class_weights, which VOC, whose background is most of every image, does without.
"""

from experiments.shared import embedded
from vision_jax import data, models, tasks
from vision_jax.config import arguments, node
from vision_jax.evaluation import BoundaryF, Segmentation
from vision_jax.training import Experiment, optimizer, schedule

CLASSES, SIDE = 21, 512
ENDPOINTS = ("conv1_1", "conv2_1")  # before the poolings of the smokes' networks


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    config = scenes(node(models.segnet, num_classes=CLASSES), crop=352, side=SIDE, batch_size=12)
    if given.smoke:
        config.task.model = node(
            models.Segmenter,
            backbone=tiny_backbone(),
            head=node(
                models.SegNetHead,
                num_classes=embedded.SEGMENTED,
                encoder_endpoints=ENDPOINTS,
                convs=(1, 1),
            ),
        )
        config.init.weights = None
        embedded.smoke_segmentation(config)
    return config


def scenes(model, crop, side, batch_size):
    """Makes an experiment of random crops of VOC's images, from VGG-16's weights, at SegNet's rate.

    Args:
      model: the network's node.
      crop: side of the training crops, pixels.
      side: of the squares that images are filled up to in evaluation.
      batch_size: crops per step.
    """
    voc = {"name": "voc_segmentation/2012_aug", "fields": ("segmentation",)}
    config = node(
        Experiment,
        task=node(tasks.Segmentation, model=model),
        train=node(
            data.Train,
            source=node(data.TFDS, split="train", **voc),
            transforms=(
                node(data.RandomScale, factor=(0.5, 1.5)),
                node(data.RandomCrop, size=crop),
                node(data.RandomFlip),
            ),
            batch_size=batch_size,
        ),
        eval=node(
            data.Eval,
            source=node(data.TFDS, split="validation", **voc),
            transforms=(node(data.Pad, height=side, width=side),),
            batch_size=8,
        ),
        metrics={
            "segmentation": node(Segmentation, num_classes=CLASSES),
            "boundary": node(BoundaryF, num_classes=CLASSES),
        },
        optimizer=node(
            optimizer.Optimizer,
            rule=node(optimizer.Sgd, momentum=0.9),
            schedule=node(schedule.Constant, value=0.1),
            decay=5e-4,
        ),
        steps=60_000,
        eval_every=4000,
        log_every=100,
        best="eval/miou",
    )
    config.init.weights = "torchvision/vgg16_bn-6c64b313"
    return config


def tiny_backbone():
    """Makes the smokes' backbone, a VGG of two layers."""
    return node(
        models.VGG, kernels=((3,),) * 2, width=8, keep=ENDPOINTS, layers=node(models.Layers)
    )
