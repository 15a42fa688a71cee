"""DETR's shared parts: the recipe on COCO, and the networks of smokes, twins and the demo."""

from experiments.shared import embedded, rcnn
from vision_jax import data, models
from vision_jax.config import node
from vision_jax.training import Expect, optimizer, schedule

IMAGES = 118_287  # of COCO's train2017
DEMO_ENDPOINT = "conv3_x"
START, FRESH = "runs/quickstart_detr/backbone", "(?!backbone/).*"  # of twins: a trained demo's
BATCH = 64  # of 16 devices, four images on each
SHORT = tuple(range(480, 801, 32))
# The backbone's first two stages and all its norms stay as they are; the transformer's do not.
TRAINED = ("(?!backbone/conv1/|backbone/conv2_|backbone/.*/norm/).*",)


def coco(model, epochs, value, source, fields=("objects",)):
    """Makes a training on COCO as the authors': AdamW, the rate divided by ten once.

    Args:
      model: the network, or its node.
      epochs: 300, with the lower rate in the last 100, or 500 likewise.
      value, source: the AP to reach, or None.
      fields: of the sources.
    """
    config = rcnn.coco(model, "eval/ap", value, source, fields=fields)
    config.train.transforms = (
        node(data.RandomFlip),
        node(data.RandomWindow),
        node(data.ResizeShortestEdge, short=SHORT),
        node(data.Pad, height=1344, width=1344),
    )
    config.train.batch_size = BATCH
    config.optimizer = node(
        optimizer.Optimizer,
        rule=node(optimizer.AdamW),
        schedule=node(schedule.Step, value=1e-4, boundaries=(epochs - 100,)),
        decay=1e-4,
        clip=0.1,
        groups=(("backbone/.*", 0.1),),
        trainable=TRAINED,
    )
    per_epoch = IMAGES // BATCH
    config.steps, config.epochs = 0, float(epochs)
    config.eval_every, config.checkpoint_every = 10 * per_epoch, per_epoch
    config.expect = node(Expect, metric="eval/ap", value=value, source=source) if value else None
    return config


def network(features=16, hidden=32, heads=2, encoder=1, decoder=2, queries=6, **changes):
    """Makes DETR on a small ResNet of stride 8; the defaults are for smokes.

    Args:
      features, hidden, heads: of the transformer, which normalises before its branches, since it
        then bears higher rates, and has no dropout.
      encoder, decoder: layers of them.
      queries: detections per image.
      **changes: other fields of the network.
    """
    settings = transformer(features, heads, hidden)
    parts = {
        "backbone": rcnn.tiny_backbone(),
        "endpoint": "conv3_x",
        "encoder": node(models.Encoder, depth=encoder, settings=settings),
        "decoder": node(models.Decoder, depth=decoder, settings=settings),
        "num_queries": queries,
    }
    return node(models.DETR, **parts | changes)


def transformer(features, heads, hidden, **changes):
    """Makes the settings of a small transformer that normalises first and drops no branch."""
    return node(
        models.TransformerSettings,
        features=features,
        heads=heads,
        hidden=hidden,
        dropout=0.0,
        attention_dropout=0.0,
        norm_first=True,
        **changes,
    )


def smoke(config, fields=("objects",), **changes):
    """Turns the experiment into one of a tiny network on a few embedded images."""
    return rcnn.smoke(config, network(**changes), fields)


def demo_backbone():
    """Makes the backbone of `demo_network`, whose last map has 8×8 places."""
    return node(models.ResNet, stages=(1, 1), block="basic", width=24, stem="deep")


def demo_network(**changes):
    """Makes the network that learns the embedded shapes in minutes."""
    shape = {"features": 64, "hidden": 128, "heads": 4, "encoder": 1, "decoder": 2, "queries": 8}
    parts = {
        "backbone": demo_backbone(),
        "endpoint": DEMO_ENDPOINT,
        "num_classes": embedded.CLASSES,
        "learned_start": True,
        "temperature": 20.0,
        "placed_values": True,
        # Boxes are found early and classes late, so that these get most of the gradient.
        "class_loss_weight": 12.0,
        "box_loss_weight": 4.0,
        "class_cost": 2.0,
        "no_object_weight": 0.2,
    }
    return network(**shape | parts | changes)


def twin(config, model, steps):
    """Turns a training into a sweep's twin on the embedded shapes, on the demo's backbone.

    Args:
      config: changed in place.
      model: a network on `demo_backbone`.
      steps: of 16 images.
    """
    rcnn.twin(config, model, steps, images=4000)
    config.optimizer, config.epochs = rule(), 0.0
    config.init.weights, config.init.reinitialize = START, FRESH
    return config


def rule(rate=1e-3, b2=0.999, clip=0.1):
    """Makes AdamW with a cosine after a tenth of warm-up; the clipping is that of the paper."""
    rates = node(
        schedule.WarmUp, then=node(schedule.Cosine, value=rate), length=0.1, unit="fraction"
    )
    return node(
        optimizer.Optimizer,
        rule=node(optimizer.AdamW, b2=b2),
        schedule=rates,
        decay=1e-2,
        decay_vectors=False,
        clip=clip,
    )
