"""SSD300 on VGG-16 on PASCAL VOC 2007 + 2012, the paper's recipe.

paper    Liu et al., "SSD: Single Shot MultiBox Detector", 2016, with its later "expansion"
         augmentation (section 3.6)
needs    VGG-16 of ImageNet in ssd.pytorch's form, which is fetched from there, or
         --config.init.weights=FILE: a classifier in torchvision's names gives the backbone alone
expect   77.2 % mAP on VOC 2007's test set, by VOC 2007's rules (the authors' repository; 77.43 %
         from ssd.pytorch, which has 58.12 % without augmentation)
cost     120,000 steps of 32 images, 31.4 G multiply-adds forward each
run      python launch.py --config experiments/ssd300_vgg16_voc0712.py
smoke    python launch.py --config experiments/ssd300_vgg16_voc0712.py:smoke

`plain` leaves the augmentation out. Published weights, ssd.pytorch's `.pth` or the authors'
`.caffemodel`, are measured by `--mode evaluate --config.init.weights=FILE
--config.init.reinitialize=`; ssd.pytorch's need `--config.task.model.default_boxes.clip=all`.
"""

from experiments.shared import embedded
from vision_jax import data, models, tasks
from vision_jax.config import arguments, node
from vision_jax.evaluation import VOC
from vision_jax.training import Expect, Experiment, optimizer, schedule

CLASSES = 20
MEAN = (123 / 255, 117 / 255, 104 / 255)  # R, G, B
FRESH = "(?!backbone/|fc6/|fc7/).*"  # paths that no classifier has


def get_config(arg="", size=300, ap50=0.772):
    """Makes the experiment; SSD512 passes its size and its expected AP50."""
    given = arguments(arg, plain=False, smoke=False)
    model = node({300: models.SSD300, 512: models.SSD512}[size], num_classes=CLASSES)
    config = node(
        Experiment,
        task=node(tasks.Detection, model=model, mean=MEAN, std=tasks.CAFFE_STD),
        train=node(
            data.Train,
            source=node(
                data.Concat,
                sources=tuple(
                    node(
                        data.TFDS,
                        name=f"voc/{year}",
                        split="train+validation",
                        fields=("objects",),
                    )
                    for year in (2007, 2012)
                ),
            ),
            transforms=transforms(size),
            batch_size=32,
        ),
        eval=node(
            data.Eval,
            source=node(data.TFDS, name="voc/2007", split="test", fields=("objects",)),
            transforms=(node(data.StretchTo, size=size),),
            batch_size=32,
        ),
        metrics={"voc": node(VOC, num_classes=CLASSES, eleven_points=True)},
        optimizer=node(
            optimizer.Optimizer,
            rule=node(optimizer.Sgd, momentum=0.9),
            schedule=node(schedule.Step, value=1e-3, boundaries=(80_000, 100_000), unit="steps"),
            decay=5e-4,
            decay_vectors=False,
            groups=((".*/bias", 2.0),),
        ),
        steps=120_000,
        eval_every=10_000,
        checkpoint_every=5000,
        log_every=100,
        best="eval/ap50",
        expect=node(
            Expect, metric="eval/ap50", value=ap50, source=f"SSD{size}, the authors' repository"
        ),
    )
    config.init.weights, config.init.reinitialize = "amdegroot/vgg16_reducedfc", FRESH
    if given.plain:
        config.train.transforms, config.expect = (node(data.StretchTo, size=size),), None
    return tiny(config) if given.smoke else config


def transforms(size):
    """Makes the paper's: colours, zoom out, crops that overlap an object enough, mirror images."""
    return (
        node(data.PhotometricDistortion),
        node(data.Expand),
        node(data.IoUCrop),
        node(data.StretchTo, size=size),
        node(data.RandomFlip),
    )


def tiny(config):
    """Makes the smoke of all SSDs on VGG: one program, with every layer that is SSD's own."""
    config.task.model = node(
        models.SSD,
        backbone=node(
            models.VGG, kernels=((3,),) * 5, width=8, keep=("conv4_1", "conv5_1"), ceil_mode=True
        ),
        default_boxes=tiny_boxes(),
        feature_endpoints=("conv4_1",),
        l2_normalized=("conv4_1",),
        extra_layers_from="conv5_1",
        fc=16,
        extras=((16, 32, 3, 2, 1),),
        max_detections=20,
    )
    config.init.weights = config.init.reinitialize = None
    embedded.smoke_detection(config)
    config.train.transforms = transforms(64)
    return config


def tiny_boxes():
    scales, ratios = (0.15, 0.3, 0.5, 0.7), ((2.0,),) * 3
    return node(models.DefaultBoxes, scales=scales, ratios=ratios, strides=(8, 16, 32))
