"""FCN on a dilated ResNet-50 on COCO with VOC's classes, torchvision's recipe.

paper    Long et al., 2015, as in torchvision's reference training: the last two stages dilate
         instead of striding, and an auxiliary head scores the stage before
data     COCO 2017's training images with more than 1000 pixels of VOC's twenty classes; all of the
         validation images
needs    ResNet-50 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   mean IoU 60.5 % (torchvision, FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1), there over
         images and labels resized to 520 pixels, here at the original size
cost     30 epochs of some 93,000 crops of 480×480
run      python launch.py --config experiments/fcn_resnet50_coco.py
         python launch.py --config experiments/fcn_resnet50_coco.py:multiscale --mode evaluate
smoke    python launch.py --config experiments/fcn_resnet50_coco.py:smoke

Short sides are drawn from 260 to 1040 pixels, crops of 480 mirrored; 32 images per step, a rate of
0.02 that falls as (1 - progress)^0.9, ten times that for the auxiliary head, whose loss counts
half. `multiscale` averages five scales and their mirror images; `published=NAME` takes a network of
the zoo with its weights, such as torchvision/fcn_resnet101_coco-7ecb50ca.
"""

from experiments.shared import embedded
from vision_jax import data, models, tasks
from vision_jax.config import arguments, node
from vision_jax.evaluation import BoundaryF, Segmentation
from vision_jax.training import Expect, Experiment, optimizer, schedule
from vision_jax.weights import use_published

CLASSES = 21
SHORTS = tuple(range(260, 1041, 20))
LONGEST = 800  # of an evaluated image whose short side is 520, in pixels; a few are longer
ORIGINAL = 640  # of COCO's largest images
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5)


def get_config(arg="", model=models.FCNResNet50, miou=0.605, name="FCN_ResNet50"):
    """Makes the config; DeepLab's experiment passes its own network, and its expected number."""
    given = arguments(arg, multiscale=False, smoke=False, published="")
    whole_image = (
        node(data.ResizeShortestEdge, short=(520,), max_long=LONGEST),
        node(data.Pad, height=LONGEST, width=LONGEST),
    )
    config = node(
        Experiment,
        task=node(
            tasks.Segmentation,
            model=node(model, num_classes=CLASSES),
            test=node(tasks.MultiScale, original=True),
        ),
        train=node(
            data.Train,
            source=coco("train", min_area=1000.0),
            transforms=(
                node(data.ResizeShortestEdge, short=SHORTS, max_long=10_000),
                node(data.RandomFlip),
                node(data.RandomCrop, size=480),
            ),
            batch_size=32,
        ),
        eval=node(
            data.Eval,
            source=coco("validation"),
            transforms=(
                node(data.OriginalLabels, transforms=whole_image, height=ORIGINAL, width=ORIGINAL),
            ),
            batch_size=8,
        ),
        metrics={
            "segmentation": node(Segmentation, num_classes=CLASSES),
            "boundary": node(BoundaryF, num_classes=CLASSES),
        },
        optimizer=node(
            optimizer.Optimizer,
            rule=node(optimizer.Sgd, momentum=0.9),
            schedule=node(schedule.Polynomial, value=0.02, power=0.9),
            decay=1e-4,
            groups=(("aux/.*", 10.0),),
        ),
        epochs=30.0,
        log_every=100,
        best="eval/miou",
        expect=node(
            Expect,
            metric="eval/miou",
            value=miou,
            source=f"torchvision {name}_Weights.COCO_WITH_VOC_LABELS_V1",
        ),
    )
    config.init.weights = "torchvision/resnet50-0676ba61"
    if given.published:
        use_published(config, given.published)
    if given.multiscale:
        config.task.test.scales, config.task.test.flip = SCALES, True
    return config if not given.smoke else tiny(config)


def coco(split, min_area=0.0):
    """Returns COCO's images with VOC's labels."""
    source = node(data.TFDS, name="coco_objects/2017", split=split, fields=("objects", "rle"))
    return node(data.CocoAsVoc, source=source, min_area=min_area)


def tiny(config):
    """Turns the config into the smoke of networks on a dilated backbone, in place."""
    config.task.model = node(
        models.Dilated,
        backbone=node(models.ResNet, stages=(1, 1, 1), block="basic", width=8, dilate=(True, True)),
        head=node(models.ScoreHead, num_classes=embedded.SEGMENTED),
        aux=node(models.ScoreHead, num_classes=embedded.SEGMENTED, layer=1),
        aux_endpoint="conv3_x",
    )
    config.init.weights = None
    embedded.smoke_segmentation(config)
    original = {"transforms": config.eval.transforms, "height": 72, "width": 72}
    config.eval.transforms = (node(data.OriginalLabels, **original),)
    return config
