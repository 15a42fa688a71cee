"""The rows of embeddings that metrics gather: their labels and numbers, in the data's order."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vision_jax.structs import Batch


class Rows(NamedTuple):
    """Embeddings of images, ordered by the images' numbers."""

    embedding: Float[np.ndarray, "n d"]  # float64
    labels: Int[np.ndarray, "n"]
    ids: Int[np.ndarray, "n"]


def with_batch(state: list, embedding: np.ndarray, batch: Batch) -> list:
    """Returns a gathering metric's state with a batch's valid rows added.

    Args:
      state: of the batches before.
      embedding: (b, d).
      batch: with one label per image.
    """
    valid = np.asarray(batch.valid)
    rows = embedding[valid], batch.targets.label[valid], batch.id[valid]
    return [*state, tuple(np.asarray(row) for row in rows)]


def rows_of(state: list, labels: tuple[int, ...] = ()) -> Rows:
    """Joins what was gathered of one batch or more.

    Args:
      state: made by `with_batch`; not empty.
      labels: (first, end) of the labels that are kept; () is all.
    """
    embedding, label, ids = (np.concatenate(part) for part in zip(*state, strict=True))
    order = np.argsort(ids, kind="stable")
    if labels:
        order = order[(label[order] >= labels[0]) & (label[order] < labels[1])]
    return Rows(embedding[order].astype(np.float64), label[order], ids[order])
