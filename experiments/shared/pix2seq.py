"""Pix2Seq's shared parts: the networks of smokes, twins and the demo."""

from experiments.shared import detr, embedded, rcnn
from vision_jax import data, models
from vision_jax.config import node
from vision_jax.models.detectors.pix2seq import SETTINGS

FIRST_COORDINATE = 128  # after the classes of the embedded shapes


def network(features=16, hidden=32, heads=2, layers=(1, 1), objects=4, bins=32, **changes):
    """Makes Pix2Seq on a small ResNet of stride 8; the defaults are for smokes.

    Args:
      features, hidden, heads: of the transformer, which drops no branch.
      layers: of encoder and decoder.
      objects: detections per image.
      bins: of a coordinate.
      **changes: other fields of the network.
    """
    settings = detr.transformer(features, heads, hidden, activation="gelu", layers=SETTINGS.layers)
    parts = {
        "backbone": rcnn.tiny_backbone(),
        "endpoint": "conv3_x",
        "num_classes": embedded.CLASSES,
        "encoder": node(models.Encoder, depth=layers[0], settings=settings),
        "decoder": node(models.Decoder, depth=layers[1], settings=settings),
        "max_detections": objects,
        "max_length": 5 * objects,
        "bins": bins,
        "first_coordinate": FIRST_COORDINATE,
        "vocabulary": FIRST_COORDINATE + max(bins, 256),
    }
    return node(models.Pix2Seq, **parts | changes)


def smoke(config):
    """Turns the experiment into one of a tiny network on a few embedded images."""
    return rcnn.smoke(config, network())


def demo_network(**changes):
    """Makes the network that learns the embedded shapes in minutes."""
    shape = {"features": 64, "hidden": 128, "heads": 4, "layers": (1, 2), "objects": 6, "bins": 64}
    parts = {"backbone": detr.demo_backbone(), "endpoint": detr.DEMO_ENDPOINT}
    return network(**shape | parts | changes)


def twin(config, steps, **changes):
    """Turns a training into a sweep's twin on the embedded shapes, of one class; see `detr.twin`.

    Boxes and their number are learnt early, classes late: with one class some minutes are enough
    for what a sweep asks of sequences.

    Args:
      config: changed in place.
      steps: of 16 images.
      **changes: see `network`.
    """
    detr.twin(config, demo_network(**changes), steps)
    config.optimizer = rule()
    config.task.model.num_classes = 1
    for metric in (config.metrics.voc.metric, config.metrics.coco):
        metric.num_classes = 1
    for pipeline in (config.train, config.eval):
        pipeline.source = node(data.AnyClass, source=pipeline.source)
    return config


def rule():
    """Makes the demo's optimizer, with the paper's second moment."""
    return detr.rule(b2=0.95, clip=1.0)
