"""A small task with everything that tells one device from eight: synchronised statistics, dropout,
a normaliser that differs from row to row, a loss that never has any weight."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vision_jax.structs import Batch, Targets

HIDDEN, SLOTS = 8, 3


def make_batch(rows=16, seed=0, start=0):
    rng = np.random.default_rng([seed, 1])
    labels = rng.integers(0, 5, (rows, SLOTS)).astype(np.int32)
    # Row r has r % (SLOTS + 1) targets, the first quarter none: devices differ much.
    count = np.where(np.arange(rows) < rows // 4, 0, np.arange(rows) % (SLOTS + 1))
    count[-1] = 1
    return Batch(
        image=rng.integers(0, 256, (rows, 4, 4, 3)).astype(np.uint8),
        valid=np.ones(rows, bool),
        index=np.arange(start, start + rows, dtype=np.int32),
        targets=Targets(labels=labels, valid=np.arange(SLOTS) < count[:, None]),
    )


@dataclasses.dataclass(frozen=True)
class Toy:
    norm: str = "sync"  # 'sync', 'local' or 'none'
    dropout: float = 0.5

    def init(self, seed=0):
        rng = np.random.default_rng(seed)
        params = {
            "backbone": {
                "dense": {"kernel": rng.normal(0, 0.3, (48, HIDDEN)), "bias": np.zeros(HIDDEN)},
                "norm": {"scale": np.ones(HIDDEN), "bias": np.zeros(HIDDEN)},
            },
            "head": {"kernel": rng.normal(0, 0.3, (HIDDEN, SLOTS)), "bias": np.zeros(SLOTS)},
        }
        stats = {"norm": {"mean": np.zeros(HIDDEN), "var": np.ones(HIDDEN)}}
        variables = {"params": params, "batch_stats": stats}
        return jax.tree.map(lambda x: np.asarray(x, np.float32), variables)

    def _normalise(self, x, p, stats, train):
        if self.norm == "none":
            return x, stats
        mean, var = stats["mean"], stats["var"]
        if train:
            sums = (jnp.sum(x, 0), jnp.sum(x * x, 0), jnp.float32(x.shape[0]))
            if self.norm == "sync" and _axis_bound():
                sums = lax.psum(sums, "data")
            mean, square = sums[0] / sums[2], sums[1] / sums[2]
            var = square - mean**2
            stats = {
                "mean": 0.9 * stats["mean"] + 0.1 * mean,
                "var": 0.9 * stats["var"] + 0.1 * var,
            }
        x = (x - mean[None]) * lax.rsqrt(var + 1e-3)[None]
        return x * p["scale"][None] + p["bias"][None], stats

    def _forward(self, variables, batch, key=None):
        p, stats = variables["params"], variables["batch_stats"]
        x = batch.image.reshape(batch.count, -1).astype(jnp.float32) / 128 - 1
        x = x @ p["backbone"]["dense"]["kernel"] + p["backbone"]["dense"]["bias"][None]
        x, norm = self._normalise(x, p["backbone"]["norm"], stats["norm"], key is not None)
        x = jax.nn.relu(x)
        if key is not None and self.dropout:
            keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(batch.index)
            keep = jax.vmap(lambda k: jax.random.bernoulli(k, 1 - self.dropout, (HIDDEN,)))(keys)
            x = jnp.where(keep, x / (1 - self.dropout), 0)
        return x @ p["head"]["kernel"] + p["head"]["bias"][None], {"batch_stats": {"norm": norm}}

    def loss(self, variables, batch, key, train=True):
        out, collections = self._forward(variables, batch, key if train else None)
        mask = (batch.targets.valid & batch.valid[:, None]).astype(jnp.float32)
        rows = batch.valid.astype(jnp.float32)
        error = (out - batch.targets.labels.astype(jnp.float32)) ** 2
        losses = {
            "match": (jnp.sum(error * mask), jnp.sum(mask)),
            "size": (0.1 * jnp.sum(jnp.sum(out**2, 1) * rows), jnp.sum(rows)),
            "never": (jnp.sum(out * 0), jnp.float32(0)),
        }
        close = jnp.sum((error < 1) * mask)
        return losses, {
            "collections": collections,
            "metrics": {"close": (close, jnp.sum(mask)), "none": (0.0, 0.0)},
        }

    def predict(self, variables, batch):
        out, _ = self._forward(variables, batch)
        return {"out": out, "wide": jnp.zeros((batch.count, 100))}


def _axis_bound():
    try:
        lax.axis_size("data")
    except NameError:
        return False
    return True


@dataclasses.dataclass(frozen=True)
class Close:
    gathers: ClassVar[bool] = False

    def update(self, outputs, batch):
        mask = batch.targets.valid & batch.valid[:, None]
        near = jnp.abs(outputs["out"] - batch.targets.labels) < 1
        return {"near": jnp.sum(near & mask), "all": jnp.sum(mask)}


@dataclasses.dataclass(frozen=True)
class Rows:
    gathers: ClassVar[bool] = True
    outputs: ClassVar[tuple[str, ...]] = ("out",)
