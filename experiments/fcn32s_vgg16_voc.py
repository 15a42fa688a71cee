"""FCN-32s on VGG-16 on PASCAL VOC: one prediction for 32×32 pixels, upsampled.

paper    Long et al., "Fully Convolutional Networks for Semantic Segmentation", 2015, and its
         journal version (Shelhamer et al., 2016), whose numbers these are
data     SBD's 8,498 training images; evaluated on VOC 2012's validation images that are not among
         them. The paper's numbers are of VOC 2011's (736 images)
needs    VGG-16 of ImageNet for inputs of 0..255 less the mean, as Caffe's are, which is fetched
         from pytorch-fcn, or --config.init.weights=FILE in torchvision's names: fully connected
         layers become convolutions, and without them nothing is learned
expect   mean IoU 63.6 % (journal version; the first version's recipe reaches less)
cost     100,000 steps of one image of 500×500 pixels
run      python launch.py --config experiments/fcn32s_vgg16_voc.py
         python launch.py --config experiments/fcn32s_vgg16_voc.py:recipe=modern
smoke    python launch.py --config experiments/fcn32s_vgg16_voc.py:smoke

`recipe=heavy` is the paper's: one image per step, the loss summed over its pixels, momentum 0.99, a
rate of 1e-10 (twice that for biases, which do not decay), no augmentation. `recipe=modern` is of
today: crops of 480 at random scales and mirrored, 16 at a time, the mean over pixels, a rate that
falls to zero; its weights are torchvision's own, with ImageNet's mean and std, and fc6 is padded
instead of the image. `base=alexnet|googlenet|resnet50` takes another backbone; `heavy` then needs
its weights for Caffe's inputs as `alexnet_caffe.safetensors`. FCN-AlexNet is published with 48.0 %.
`multiscale`, with `--mode evaluate`, averages six scales and their mirror images.
"""

from experiments.shared import embedded
from vision_jax import data, models, tasks
from vision_jax.config import arguments, node
from vision_jax.evaluation import BoundaryF, Segmentation
from vision_jax.models.segmenters.fcn import find_base
from vision_jax.training import Expect, Experiment, Stage, optimizer, schedule

CLASSES = 21
SIDE = 500  # of VOC's largest images
MIOU = {32: 0.636, 16: 0.650, 8: 0.655}
SOURCE = "Shelhamer et al. 2016, on VOC 2011's validation images that SBD does not train on"
HEAVY_RATES = {32: 1e-10, 16: 1e-12, 8: 1e-14}
# Classifiers to start from, by their names or files.
HEAVY_START = {
    "vgg16": "wkentaro/vgg16_from_caffe",
    **{base: f"{base}_caffe.safetensors" for base in ("alexnet", "googlenet", "resnet50")},
}
MODERN_START = {
    "vgg16": "torchvision/vgg16-397923af",
    "alexnet": "torchvision/alexnet-owt-7be5be79",
    "googlenet": "torchvision/googlenet-1378be20",
    "resnet50": "torchvision/resnet50-0676ba61",
}
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


def get_config(arg="", stride=32):
    """Makes the config; the siblings with skips pass their stride, and train in stages."""
    given = arguments(
        arg, base="vgg16", recipe="heavy", at_once=False, multiscale=False, smoke=False
    )
    heavy = given.recipe == "heavy"
    layers = find_base(given.base).backbone.layers
    config = node(
        Experiment,
        task=node(
            tasks.Segmentation,
            model=node(models.fcn, base=given.base, stride=32, published=heavy, layers=layers),
            mean=tasks.CAFFE_MEAN if heavy else tasks.IMAGENET_MEAN,
            std=tasks.CAFFE_STD if heavy else tasks.IMAGENET_STD,
            normalize_loss="sum" if heavy else "pixels",
        ),
        **pipelines(),
        metrics={
            "segmentation": node(Segmentation, num_classes=CLASSES),
            "boundary": node(BoundaryF, num_classes=CLASSES),
        },
        optimizer=node(
            optimizer.Optimizer,
            rule=node(optimizer.Sgd, momentum=0.99),
            schedule=node(schedule.Constant, value=HEAVY_RATES[32]),
            decay=5e-4,
            decay_vectors=False,
            groups=((".*/bias", 2.0),),
        ),
        steps=100_000,
        eval_every=4000,
        log_every=100,
        best="eval/miou",
        expect=node(Expect, metric="eval/miou", value=MIOU[stride], source=SOURCE),
    )
    if (given.base, stride, heavy) == ("alexnet", 32, True):
        config.expect.value = 0.480
    elif not heavy or given.base != "vgg16":
        config.expect = None
    config.init.weights = HEAVY_START[given.base] if heavy else MODERN_START[given.base]
    if not heavy:
        modern(config)
    config.task.model.stride = stride
    if given.at_once:
        config.task.model.scales = (1e-2, 1e-4)[: {32: 0, 16: 1, 8: 2}[stride]]
    else:
        config.stages = in_stages(config, stride, HEAVY_RATES if heavy else None)
    if given.multiscale:
        config.task.test = node(tasks.MultiScale, scales=SCALES, flip=True)
    return tiny(config) if given.smoke else config


def pipelines():
    """Makes the pipelines of whole images, filled up with void to one size.

    The filling changes no pixel's score but at the border.
    """
    voc = {"name": "voc_segmentation/2012_aug", "fields": ("segmentation",)}
    pad = (node(data.Pad, height=SIDE, width=SIDE),)
    return {
        "train": node(
            data.Train,
            source=node(data.TFDS, split="sbd_train", **voc),
            transforms=pad,
            batch_size=1,
        ),
        "eval": node(
            data.Eval,
            source=node(data.TFDS, split="validation_less_sbd", **voc),
            transforms=pad,
            batch_size=8,
        ),
    }


def modern(config):
    """Sets scales, crops and mirror images, a larger batch and a falling rate, in place."""
    config.train.transforms = (
        node(data.RandomScale, factor=(0.5, 2.0)),
        node(data.RandomCrop, size=480),
        node(data.RandomFlip),
    )
    config.train.batch_size = 16
    config.optimizer = node(
        optimizer.Optimizer,
        rule=node(optimizer.Sgd, momentum=0.9),
        schedule=node(schedule.Polynomial, value=0.01),
        decay=1e-4,
        decay_vectors=False,
    )
    config.steps = 30_000


def in_stages(config, stride, rates):
    """Makes the stages: 32s, then 16s from it, then 8s from that, down to `stride`.

    There are none for 32s alone.
    """
    stages, before = [], None
    for now in (now for now in MIOU if now >= stride):
        changes = [("task.model.stride", now)]
        if before:
            changes.append(("init.weights", f"stage:{before}"))
        if rates:
            changes.append(("optimizer.schedule.value", rates[now]))
        if config.expect:
            changes.append(("expect.value", MIOU[now]))
        before = f"{now}s"
        stages.append(node(Stage, name=before, changes=tuple(changes)))
    return tuple(stages) if len(stages) > 1 else ()


def tiny(config):
    """Turns the config into the smoke of all FCNs on VGG: one program, with both skips."""
    config.task.model = node(
        models.FCN,
        backbone=node(models.VGG, kernels=((3,),) * 5, width=8, ceil_mode=True),
        head=node(
            models.FCNHead,
            num_classes=embedded.SEGMENTED,
            hidden=(16,),
            window=3,
            skips=("pool4", "pool3"),
        ),
    )
    config.stages, config.init.weights = (), None
    return embedded.smoke_segmentation(config)
