"""R-FCN on ResNet-101 on PASCAL VOC 2007 + 2012.

paper    Dai et al., "R-FCN: Object Detection via Region-based Fully Convolutional Networks", 2016
needs    ResNet-101 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   79.4 % mAP on VOC 2007's test set, by its rules (the authors' repository, both stages
         trained at once); 79.5 % with the paper's alternating schedule
cost     110,000 steps of 2 images of 600 to 1000 pixels
run      python launch.py --config experiments/rfcn_r101_voc0712.py
smoke    python launch.py --config experiments/rfcn_r101_voc0712.py:smoke

The authors' classifier strides in its first 1x1 convolutions, torchvision's in its 3x3.
"""

from experiments.shared import rcnn
from vision_jax import models
from vision_jax.config import arguments, node

FRESH = "(?!backbone/|score_maps/body/).*"  # all that no classifier has


def get_config(arg="", network=models.RFCNResNet101, weights=rcnn.RESNET101, value=0.794):
    given = arguments(arg, smoke=False)
    model = network(num_classes=rcnn.VOC_CLASSES, version="v1.5")
    config = rcnn.voc(model, (2007, 2012), value, "the authors' repository, end to end")
    recipe(config, weights)
    config.optimizer = rcnn.sgd(1e-3, (80_000,), 0, 5e-4, rcnn.RESNET_TRAINED)
    config.optimizer.decay_vectors, config.optimizer.groups = False, ((".*/bias", 2.0),)
    config.steps, config.eval_every, config.checkpoint_every = 110_000, 10_000, 5000
    return rcnn.smoke(config, tiny()) if given.smoke else config


def recipe(config, weights):
    """Starts all that classifiers have from one of them."""
    config.init.weights, config.init.reinitialize = weights, FRESH


def tiny():
    """Makes a network with parts of all names that the recipe speaks of."""
    return node(
        models.RFCN,
        backbone=rcnn.tiny_backbone(),
        pyramid=node(models.OneMap, endpoint="conv3_x"),
        rpn=rcnn.tiny_rpn((12.0, 24.0)),
        head=head(8, max_detections=4),
        score_maps=maps(blocks=1, width=8, bins=3),
    )


def head(hardest, **changes):
    """Makes the settings of a second stage that learns from so many regions of an image."""
    fixed = {"class_specific": False, "hard_examples": True, "beta": 1.0}
    return node(models.BoxHead, batch_size_per_image=hardest, **fixed | changes)


def maps(blocks, width, bins, **layers):
    """Makes score maps behind a dilated stage of `blocks`, `width` wide."""
    body = node(
        models.ResNetStage,
        blocks=blocks,
        width=width,
        stride=1,
        dilations=(2,) * blocks,
        stage=4,
        **layers,
    )
    return node(models.ScoreMaps, body=body, width=4 * width, bins=bins)
