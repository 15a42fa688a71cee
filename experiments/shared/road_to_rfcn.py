"""The networks that `sweeps/road_to_rfcn.py` compares, and the metric that takes their time."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import rfcn_r101_voc0712
from experiments.shared import embedded, rcnn, regions
from vision_jax import models
from vision_jax.config import node
from vision_jax.evaluation import SummedMetric
from vision_jax.structs import Targets
from vision_jax.training import Stage

KINDS = ("rcnn", "spp", "fast", "faster", "rfcn")
# Steps of the twin's trainings: of R-CNN's and SPP-net's softmax, and of the others, which train
# all layers at once and learn for longer.
SOFTMAX_STEPS, STEPS = 300, 1800
FOUND = {"nms_threshold": 0.3, "max_detections": 20}  # the same of all second stages


@dataclasses.dataclass(frozen=True)
class Cost(SummedMetric):
    """A metric of cost, not of worth: it times a detector itself.

    Results: `seconds` per image, of all processors together, which other programs on the machine
    do not change: the least of `passes`, compilation left out; `cpu_seconds`, what the process has
    used so far: all stages of the training, their proposals and evaluations, and compilation. (Of
    a run that was interrupted, since it went on.)

    Attributes:
      model: the detector; regions of those that make none are given, and finding them not counted.
      size: side of the image, pixels.
      regions: per image.
      passes: timed.
    """

    model: Any
    size: int = 64
    regions: int = 16
    passes: int = 10

    def names(self) -> tuple[str, ...]:
        return ("seconds", "cpu_seconds")

    def empty(self) -> np.ndarray:
        return np.zeros((), np.int64)

    def update(self, outputs: dict[str, Any], batch: Any) -> jax.Array:
        return batch.valid.sum(dtype=jnp.int32)

    def result(self, state: np.ndarray) -> dict[str, float]:
        cpu = time.process_time()
        images, sizes = jnp.ones((1, self.size, self.size, 3)), jnp.full((1, 2), float(self.size))
        boxes = self._boxes()
        given = Targets(proposals=boxes, proposal_valid=jnp.ones(boxes.shape[:2], bool))
        variables = models.init(self.model, jax.random.key(0), images, sizes)
        answer = jax.jit(lambda *x: self.model.apply(*x)["detections"])
        seconds = []
        for number in range(self.passes + 1):
            start = time.process_time()
            jax.block_until_ready(answer(variables, images, sizes, given))
            if number:
                seconds.append(time.process_time() - start)
        return {"seconds": min(seconds), "cpu_seconds": cpu}

    def _boxes(self) -> jax.Array:
        """Draws regions anywhere, of a tenth to all of the image's sides."""
        rng = np.random.default_rng(0)
        sides = rng.uniform(0.1, 1, (1, self.regions, 2)) * self.size
        low = rng.uniform(0, 1, sides.shape) * (self.size - sides)
        return jnp.asarray(np.concatenate([low, low + sides], -1), jnp.float32)


def twin(kind, steps=1000, images=6000):
    """Makes the training of one of `KINDS` on the embedded shapes, whatever its stages are.

    Args:
      kind: the detector. All have the same three convolutions.
      steps, images: of their pre-training on single shapes.
    """
    makers = {
        "rcnn": regions.small,
        "spp": spp,
        "fast": fast,
        "faster": faster,
        "rfcn": rfcn,
    }
    regional = kind in ("rcnn", "spp")
    length = SOFTMAX_STEPS if regional else STEPS
    config = regions.shapes(makers[kind](), train="train[:200]", steps=length)
    if regional:
        return regions.chain(config, steps, images)
    config.optimizer.trainable = (".*",)
    model = spp() if kind == "fast" else regions.small()
    first = regions.pretraining(model, steps, images)
    config.init.reinitialize = "(?!backbone/).*"
    start = ("init.weights", f"stage:{first.name}")
    proposals = ()
    if kind == "fast":
        proposals = regions.proposed(config, regions.search(small_images=True), 100)
    config.stages = (first, *proposals, node(Stage, name="detector", changes=(start,)))
    return config


def smoke():
    """Makes the training of Faster R-CNN on a few images, without stages."""
    config = regions.shapes(faster())
    config.optimizer.trainable = (".*",)
    return rcnn.smoke(config, config.task.model)


def spp():
    """Makes SPP-net on images as they are, where objects are as large as the classifier's."""
    model = regions.small_spp()
    model.scales = (64,)
    return model


def fast():
    return node(models.FastRCNN, head=head(), **one_map())


def faster():
    return node(models.FasterRCNN, rpn=rpn(), head=head(), **one_map())


def rfcn():
    """Makes R-FCN with 3 × 3 parts, whose maps read the convolutions' own."""
    maps = node(models.ScoreMaps, body=None, width=128, bins=3)
    hard = rfcn_r101_voc0712.head(16, **FOUND)
    return node(models.RFCN, rpn=rpn(), head=hard, score_maps=maps, **one_map())


def one_map():
    return {
        "backbone": regions.small_backbone(pool=None),
        "num_classes": embedded.CLASSES,
        "pyramid": node(models.OneMap, endpoint="pool3"),
    }


def rpn():
    return node(
        models.RPN,
        anchor_sizes=((16.0, 24.0, 32.0),),
        width=64,
        batch_size_per_image=64,
        train_pre_nms_top_n=64,
        train_post_nms_top_n=64,
        pre_nms_top_n=64,
        post_nms_top_n=32,
    )


def head():
    pool = node(models.RegionPool, kind="max", size=5)
    return node(models.BoxHead, pool=pool, hidden=regions.HIDDEN, batch_size_per_image=32, **FOUND)
