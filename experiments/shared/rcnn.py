"""The R-CNN family's shared parts: data, recipes, and the networks of smokes and twins."""

from experiments.shared import embedded
from vision_jax import data, models, tasks
from vision_jax.config import node
from vision_jax.evaluation import COCO, VOC, Prefixed
from vision_jax.models import Layers
from vision_jax.models.classifiers.resnet import DEPTHS
from vision_jax.models.detectors.retinanet import octave_sizes
from vision_jax.training import Expect, Experiment, optimizer, schedule
from vision_jax.weights import use_published

# torchvision's classifiers; --config.init.weights names another.
RESNET50, RESNET101 = "torchvision/resnet50-0676ba61", "torchvision/resnet101-63fe2227"
VGG16 = "torchvision/vgg16-397923af"
# Paths that no classifier has.
FRESH, FRESH_VGG = "(?!backbone/).*", "(?!backbone/|head/fc[67]/).*"
# A ResNet's first two stages and all its norms stay as they are; of VGG the first four layers.
RESNET_TRAINED = ("(?!backbone/conv1/|backbone/conv2_|.*/norm/).*",)
VGG_TRAINED = ("(?!backbone/conv[12]_|rpn_backbone/conv[12]_).*",)
VOC_CLASSES = 20


def coco(
    model,
    metric="eval/ap",
    value=None,
    source="",
    rate=0.02,
    fields=("objects",),
    published="",
):
    """Makes a training on COCO as in detectron2's "1x": 90,000 steps of 16 images.

    Args:
      model: the network, or its node.
      metric, value, source: the number to reach, or None.
      rate: the highest learning rate.
      fields: of the sources.
      published: a name of the zoo, whose network and weights are taken in place of `model`.
    """
    coco = {"name": "coco/2017", "fields": fields}
    kinds = {"rle": ("bbox", "segm"), "keypoints": ("bbox", "keypoints")}.get(fields[-1], ("bbox",))
    mirror = data.KEYPOINT_MIRROR if "keypoints" in fields else ()
    pad = node(data.Pad, height=1344, width=1344)
    task = node(tasks.Detection, model=model)
    config = node(
        Experiment,
        task=task,
        train=node(
            data.Train,
            source=node(data.TFDS, split="train", **coco),
            transforms=(
                node(data.ResizeShortestEdge, short=(640, 672, 704, 736, 768, 800)),
                node(data.RandomFlip, mirror=mirror),
                pad,
            ),
            batch_size=16,
        ),
        eval=node(
            data.Eval,
            source=node(data.TFDS, split="validation", **coco),
            transforms=(node(data.ResizeShortestEdge), pad),
            batch_size=8,
        ),
        metrics={"coco": node(COCO, num_classes=task.model.num_classes, iou_types=kinds)},
        optimizer=sgd(rate, (60_000, 80_000), 1000, 1e-4, RESNET_TRAINED),
        steps=90_000,
        eval_every=15_000,
        checkpoint_every=5000,
        log_every=50,
        best="eval/ap",
    )
    config.init.weights, config.init.reinitialize = RESNET50, FRESH
    if value:
        config.expect = node(Expect, metric=metric, value=value, source=source)
    if published:
        use_published(config, published)
    return config


