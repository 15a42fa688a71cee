"""DeepMask's and SharpMask's shared parts: sources of objects of no class, and the two stages."""

from experiments.shared import embedded, rcnn
from vision_jax import data, models, tasks
from vision_jax.config import node
from vision_jax.evaluation import COCO
from vision_jax.training import Experiment, Stage

# Stage two's starting point lacks these.
REFINEMENT = "refinement/.*"


def any_class(name, split):
    """Makes a TFDS data set with masks, all of whose objects are of one class."""
    source = node(data.TFDS, name=name, split=split, fields=("objects", "rle"))
    return node(data.AnyClass, source=source)


def resnet50():
    """Makes the backbone of the authors' second code: ResNet-50 without its last stage."""
    return node(models.ResNet, stages=(3, 4, 6), border="reflect")


def coco(model):
    """Makes a training on COCO's masks as in the authors' second code: 300 times 4,000 batches."""
    recall = {"iou_types": ("bbox", "segm"), "max_detections": (10, 100, 1000)}
    validation = any_class("coco/2017", "validation")
    config = node(
        Experiment,
        task=node(tasks.Detection, model=model),
        train=node(
            data.Train,
            source=any_class("coco/2017", "train"),
            transforms=(node(data.MaskPatches), node(data.RandomFlip)),
            batch_size=32,
            max_boxes=1,
            degenerate="drop",
        ),
        eval=node(
            data.Eval,
            source=validation,
            transforms=(node(data.Canvas, max_long=640),),
            batch_size=8,
        ),
        metrics={"coco": node(COCO, num_classes=1, source=validation, **recall)},
        optimizer=rcnn.sgd(1e-3, (200_000, 480_000), 0, 5e-4, (".*",)),
        steps=1_200_000,
        eval_every=200_000,
        checkpoint_every=20_000,
        best="eval/mask_ar100",
    )
    config.optimizer.schedule.factor = 0.3
    config.init.weights, config.init.reinitialize = rcnn.RESNET50, rcnn.FRESH
    return config


def stages(refinement, changes=()):
    """Makes the stages: DeepMask, and its refinement while all else stays as it is.

    Args:
      refinement: a node of `models.Refinement`.
      changes: further settings of the second stage.
    """
    return (
        node(Stage, name="deepmask"),
        node(Stage, name="sharpmask", changes=(*sharpened(refinement, "stage:deepmask"), *changes)),
    )


def sharpened(refinement, weights):
    """Lists the changes that make DeepMask's training that of SharpMask's refinement."""
    return (
        ("task.model.refinement", refinement),
        ("task.model.losses", ("mask",)),
        ("task.model.backbone.layers.norm", "frozen"),
        ("optimizer.trainable", (REFINEMENT,)),
        ("init.weights", weights),
        ("init.reinitialize", REFINEMENT),
    )


def writing(config, refinement, further=()):
    """Makes two stages more, which write the proposals of both sets' images to files.

    Args:
      config: the experiment, whose data are proposed on.
      refinement: a node of `models.Refinement`.
      further: settings of these stages beside those of the training.
    """
    found = []
    for name, pipeline in (("train", config.train), ("validation", config.eval)):
        whole = {"transforms": config.eval.transforms, "batch_size": config.eval.batch_size}
        changes = (
            ("train", node(data.Train, source=pipeline.source, **whole)),
            ("solver", node(tasks.WriteProposals, file=f"stage:{name}/proposals.npz")),
            ("task.model.refinement", refinement),
            ("init.weights", "stage:sharpmask"),
            ("init.reinitialize", None),
            *further,
        )
        found.append(node(Stage, name=name, changes=changes))
    return tuple(found)


def smoke(config):
    """Makes a run of four steps of a tiny network on a few embedded images."""
    config.task.model = node(
        models.DeepMask,
        backbone=node(models.ResNet, stages=(1,), block="basic", width=4, border="reflect"),
        size=16,
        reduced=4,
        width=8,
        hidden=8,
        mask_size=8,
        output_size=16,
        scales=(1.0,),
        pre_nms_top_k=8,
        max_detections=8,
        cropped_size=8,
    )
    config.train.source = any_class("shapes/det64", "train[:32]")
    config.eval.source = any_class("shapes/det64", "validation[:16]")
    patches = node(data.MaskPatches, size=16, context=4, shift=1.5, far_shift=3.0)
    config.train.transforms, config.eval.transforms = (patches, node(data.RandomFlip)), ()
    config.train.batch_size = config.eval.batch_size = 8
    config.train.max_boxes, config.eval.max_boxes = 1, 4
    kinds = ("bbox", "segm")
    coco = node(COCO, num_classes=1, iou_types=kinds, max_detections=(1, 4, 8))
    config.metrics = {"coco": coco}
    config.init.weights = config.init.reinitialize = None
    embedded.four_steps(config, best="eval/mask_ar4")
    return config
