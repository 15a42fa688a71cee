"""A prediction for one image, told in JSON's types and drawn, for each kind of output."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from vision_jax import visualize
from vision_jax.ops import rle
from vision_jax.ops.masks import paste_masks
from vision_jax.structs import Batch, Detections
from vision_jax.tasks import Predictor
from vision_jax.visualize.detection import COCO_SKELETON, original_boxes, original_points

Rendered = tuple[dict[str, Any], dict[str, Image.Image]]

MASK_THRESHOLD = 0.5


def render(
    task: Predictor, outputs: dict[str, Any], batch: Batch, image: np.ndarray, classes: tuple
) -> Rendered:
    """Tells and draws the prediction for one image.

    Args:
      task: describes outputs in words.
      outputs: those that it shows, of a batch of one image.
      batch: the image as the network was fed it; its scale leads back to the original.
      image: the original.
      classes: names.

    Returns:
      The answer in JSON's types, with a `text` of one line; and pictures by name, 'picture' among
      them.
    """
    if "detections" in outputs:
        detections = jax.tree.map(np.asarray, outputs["detections"])
        return _objects(task, detections, batch, image, classes)
    if "segmentation" in outputs:
        return _segmentation(task, np.asarray(outputs["segmentation"]), batch, image, classes)
    (answer,) = task.describe(outputs, classes)
    side = max(224, min(image.shape[:2]))
    panel = visualize.panel([image], [answer["text"]], side=side)
    return answer, {"picture": Image.fromarray(panel)}


def skeleton(keypoints: np.ndarray | None) -> tuple:
    """Returns the pairs of keypoints (…, k, 3) to join: COCO's for 17, otherwise none."""
    return COCO_SKELETON if keypoints is not None and keypoints.shape[-2] == 17 else ()


def _objects(
    task: Predictor, detections: Detections, batch: Batch, image: np.ndarray, classes: tuple
) -> Rendered:
    """Renders boxes and keypoints in the original's pixels, and masks as COCO's run lengths."""
    scale = batch.scale[0]
    boxes = original_boxes(detections.boxes[0], scale)[None]
    points = detections.keypoints
    if points is not None:
        points = original_points(points[0], scale)[None]
    detections = detections.replace(boxes=boxes, keypoints=points)
    (answer,) = task.describe({"detections": detections}, classes)
    if detections.masks is not None:
        slots = np.flatnonzero(detections.valid[0])
        for one, slot in zip(answer["objects"], slots, strict=True):
            one["mask"] = _run_lengths(detections.masks[0, slot], boxes[0, slot], image.shape[:2])
    picture = visualize.draw_detections(
        image,
        detections,
        0,
        names=classes,
        skeleton=skeleton(points),
        mask_threshold=MASK_THRESHOLD,
    )
    return answer, {"picture": Image.fromarray(picture)}


def _run_lengths(mask: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> dict[str, Any]:
    """Puts a mask to its place in the image and writes it in COCO's format."""
    pasted = paste_masks(jnp.asarray(mask[None]), jnp.asarray(box[None], jnp.float32), *size)
    text = rle.encode(np.asarray(pasted[0]) > MASK_THRESHOLD)
    return {"size": list(size), "counts": text.decode()}


def _segmentation(
    task: Predictor, labels: np.ndarray, batch: Batch, image: np.ndarray, classes: tuple
) -> Rendered:
    """Renders labels at the original's size: as a palette PNG, and drawn over the image."""
    labels = visualize.original_labels(labels[0], batch.size[0], batch.scale[0])
    (answer,) = task.describe({"segmentation": labels[None]}, classes)
    palette = Image.fromarray(labels)
    palette.putpalette(visualize.voc_palette().tobytes())
    overlay = Image.fromarray(visualize.draw_semantic(labels, image))
    return answer, {"picture": overlay, "labels": palette}
