"""The cost of a styled picture, for `sweeps/fast_style.py`: one pass, or steps on its pixels."""

import dataclasses
import time
from typing import Any, ClassVar

import jax
import numpy as np

from vision_jax import weights
from vision_jax.evaluation import GatheredMetric
from vision_jax.structs import Batch
from vision_jax.tasks import StyledPicture
from vision_jax.training import (
    AdamW,
    Constant,
    Optimizer,
    Parallel,
    create,
    make_train_step,
)

KINDS = ("johnson", "gatys")


@dataclasses.dataclass(frozen=True)
class StyleCost(GatheredMetric):
    """A metric of cost, not of worth: it times both ways to the loss that the network reached.

    Results: `loss`, the network's own on the one picture that it is evaluated on; `seconds` of the
    kind named, compilation left out; and `updates` of Gatys' picture until it has that loss.

    Attributes:
      kind: 'johnson', one pass of the network; or 'gatys', steps of Adam from the content.
      network: that of the task that is trained.
      picture: the task whose picture is optimised, with the same losses and weights of layers.
      source: of the picture, whose first example is taken.
      size: of the picture, height and width.
      seed: the run's, with which an untrained loss network was drawn.
      weights: of a trained one; None for an untrained one.
      rate: of Adam, on pixels.
      most: updates after which it gives up.
      passes: of the network, of which the median is taken.
    """

    outputs: ClassVar[tuple[str, ...]] = ("style_loss", "content_loss")

    network: Any
    picture: StyledPicture
    source: Any
    size: tuple[int, int] = (96, 96)
    kind: str = "johnson"
    seed: int = 0
    weights: str | None = None
    rate: float = 4.0
    most: int = 500
    passes: int = 5

    def names(self) -> tuple[str, ...]:
        return ("loss", "seconds", "updates")

    def collect(self, state: list, outputs: dict[str, Any], batch: Any) -> list:
        losses = self._total(outputs["style_loss"], outputs["content_loss"])
        return [*state, *losses[np.asarray(batch.valid)].tolist()]

    def result(self, state: list) -> dict[str, float]:
        loss = float(np.mean(state))
        if self.kind == "johnson":
            return {"loss": loss, "seconds": self._pass(), "updates": 0.0}
        seconds, updates = self._paint(loss)
        return {"loss": loss, "seconds": seconds, "updates": float(updates)}

    def _total(self, style: Any, content: Any) -> np.ndarray:
        task = self.picture
        return task.style_weight * np.asarray(style) + task.content_weight * np.asarray(content)

    def _pass(self) -> float:
        """Takes the median seconds of a pass of the network."""
        images = jax.numpy.ones((1, *self.size, 3))
        variables = jax.jit(self.network.init)(jax.random.key(0), images)
        answer = jax.jit(lambda v, x: self.network.apply(v, x)["image"])
        jax.block_until_ready(answer(variables, images))
        seconds = []
        for _ in range(self.passes):
            began = time.perf_counter()
            jax.block_until_ready(answer(variables, images))
            seconds.append(time.perf_counter() - began)
        return float(np.median(seconds))

    def _paint(self, loss: float) -> tuple[float, int]:
        """Makes steps until the picture has the loss; returns seconds and their number."""
        task = self.picture
        image = jax.image.resize(np.float32(self.source[0]["image"]), (*self.size, 3), "linear")
        one = np.ones(1, bool)
        batch = Batch(np.asarray(image)[None], one, np.zeros(1, np.int32))
        fresh = jax.tree.map(np.asarray, task.init(jax.random.key(self.seed), batch))
        if self.weights is not None:
            loaded = weights.load(self.weights, task.model)["params"]["backbone"]
            fresh["params"]["backbone"] = loaded
        variables = task.complete(fresh, lambda: batch)
        optimizer = Optimizer(AdamW(), Constant(self.rate), trainable=("network/.*",))
        update = optimizer.build(variables["params"], self.most, 1)
        parallel = Parallel("single")
        step = parallel.compile(make_train_step(task, update, parallel.axis))
        given, seed = parallel.put_batch(batch), np.uint32(0)
        state, _ = step(parallel.put_state(create(variables, update)), given, seed)
        state = parallel.put_state(create(variables, update))  # compiled, and begun anew
        began = time.perf_counter()
        updates, reached = 0, np.inf
        while reached > loss and updates < self.most:
            state, measured = step(state, given, seed)
            updates, reached = updates + 1, float(measured["loss"])
        return time.perf_counter() - began, updates
