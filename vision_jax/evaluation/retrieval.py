"""Retrieval by embeddings: is one of an image's nearest neighbours of its identity?"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from vision_jax.evaluation.metric import GatheredMetric, Results
from vision_jax.structs import Batch

_ROWS = 512  # queries that are compared at a time


def neighbours(embedding: Float[np.ndarray, "n d"], count: int) -> Int[np.ndarray, "n k"]:
    """Finds each row's `count` nearest other rows, the nearest first; equal ones by index."""
    count = min(count, len(embedding) - 1)
    squared = np.square(embedding).sum(1)
    found = []
    for start in range(0, len(embedding), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(embedding)))
        distance = squared[None] - 2 * embedding[rows] @ embedding.T
        distance[np.arange(len(rows)), rows] = np.inf
        found.append(np.argsort(distance, axis=1, kind="stable")[:, :count])
    return np.concatenate(found)


@dataclass(frozen=True)
class Retrieval(GatheredMetric):
    """Recall at k: the share of images one of whose k nearest others is of their identity.

    Reads `outputs["embedding"]` (b, d) and labels. Images whose identity has no other image are no
    queries, but may be found. Result: `recall<k>` for each k.

    Attributes:
      ks: numbers of neighbours.
    """

    ks: tuple[int, ...] = (1, 5, 10)

    outputs: ClassVar[tuple[str, ...] | None] = ("embedding",)

    def names(self) -> tuple[str, ...]:
        return tuple(f"recall{k}" for k in self.ks)

    def collect(self, state: list, outputs: dict, batch: Batch) -> list:
        valid = np.asarray(batch.valid)
        rows = np.asarray(outputs["embedding"])[valid], np.asarray(batch.targets.label)[valid]
        return [*state, rows]

    def result(self, state: list) -> Results:
        if not state:
            return {}
        embedding, labels = (np.concatenate(part) for part in zip(*state, strict=True))
        if len(labels) < 2:
            return {}
        near = neighbours(embedding.astype(np.float64), max(self.ks))
        hits = labels[near] == labels[:, None]
        _, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        queries = sizes[inverse] > 1
        if not queries.any():
            return {}
        return {f"recall{k}": float(hits[queries, :k].any(1).mean()) for k in self.ks}
