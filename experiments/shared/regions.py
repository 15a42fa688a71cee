"""The stages of R-CNN and SPP-net, and the small forms of both on the embedded shapes."""

from experiments.shared import embedded, rcnn
from vision_jax import data, models, proposals, tasks
from vision_jax.config import node
from vision_jax.evaluation import VOC, TopK
from vision_jax.training import Experiment, Stage, optimizer, schedule

REGIONS = "stage:features/regions"
SELECTIVE_SEARCH = "selective_search"
FRESH = "(?!backbone/|head/fc[67]/).*"  # what no classifier has
HEAD_ONLY = ("head/(?!svm|bbox_pred).*",)  # of these, what SPP-net trains
NETWORK = ("(?!head/(svm|bbox_pred)/).*",)  # what gradients train
HEAD = "task.model.head"
HIDDEN = (128, 128)
LEVELS = (6, 3, 2, 1)  # of SPP-net's pyramid
FINE_TUNED = (("init.weights", "stage:finetune"), ("init.reinitialize", None))
NOT_THE_LAST = ("expect", None)


def voc(model, value=None, source=""):
    """Makes R-CNN's training on VOC 2007: its fine-tuning, which `staged` extends.

    Images keep their size, on canvases of 500×500; every step has 128 regions of 8 images, a
    quarter of them positive, where the authors draw from all images.
    """
    config = rcnn.voc(model, value=value, source=source)
    canvas = node(data.Canvas, max_long=500, multiple=500)
    config.train.transforms = (node(data.RandomFlip), canvas)
    config.eval.transforms = (canvas,)
    config.train.batch_size, config.eval.batch_size = 8, 1
    config.steps, config.optimizer.schedule.boundaries = 70_000, (20_000, 40_000, 60_000)
    config.eval_every, config.checkpoint_every = 70_000, 5000
    config.optimizer.groups = (
        ("head/cls_score/kernel", 10.0),
        ("head/cls_score/bias", 20.0),
        (".*/bias", 2.0),
    )
    config.optimizer.trainable = NETWORK
    config.init.reinitialize = FRESH
    return config


def small(width=16, crop_size=32):
    """Makes an R-CNN of three convolutions and two layers of `HIDDEN`; see `shapes`."""
    return node(
        models.RCNN,
        backbone=small_backbone(width),
        num_classes=embedded.CLASSES,
        head=small_head(),
        crop_size=crop_size,
        context=4,
        chunk=128,
    )


def small_spp(width=16, levels=LEVELS):
    """Makes an SPP-net of the same convolutions, on images of 64 pixels that it enlarges to 128."""
    return node(
        models.SPPNet,
        backbone=small_backbone(width, pool=None),
        num_classes=embedded.CLASSES,
        head=small_head(min_negative_iou=0.1),
        levels=levels,
        short_side=64,
        scales=(128,),
    )


def small_head(**changes):
    settings = {"hidden": HIDDEN, "dropout": 0.2, "std": 0.05, "batch_size_per_image": 16}
    return node(models.RegionClassifier, **settings, max_detections=20, **changes)


def small_backbone(width=16, pool=0):
    """Makes three convolutions; R-CNN pools after the last, and SPP-net's pyramid is in place."""
    return node(
        models.AlexNetBackbone,
        features=(width, 2 * width, 4 * width),
        kernels=(3,) * 3,
        steps=(1,) * 3,
        paddings=(1,) * 3,
        groups=(1,) * 3,
        biases=(0.0,) * 3,
        std=0.1,
        lrn=(False,) * 3,
        pools=(0, 0, pool),
        window=2,
    )


