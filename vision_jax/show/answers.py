"""One image's answer, told in JSON's types and drawn, for each kind of output that tasks show."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from vision_jax import visualize
from vision_jax.ops import rle
from vision_jax.ops.masks import paste_masks
from vision_jax.structs import Batch, Detections
from vision_jax.visualize.detection import COCO_SKELETON, original_boxes, original_points

Answer = tuple[dict[str, Any], dict[str, Image.Image]]

MASK_THRESHOLD = 0.5


def answer(
    task: Any, outputs: dict[str, Any], batch: Batch, image: np.ndarray, classes: Sequence[str]
) -> Answer:
    """What is told, with a `text` of one line; and pictures by name, 'picture' among them.

    Args:
      task: describes outputs in words.
      outputs: those that it shows, of a batch of one image.
      batch: the image as the network was fed it; its scale leads back to the original.
      image: the original.
      classes: names.
    """
    if "detections" in outputs:
        found = jax.tree.map(np.asarray, outputs["detections"])
        return _objects(task, found, batch, image, classes)
    if "segmentation" in outputs:
        return _segmentation(task, np.asarray(outputs["segmentation"]), batch, image, classes)
    (told,) = task.describe(outputs, classes)
    side = max(224, min(image.shape[:2]))
    return told, {"picture": Image.fromarray(visualize.panel([image], [told["text"]], side=side))}


def skeleton(keypoints: np.ndarray | None) -> tuple:
    """Which keypoints (…, k, 3) to join: COCO's for 17, otherwise none."""
    return COCO_SKELETON if keypoints is not None and keypoints.shape[-2] == 17 else ()


def _objects(
    task: Any, found: Detections, batch: Batch, image: np.ndarray, classes: Sequence[str]
) -> Answer:
    """Boxes and keypoints in pixels of the original image, and masks as COCO's run lengths."""
    scale = batch.scale[0]
    boxes = original_boxes(found.boxes[0], scale)[None]
    points = found.keypoints
    if points is not None:
        points = original_points(points[0], scale)[None]
    found = found.replace(boxes=boxes, keypoints=points)
    (told,) = task.describe({"detections": found}, classes)
    if found.masks is not None:
        places = np.flatnonzero(found.valid[0])
        for one, place in zip(told["objects"], places, strict=True):
            one["mask"] = _run_lengths(found.masks[0, place], boxes[0, place], image.shape[:2])
    drawn = visualize.draw_detections(
        image, found, 0, names=classes, skeleton=skeleton(points), mask_threshold=MASK_THRESHOLD
    )
    return told, {"picture": Image.fromarray(drawn)}


def _run_lengths(mask: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> dict[str, Any]:
    """One mask at its place in the image, in COCO's format."""
    whole = paste_masks(jnp.asarray(mask[None]), jnp.asarray(box[None], jnp.float32), *size)
    text = rle.encode(np.asarray(whole[0]) > MASK_THRESHOLD)
    return {"size": list(size), "counts": text.decode()}


def _segmentation(
    task: Any, found: np.ndarray, batch: Batch, image: np.ndarray, classes: Sequence[str]
) -> Answer:
    """The labels at the original's size: told, as a palette PNG, and drawn over the image."""
    labels = visualize.original_labels(found[0], batch.size[0], batch.scale[0])
    (told,) = task.describe({"segmentation": labels[None]}, classes)
    palette = Image.fromarray(labels)
    palette.putpalette(visualize.voc_palette().tobytes())
    overlay = Image.fromarray(visualize.draw_semantic(labels, image))
    return told, {"picture": overlay, "labels": palette}
