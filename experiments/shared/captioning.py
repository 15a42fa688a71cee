"""Settings that captioning experiments share: data, metrics, and the form on embedded shapes."""

import copy
import pathlib

from ml_collections import ConfigDict

from experiments.shared import embedded
from vision_jax import data, models, tasks
from vision_jax.config import node
from vision_jax.evaluation import Captions, Perplexity
from vision_jax.training import Expect, Experiment, optimizer, schedule

SIZE = 32  # of the embedded images
LENGTH = 12  # tokens; their captions have up to 8 words


def metrics() -> dict[str, ConfigDict]:
    """Makes the metrics of captions, whose vocabulary and references are the run's."""
    return {"captions": node(Captions), "perplexity": node(Perplexity)}


def shapes_network(attend: bool) -> ConfigDict:
    """Makes a captioner for the embedded shapes, on the backbone of quickstart.py."""
    backbone = node(models.ResNetCifar, blocks=1)
    sizes = {"backbone": backbone, "embed": 64, "hidden": 128, "dropout": 0.1}
    if attend:
        return node(models.ShowAttendTell, look=64, **sizes)
    return node(models.ShowAndTell, **sizes)


def on_shapes(model: ConfigDict) -> ConfigDict:
    """Makes an experiment on the embedded shapes, one in an image.

    Of an image's two captions the first, which names the shape, is trained with: a network that
    learns both writes that of the background, the likelier one word by word. References are both.

    Args:
      model: a captioner without a number of tokens.
    """
    train, validation = (
        node(data.TFDS, name="shapes/cls32", split=split, fields=("captions",))
        for split in ("train", "validation")
    )
    stretch = node(data.StretchTo, size=SIZE)  # pictures of other sizes, in predictions
    first = node(data.EncodeCaption, length=LENGTH, random=False)
    return node(
        Experiment,
        task=node(
            tasks.Captioning,
            model=model,
            length=LENGTH,
            power=1.0,
            mean=(0.5,) * 3,
            std=(0.25,) * 3,
            augment=(node(tasks.augment.Flip),),  # none of these captions tells sides
        ),
        train=node(
            data.Train,
            source=node(data.WithVocabulary, source=train),
            transforms=(stretch, first),
            batch_size=64,
        ),
        eval=node(
            data.Eval,
            source=validation,
            transforms=(stretch, first),
            batch_size=100,
        ),
        metrics=metrics(),
        optimizer=node(
            optimizer.Optimizer,
            rule=node(optimizer.AdamW),
            schedule=node(
                schedule.WarmUp, then=node(schedule.Cosine, value=4e-3), length=0.1, unit="fraction"
            ),
            decay=0.05,
            decay_vectors=False,
            clip=5.0,
        ),
        epochs=6.0,
        eval_every=10_000,  # at the end alone
        log_every=20,
        best="eval/cider_d",
        expect=node(Expect, metric="eval/cider_d", value=2.5, source="this demo's own bar"),
    )


def shorten(config: ConfigDict, steps: int) -> None:
    """Makes an experiment on shapes so many steps long, evaluated and saved at its end."""
    config.steps, config.epochs = steps, 0.0
    config.eval_every = config.checkpoint_every = steps
    config.log_every = max(1, steps // 10)
    config.expect = None


def on_photographs(
    model: ConfigDict, annotations: str, images: str, tune: bool, size: int = 224
) -> ConfigDict:
    """Makes an experiment on photographs whose captions are in a file like Karpathy's.

    Args:
      model: a captioner without a number of tokens, on a classifier's backbone.
      annotations: such as dataset_coco.json; training takes its `train` and `restval`.
      images: their folder.
      tune: whether the backbone is trained, at a tenth of the rate; its norms stay as they are.
      size: pixels that images are stretched to, high and wide.
    """
    source = node(data.CaptionFolder, annotations=annotations, images=images)
    stretch = node(data.StretchTo, size=size)
    training, validation = (copy.deepcopy(source) for _ in range(2))
    training.split = "train+restval" if "coco" in pathlib.Path(annotations).name else "train"
    validation.split = "val"
    if "layers" in model.backbone and model.backbone.layers.norm != "none":
        model.backbone.layers.norm = "frozen"
    return node(
        Experiment,
        task=node(tasks.Captioning, model=model),
        train=node(
            data.Train,
            source=node(data.WithVocabulary, source=training),
            transforms=(stretch, node(data.EncodeCaption)),
            batch_size=64,
        ),
        eval=node(
            data.Eval,
            source=validation,
            transforms=(stretch, node(data.EncodeCaption, random=False)),
            batch_size=64,
        ),
        metrics=metrics(),
        optimizer=node(
            optimizer.Optimizer,
            rule=node(optimizer.AdamW),
            schedule=node(
                schedule.WarmUp,
                then=node(schedule.Cosine, value=4e-4),
                length=0.02,
                unit="fraction",
            ),
            clip=5.0,
            groups=(("backbone/.*", 0.1),) if tune else (),
            trainable=(".*",) if tune else ("(?!backbone/).*",),
        ),
        epochs=20.0,
        log_every=100,
        best="eval/cider_d",
    )


def smoke(config: ConfigDict) -> ConfigDict:
    """Turns a captioning experiment into its smoke: a few embedded images, four steps.

    Smokes of networks that attend are one program, and those of others another one.

    Args:
      config: changed in place; its network becomes small, of the same kind.
    """
    attends = "look" in config.task.model
    backbone = node(models.ResNet, stages=(1,), block="basic", width=4)
    sizes = {"backbone": backbone, "embed": 8, "hidden": 8}
    model = (
        node(models.ShowAttendTell, look=8, **sizes)
        if attends
        else node(models.ShowAndTell, **sizes)
    )
    shapes = on_shapes(model)
    config.task, config.metrics = shapes.task, shapes.metrics
    config.task.beams, config.task.attention_weight = 2, float(attends)
    for part, split in (("train", "train[:32]"), ("eval", "validation[:16]")):
        config[part] = shapes[part]
        source = config[part].source
        (source.source if part == "train" else source).split = split
        config[part].batch_size = 8
    config.train.source.threshold = 1
    config.optimizer, config.init.weights = shapes.optimizer, None
    embedded.four_steps(config, best="eval/cider_d")
    return config
