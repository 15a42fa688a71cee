"""The stages of a cascade of detectors: how many windows, and how many faces, each one leaves."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from vision_jax.evaluation.metric import RatioMetric, Results
from vision_jax.ops import boxes as box_ops
from vision_jax.structs import Array, Batch


@dataclass(frozen=True)
class CascadeStages(RatioMetric):
    """The windows that the networks of a `models.CNNCascade` see, and the faces among them.

    Result, for each network by its side in pixels: `windows12`, windows per image that it sees, and
    `recall12`, the share of faces that one of these covers; `windows_left` and `recall_left` after
    the last one; and `iou12` and `calibrated_iou12`, the mean over faces of the best IoU with what
    it let through, before and after calibration. Faces marked difficult or crowd are left out. The
    report has curves of what is left.

    Attributes:
      iou: from which a window covers a face.
      sides: of the networks.
    """

    iou: float = 0.5
    sides: tuple[int, ...] = (12, 24, 48)

    outputs: ClassVar[tuple[str, ...] | None] = ("seen", "passed", "calibrated", "detections")

    def names(self) -> tuple[str, ...]:
        places = (*map(str, self.sides), "_left")
        names = [f"{name}{place}" for place in places for name in ("windows", "recall")]
        return (
            *names,
            *(f"{name}{side}" for side in self.sides for name in ("iou", "calibrated_iou")),
        )

    def update(self, outputs: dict[str, Any], batch: Batch) -> dict[str, tuple[Array, Array]]:
        faces = _faces(batch)
        found: dict[str, tuple[Array, Array]] = {}
        images = jnp.sum(batch.valid, dtype=jnp.int32)
        stages = (*outputs["seen"], outputs["detections"])
        for place, windows in zip((*map(str, self.sides), "_left"), stages, strict=True):
            there = windows.valid & batch.valid[:, None]
            found[f"windows{place}"] = jnp.sum(there, dtype=jnp.float32), images
            best = _best(windows.boxes, windows.valid, batch)
            found[f"recall{place}"] = _mean(best >= self.iou, faces)
        for side, passed, moved in zip(
            self.sides, outputs["passed"], outputs["calibrated"], strict=True
        ):
            for name, boxes in (("iou", passed.boxes), ("calibrated_iou", moved)):
                found[f"{name}{side}"] = _mean(_best(boxes, passed.valid, batch), faces)
        return found

    def result(self, state: dict[str, tuple[np.float64, np.int64]]) -> Results:
        results = super().result(state)
        places = (*map(str, self.sides), "_left")
        for name, title in (("windows", "windows"), ("recall", "faces")):
            left = [results.get(f"{name}{place}", 0.0) for place in places]
            share = np.array(left) / max(float(left[0]), 1e-9)
            line = np.stack([np.arange(len(places), dtype=np.float64), share])
            results[f"curve/share left/networks passed/{title}"] = line
        return results


def _faces(batch: Batch) -> Array:
    """Returns which objects count, (b, m)."""
    targets = batch.targets
    if targets.boxes is None or targets.valid is None:
        raise ValueError("CascadeStages needs targets.boxes and targets.valid")
    counted = targets.valid & batch.valid[:, None]
    for flag in (targets.difficult, targets.crowd):
        counted = counted if flag is None else counted & ~flag
    return counted


def _best(boxes: Array, valid: Array, batch: Batch) -> Array:
    """Returns each object's best IoU with the boxes of its image, (b, m)."""
    pairs = jax.vmap(lambda a, b: box_ops.pairwise(box_ops.iou, a, b))
    return jnp.where(valid[..., None], pairs(boxes, batch.targets.boxes), 0).max(1)


def _mean(values: Array, counted: Array) -> tuple[Array, Array]:
    total = jnp.where(counted, values.astype(jnp.float32), 0).sum()
    return total, jnp.sum(counted, dtype=jnp.int32)
