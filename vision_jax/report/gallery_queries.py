"""Pictures of a detector of sets: where its queries look, and where they have found their boxes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vision_jax import visualize
from vision_jax.report.gallery import DrawnGallery
from vision_jax.report.gallery_semantic import cells
from vision_jax.structs import Batch
from vision_jax.visualize.captions import named
from vision_jax.visualize.detection import original_boxes
from vision_jax.visualize.heat import overlay

SIDE = 192  # pixels of a picture


class AttentionGallery(DrawnGallery):
    """A choice of images with their most certain object and the attention that belongs to it.

    The first half are the images of whose object the network is most certain.
    """

    def add(self, outputs: Mapping[str, Any], batch: Batch) -> None:
        """Looks at a batch: a detector's outputs that its `shown` names, NumPy arrays."""
        scores = np.asarray(outputs["detections"].scores)
        for row in np.flatnonzero(batch.valid).tolist():
            if outputs["detections"].valid[row].any():
                self._kept.offer(
                    int(batch.id[row]),
                    1 - float(scores[row].max()),
                    lambda row=row: self._draw(outputs, batch, row),
                )

    def result(self) -> dict[str, np.ndarray]:
        """Returns pictures and captions: for `save_arrays(folder, "attention", …)`."""
        return cells(self._kept.result(), ("object", "decoder", "encoder"))

    def _draw(self, outputs: Mapping[str, Any], batch: Batch, row: int) -> tuple:
        image, scale = self._originals.seen(batch, row)
        picture = visualize.fit(image, SIDE)
        found = outputs["detections"]
        best = int(np.argmax(np.where(found.valid[row], found.scores[row], -1)))
        label, score = int(found.labels[row][best]), float(found.scores[row][best])
        ratio = scale * image.shape[:2] / picture.shape[:2]
        boxes = original_boxes(np.asarray(found.boxes[row])[best : best + 1], ratio)
        drawn = visualize.draw_boxes(picture, boxes, np.array([label]), self._names)
        maps = np.asarray(outputs["attention_maps"][row, 0], np.float32)
        share = np.asarray(image.shape[:2]) * scale / np.asarray(batch.image.shape[1:3])
        height, width = np.maximum(1, np.round(share * maps.shape[1:])).astype(int)
        layers = [overlay(picture, x[:height, :width]) for x in maps]
        return drawn, *layers, f"{named(label, self._names)} {score:.0%}"


class Slots:
    """The boxes of all queries in all images, up to so many images."""

    def __init__(self, most: int = 2000):
        self._most, self._boxes = most, []

    def add(self, boxes: np.ndarray, batch: Batch) -> None:
        """Looks at a batch's boxes (b, q, 4), cxcywh in shares of the image."""
        room = self._most - sum(map(len, self._boxes))
        self._boxes.append(np.asarray(boxes, np.float32)[np.asarray(batch.valid)][:room])

    def result(self) -> dict[str, np.ndarray]:
        """Returns the boxes: for `save_arrays(folder, "slots", …)`."""
        return {"boxes": np.concatenate(self._boxes) if self._boxes else np.zeros((0, 1, 4))}
