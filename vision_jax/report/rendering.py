"""A prediction for one image, told in JSON's types and drawn, for each kind of output."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from PIL import Image

from vision_jax import visualize
from vision_jax.ops import rle
from vision_jax.ops.masks import paste_on_host
from vision_jax.report.gallery_images import as_pixels
from vision_jax.structs import Batch, Detections
from vision_jax.tasks.descriptions import Answers
from vision_jax.visualize.captions import wrapped
from vision_jax.visualize.detection import COCO_SKELETON, original_boxes, original_points

Describe = Callable[[dict[str, Any], tuple, float | None], Answers]
Rendered = tuple[dict[str, Any], dict[str, Image.Image]]

SCORE_THRESHOLD = 0.5  # of what is drawn where nobody asks for another
MASK_THRESHOLD = 0.5


def render(
    describe: Describe,
    outputs: dict[str, Any],
    batch: Batch,
    image: np.ndarray,
    classes: tuple,
    threshold: float | None = None,
) -> Rendered:
    """Tells and draws the prediction for one image.

    Args:
      describe: tells outputs in words, as `Predictor.describe` does.
      outputs: those that the task shows, of a batch of one image.
      batch: the image as the network was fed it; its scale leads back to the original.
      image: the original.
      classes: names.
      threshold: the least score of what is told and drawn; None tells everything and draws what has
        at least 0.5.

    Returns:
      The answer in JSON's types, with a `text` of one line; and pictures by name, 'picture' among
      them.
    """
    if "detections" in outputs:
        detections = jax.tree.map(np.asarray, outputs["detections"])
        return _objects(describe, detections, batch, image, classes, threshold)
    if "segmentation" in outputs:
        return _segmentation(describe, np.asarray(outputs["segmentation"]), batch, image, classes)
    if "image" in outputs:
        (answer,) = describe(outputs, classes, threshold)
        return answer, {"picture": Image.fromarray(as_pixels(outputs["image"][0]))}
    if "tokens" in outputs:
        return _caption(describe, outputs, batch, image, classes)
    if "boxes" in outputs or "points" in outputs:
        return _places(describe, outputs, batch, image, classes, threshold)
    (answer,) = describe(outputs, classes, threshold)
    side = max(224, min(image.shape[:2]))
    panel = visualize.panel([image], [answer["text"]], side=side)
    return answer, {"picture": Image.fromarray(panel)}


def skeleton(keypoints: np.ndarray | None) -> tuple:
    """Returns the pairs of keypoints (…, k, 3) to join: COCO's for 17, otherwise none."""
    return COCO_SKELETON if keypoints is not None and keypoints.shape[-2] == 17 else ()


def _objects(
    describe: Describe,
    detections: Detections,
    batch: Batch,
    image: np.ndarray,
    classes: tuple,
    threshold: float | None,
) -> Rendered:
    """Renders boxes and keypoints in the original's pixels, and masks as COCO's run lengths."""
    scale = batch.scale[0]
    boxes = original_boxes(detections.boxes[0], scale)[None]
    points = detections.keypoints
    if points is not None:
        points = original_points(points[0], scale)[None]
    detections = detections.replace(boxes=boxes, keypoints=points)
    (answer,) = describe({"detections": detections}, classes, threshold)
    if detections.masks is not None:
        slots = np.flatnonzero(detections.valid[0] & (detections.scores[0] >= (threshold or 0)))
        for one, slot in zip(answer["objects"], slots, strict=True):
            one["mask"] = _run_lengths(detections.masks[0, slot], boxes[0, slot], image.shape[:2])
    picture = visualize.draw_detections(
        image,
        detections,
        0,
        names=classes,
        skeleton=skeleton(points),
        score_threshold=SCORE_THRESHOLD if threshold is None else threshold,
        mask_threshold=MASK_THRESHOLD,
    )
    return answer, {"picture": Image.fromarray(picture)}


def _caption(
    describe: Describe, outputs: dict[str, Any], batch: Batch, image: np.ndarray, classes: tuple
) -> Rendered:
    """Renders a caption below its image; and where it was looked for each word, if that is told."""
    (answer,) = describe(outputs, classes, None)
    side = max(320, min(image.shape[:2]))
    panel = visualize.panel([image], ["\n".join(wrapped(answer["text"], side))], side=side)
    pictures = {"picture": Image.fromarray(panel)}
    if "attention" in outputs and (words := answer["caption"].split()):
        maps = np.asarray(outputs["attention"][0])
        drawn = visualize.draw_attended_words(np.asarray(batch.image[0]), words, maps)
        pictures["attention"] = Image.fromarray(drawn)
    return answer, pictures


def _places(
    describe: Describe,
    outputs: dict[str, Any],
    batch: Batch,
    image: np.ndarray,
    classes: tuple,
    threshold: float | None,
) -> Rendered:
    """Renders the boxes, or the points, of the one thing in an image, in the original's pixels."""
    scale, moved, picture = batch.scale[0], dict(outputs), image
    if "boxes" in outputs:
        boxes = original_boxes(np.asarray(outputs["boxes"][0]), scale)
        moved["boxes"] = boxes[None]
    else:
        points = np.asarray(outputs["points"][0]) / scale[::-1]
        moved["points"] = points[None]
    (answer,) = describe(moved, classes, threshold)
    if "boxes" in outputs:
        labels = np.full(len(boxes), answer["label"])
        picture = visualize.draw_boxes(image, boxes, labels, classes)
    else:
        seen = np.concatenate([points, np.ones((len(points), 1))], 1)
        picture = visualize.draw_keypoints(image, seen[None], [answer["label"]])
    return answer, {"picture": Image.fromarray(picture)}


def _run_lengths(mask: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> dict[str, Any]:
    """Puts a mask to its place in the image and writes it in COCO's format."""
    (pasted,) = paste_on_host(mask[None], box[None], *size)
    text = rle.encode(pasted > MASK_THRESHOLD)
    return {"size": list(size), "counts": text.decode()}


def _segmentation(
    describe: Describe, labels: np.ndarray, batch: Batch, image: np.ndarray, classes: tuple
) -> Rendered:
    """Renders labels at the original's size: as a palette PNG, and drawn over the image."""
    labels = visualize.original_labels(labels[0], batch.size[0], batch.scale[0])
    (answer,) = describe({"segmentation": labels[None]}, classes, None)
    palette = Image.fromarray(labels)
    palette.putpalette(visualize.voc_palette().tobytes())
    overlay = Image.fromarray(visualize.draw_semantic(labels, image))
    return answer, {"picture": overlay, "labels": palette}