def voc(model, years=(2007,), value=None, source="", short=600, max_long=1000):
    """Makes a training on VOC's trainval, tested on 2007's test set by its rules.

    The recipe is VGG-16's of the first Faster R-CNN: two images per step, not augmented but for
    mirror images, biases with twice the rate and no decay.

    Args:
      model: the network, or its node.
      years: whose trainval is trained on.
      value, source: AP50 to reach, or None.
      short, max_long: sides of images; they are padded to squares of `max_long`.
    """
    sources = tuple(
        node(data.TFDS, name=f"voc/{year}", split="train+validation", fields=("objects",))
        for year in years
    )
    side = -(-max_long // 16) * 16
    place = (node(data.ResizeShortestEdge, short=(short,), max_long=max_long),)
    pad = node(data.Pad, height=side, width=side)
    config = node(
        Experiment,
        task=node(tasks.Detection, model=model),
        train=node(
            data.Train,
            source=sources[0] if len(sources) == 1 else node(data.Concat, sources=sources),
            transforms=(*place, node(data.RandomFlip), pad),
            batch_size=2,
        ),
        eval=node(
            data.Eval,
            source=node(data.TFDS, name="voc/2007", split="test", fields=("objects",)),
            transforms=(*place, pad),
            batch_size=4,
        ),
        metrics={"voc": node(VOC, num_classes=VOC_CLASSES, eleven_points=True)},
        optimizer=sgd(1e-3, (25_000,), 0, 5e-4, VGG_TRAINED),
        steps=35_000,
        eval_every=5000,
        checkpoint_every=2500,
        log_every=50,
        best="eval/ap50",
    )
    config.optimizer.decay_vectors, config.optimizer.groups = False, ((".*/bias", 2.0),)
    config.init.weights, config.init.reinitialize = VGG16, FRESH_VGG
    if value:
        config.expect = node(Expect, metric="eval/ap50", value=value, source=source)
    return config


def voc_resnet(model, value=None, source=""):
    """Makes a ResNet-50's training on VOC 07+12, the recipe of OpenMMLab's VOC models.

    16 images per step, 12 epochs of the 16,551 images, the rate divided by ten after nine.
    """
    config = voc(model, (2007, 2012), value, source)
    config.train.batch_size = 16
    config.optimizer = sgd(0.01, (9300,), 500, 1e-4, RESNET_TRAINED)
    config.steps, config.eval_every, config.checkpoint_every = 12_400, 3100, 3100
    config.init.weights, config.init.reinitialize = RESNET50, FRESH
    return config


def sgd(rate, boundaries, warm_up, decay, trainable):
    """Makes SGD with momentum 0.9; the rate falls to a tenth at steps, after a linear warm-up."""
    rates = node(schedule.Step, value=rate, boundaries=boundaries, unit="steps")
    if warm_up:
        start = rate / 1000
        rates = node(schedule.WarmUp, then=rates, length=warm_up, unit="steps", start=start)
    rule = node(optimizer.Sgd, momentum=0.9)
    return node(optimizer.Optimizer, rule=rule, schedule=rates, decay=decay, trainable=trainable)


def resnet_fpn(depth=50, num_classes=80, **heads):
    """Makes Faster R-CNN on a pyramid in detectron2's form, with `heads`: a node of all knobs."""
    blocks, block = DEPTHS[depth]
    layers = Layers(norm="frozen")
    pool = {"sampling_ratio": 0, "aligned": True, "levels": 4}
    region_heads = {
        name: node(head, pool=node(models.RegionPool, size=14, **pool), layers=layers)
        for name, head in heads.items()
    }
    return node(
        models.FasterRCNN,
        backbone=node(models.ResNet, stages=blocks, block=block, layers=layers),
        num_classes=num_classes,
        pyramid=node(models.FPN, layers=layers),
        rpn=node(
            models.RPN,
            anchor_rounding="exact",
            anchor_stride="level",
            train_post_nms_top_n=1000,
            beta=0.0,
            layers=layers,
        ),
        head=node(models.BoxHead, pool=node(models.RegionPool, **pool), beta=0.0, layers=layers),
        **region_heads,
    )


def smoke(config, model, fields=("objects",)):
    """Turns the experiment into one of a tiny network on a few embedded images."""
    config.task.model = model
    config.init.weights = config.init.reinitialize = None
    config.stages = ()
    embedded.smoke_detection(config, fields=fields)
    return config


def twin(config, model, steps, images=2000, fields=("objects",)):
    """Turns a detection experiment into a sweep's twin: 64×64 shapes, AdamW, evaluated at the end.

    Args:
      config: changed in place.
      model: a small network's node.
      steps: of 16 images, a cosine after a tenth of warm-up.
      images: number of images to train on.
      fields: of the sources; `rle` gives masks.
    """
    shapes = {"name": "shapes/det64", "fields": fields}
    pipelines = {
        "train": node(data.Train, source=node(data.TFDS, split=f"train[:{images}]", **shapes)),
        "eval": node(data.Eval, source=node(data.TFDS, split="validation[:400]", **shapes)),
    }
    pipelines["train"].transforms = (node(data.RandomFlip),)
    for name, batch_size in (("train", 16), ("eval", 100)):
        pipelines[name].batch_size, pipelines[name].max_boxes = batch_size, 4
        config[name] = pipelines[name]
    config.task = node(tasks.Detection, model=model, mean=(0.5,) * 3, std=(0.25,) * 3)
    config.task.model.num_classes = embedded.CLASSES
    kinds = ("bbox", "segm") if "rle" in fields else ("bbox",)
    voc = node(VOC, num_classes=embedded.CLASSES, inclusive=False)
    config.metrics = {
        "voc": node(Prefixed, metric=voc, prefix="voc_"),  # both report an AP50
        "coco": node(COCO, num_classes=embedded.CLASSES, iou_types=kinds),
    }
    rates = node(
        schedule.WarmUp, then=node(schedule.Cosine, value=3e-3), length=0.1, unit="fraction"
    )
    rule = node(optimizer.AdamW)
    config.optimizer = node(optimizer.Optimizer, rule=rule, schedule=rates, clip=10.0)
    config.steps = config.eval_every = config.checkpoint_every = steps
    config.log_every = max(1, steps // 10)
    config.init.weights = config.init.reinitialize = config.expect = None
    config.stages, config.best = (), "eval/ap50"
    return config


def twin_network(**changes):
    """Makes Faster R-CNN on one map of stride 4 of a ResNet of two stages."""
    parts = {
        "backbone": node(models.ResNet, stages=(1, 1), block="basic", width=16, stem="deep"),
        "pyramid": node(models.FPN, endpoints=("conv2_x", "conv3_x"), width=32, extra="none"),
        "rpn": node(
            models.RPN,
            anchor_sizes=((16.0, 24.0), (24.0, 32.0)),
            batch_size_per_image=64,
            train_pre_nms_top_n=64,
            train_post_nms_top_n=32,
            pre_nms_top_n=64,
            post_nms_top_n=16,
        ),
        "head": node(
            models.BoxHead,
            pool=node(models.RegionPool, size=5, levels=1),
            hidden=(64,),
            batch_size_per_image=16,
            max_detections=10,
        ),
    }
    return node(models.FasterRCNN, **parts | changes)


def tiny_backbone():
    layers = Layers(norm="frozen")
    return node(models.ResNet, stages=(1, 1), block="basic", width=8, layers=layers)


def tiny_pyramid(extra="pool"):
    return node(models.FPN, endpoints=("conv2_x", "conv3_x"), width=8, extra=extra, source="c5")


def tiny_pool(size=3):
    return node(models.RegionPool, size=size, levels=2, canonical_size=32.0, canonical_level=3)


def tiny_rpn(*anchor_sizes):
    counts = {"train_pre_nms_top_n": 32, "train_post_nms_top_n": 16}
    counts |= {"pre_nms_top_n": 32, "post_nms_top_n": 8, "batch_size_per_image": 16}
    return node(models.RPN, anchor_sizes=anchor_sizes, width=8, **counts)


def tiny_head(**changes):
    settings = {"pool": tiny_pool(), "hidden": (16,), "batch_size_per_image": 8}
    return node(models.BoxHead, **settings | {"max_detections": 4} | changes)


def tiny_fpn(**heads):
    """Makes Faster R-CNN on two levels and one more, with `heads`."""
    return node(
        models.FasterRCNN,
        backbone=tiny_backbone(),
        pyramid=tiny_pyramid(),
        rpn=tiny_rpn((12.0,), (24.0,), (48.0,)),
        head=tiny_head(),
        **heads,
    )


def tiny_one_map(network=models.FasterRCNN, **changes):
    """Makes a network on one map of a VGG, with layers of all names that the recipe speaks of."""
    parts = {
        "backbone": node(models.VGG, kernels=((3,),) * 3, width=8, keep=("conv3_1",)),
        "pyramid": node(models.OneMap, endpoint="conv3_1"),
    }
    if network is not models.FastRCNN:
        parts["rpn"] = tiny_rpn((12.0, 24.0))
    if network is not models.ProposalNetwork:
        parts["head"] = tiny_head(pool=node(models.RegionPool, kind="max", size=3, levels=1))
    return node(network, **parts | changes)


def tiny_retinanet():
    return node(
        models.RetinaNet,
        backbone=tiny_backbone(),
        pyramid=tiny_pyramid("p6p7"),
        anchor_sizes=octave_sizes(12, 4, 1),
        depth=1,
        max_detections=4,
    )


def tiny_fcos():
    return node(
        models.FCOS,
        backbone=tiny_backbone(),
        pyramid=tiny_pyramid("p6p7"),
        anchor_sizes=((4.0,), (8.0,), (16.0,), (32.0,)),
        size_limits=(16.0, 32.0, 64.0),
        depth=1,
        max_detections=4,
    )