def shapes(model, train="train[:400]", test="validation[:100]", steps=400, name="shapes/det64"):
    """Makes R-CNN's fine-tuning on embedded shapes, which `staged` extends."""
    source = {"name": name, "fields": ("objects",)}
    return node(
        Experiment,
        task=node(tasks.Detection, model=model, mean=(0.5,) * 3, std=(0.25,) * 3),
        train=node(
            data.Train,
            source=node(data.TFDS, split=train, **source),
            transforms=(node(data.RandomFlip),),
            batch_size=8,
            max_boxes=8,
        ),
        eval=node(
            data.Eval, source=node(data.TFDS, split=test, **source), batch_size=4, max_boxes=8
        ),
        metrics={"voc": node(VOC, num_classes=embedded.CLASSES, inclusive=False)},
        optimizer=adam(1e-3),
        steps=steps,
        eval_every=steps,
        checkpoint_every=steps,
        log_every=max(1, steps // 10),
        best="eval/ap50",
    )


def adam(rate):
    rates = node(
        schedule.WarmUp, then=node(schedule.Cosine, value=rate), length=0.1, unit="fraction"
    )
    rule = node(optimizer.AdamW)
    return node(
        optimizer.Optimizer,
        rule=rule,
        schedule=rates,
        decay=0.01,
        decay_vectors=False,
        trainable=NETWORK,
    )


def search(small_images):
    """Makes selective search; in photographs boxes below 20 pixels are left out."""
    return node(proposals.SelectiveSearch, min_side=8 if small_images else 20)


def staged(config, method, max_proposals=2000, file=None, first=(), before=(), positive_iou=1.0):
    """Gives an experiment R-CNN's stages, up to the regression of boxes.

    The last stage's detector has all of it: proposals are given, the rest is one program. Pictures
    of one's own get proposals by `method`.

    Args:
      config: the fine-tuning of the network; changed in place.
      method: of `vision_jax.proposals`, a node.
      max_proposals: per image.
      file: the beginning of `…_trainval.npz` and `…_test.npz`, which hold the proposals; None makes
        them by stages.
      first: stages before all others, the last of which the fine-tuning starts from.
      before: transforms that come before proposals are made.
      positive_iou: of `tasks.TrainSvms`.
    """
    stages = [*first, *proposed(config, method, max_proposals, file, before)]
    start = () if not first else (("init.weights", f"stage:{first[-1].name}"),)
    stages.append(fine_tuning(*start))
    config.stages = (*stages, *solving(config, FINE_TUNED, positive_iou))
    return config


def fine_tuning(*start):
    """Makes the stage that trains the network by its softmax."""
    softmax = ((f"{HEAD}.classifier", "softmax"), (f"{HEAD}.refine", False))
    return node(Stage, name="finetune", changes=(*softmax, NOT_THE_LAST, *start))


def proposed(config, method, max_proposals=2000, file=None, before=()):
    """Gives an experiment's images proposals; returns the stages that make them. See `staged`."""
    propose = node(data.Propose, method=method, max_proposals=max_proposals)
    plain, making = config.eval.transforms, (*before, propose)
    stages = []
    for pipeline, name in ((config.train, "trainval"), (config.eval, "test")):
        path = f"{file}_{name}.npz"
        if file is None:
            path = f"stage:{name}/proposals.npz"
            images = {"source": pipeline.source, "transforms": (*making, *plain)}
            stages.append(writing(images, path, name))
        given = {"source": pipeline.source, "file": path, "max_proposals": max_proposals}
        pipeline.source = node(data.WithProposals, **given)
        pipeline.transforms = (*making, *pipeline.transforms)
    return stages


def writing(images, path, name):
    """Makes the stage that writes proposals into a file, of images by source and transforms."""
    changes = (
        ("task", node(tasks.GivenProposals)),
        ("train", node(data.Train, **images, batch_size=8)),
        ("solver", node(tasks.WriteProposals, file=path)),
        *unmeasured(),
        ("init.weights", None),
        ("init.reinitialize", None),
    )
    return node(Stage, name=name, changes=changes)


def solving(config, start, positive_iou=1.0):
    """Makes the stages after the network: features to disk, SVMs, regression of boxes."""
    images = {"source": config.train.source, "batch_size": config.eval.batch_size}
    if config.train.max_boxes:
        images["max_boxes"] = config.train.max_boxes
    once = ("train", node(data.Train, transforms=config.eval.transforms, **images))
    solved = (("init.weights", "stage:features"), ("init.reinitialize", None))
    svms = ("solver", node(tasks.TrainSvms, regions=REGIONS, positive_iou=positive_iou))
    boxes = ("solver", node(tasks.RegressBoxes, regions=REGIONS))
    write = ("solver", node(tasks.WriteRegionFeatures, folder=REGIONS))
    last = (("init.weights", "stage:svm"), ("init.reinitialize", None))
    return (
        node(Stage, name="features", changes=(once, write, *unmeasured(), *start)),
        node(
            Stage,
            name="svm",
            changes=(once, svms, (f"{HEAD}.refine", False), NOT_THE_LAST, *solved),
        ),
        node(Stage, name="boxes", changes=(once, boxes, *last)),
    )


def unmeasured():
    return (("eval", None), ("metrics", {}), ("best", ""), NOT_THE_LAST)


def pretraining(model, steps=600, images=6000):
    """Makes a stage that trains a classifier of a detector's layers on single shapes, 32×32."""
    head = {"num_classes": embedded.CLASSES, "hidden": HIDDEN, "std": 0.05}
    if "levels" in model:
        classifier = node(models.SPPHead, levels=model.levels, **head)
    else:
        classifier = node(models.FcHead, grid=0, **head)
    model = node(models.Classifier, backbone=model.backbone, head=classifier)
    source = {"name": "shapes/cls32"}
    changes = (
        ("task", node(tasks.Classification, model=model, mean=(0.5,) * 3, std=(0.25,) * 3)),
        (
            "train",
            node(
                data.Train,
                source=node(data.TFDS, split=f"train[:{images}]", **source),
                batch_size=64,
            ),
        ),
        (
            "eval",
            node(
                data.Eval,
                source=node(data.TFDS, split="validation[:1000]", **source),
                batch_size=200,
            ),
        ),
        ("metrics", {"top": node(TopK, ks=(1,))}),
        ("optimizer.trainable", (".*",)),
        ("optimizer.schedule.then.value", 2e-3),
        *((key, steps) for key in ("steps", "eval_every", "checkpoint_every")),
        ("best", "eval/top1"),
        NOT_THE_LAST,
    )
    return node(Stage, name="pretrain", changes=changes)


def chain(config, steps=600, images=6000, max_proposals=100):
    """Gives an experiment of `shapes` its stages, beginning with the classifier's."""
    model = config.task.model
    if "levels" in model:
        config.optimizer.trainable = HEAD_ONLY
    first = (pretraining(model, steps=steps, images=images),)
    config.init.reinitialize = FRESH
    method = search(small_images=True)
    stretch = (node(data.StretchTo, size=64),)  # photographs of one's own
    # Of some hundred images the objects alone would be few.
    staged(config, method, max_proposals, None, first, stretch, positive_iou=0.6)
    return config


def short(config, stages):
    """Makes the smoke of an experiment of `shapes`, of one stage or of all."""
    smoke(config, config.task.model, stages)
    return chain(config, 4, 64, 16) if stages else config


def smoke(config, model, stages=False):
    """Turns an experiment into one of a tiny network on a few embedded images.

    Without stages it is the softmax's training, on boxes near the objects' own.
    """
    rcnn.smoke(config, model)
    if stages:
        return
    for pipeline in (config.train, config.eval):
        pipeline.transforms += (node(data.JitteredTruth, count=8),)
    config.task.model.head.update(classifier="softmax", refine=False)
