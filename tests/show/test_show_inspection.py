"""What `inspect` draws: what is fed, its targets, and which anchors match."""

import jax.numpy as jnp
import numpy as np

from vision_jax import tasks
from vision_jax.models.detectors.detector import DetectorModule
from vision_jax.show import inspection
from vision_jax.structs import Batch, Targets
from vision_jax.visualize import colors, voc_palette

HEIGHT, WIDTH = 60, 90
CLASSES = ("background", "cat", "dog")


class Anchored(DetectorModule):
    """Two anchors: one is the first object's, one nobody's."""

    num_classes: int = 2

    def __call__(self, images, sizes, targets=None, *, train=False, keys=None):
        return {}

    def loss(self, outputs, targets, valid):
        return {}

    def detect(self, outputs, sizes):
        return outputs["detections"]

    def anchors(self, height, width):
        return jnp.array([[2, 2, 10, 10], [0, 0, width, height]], jnp.float32)

    def matches(self, targets, height, width):
        first = jnp.where(targets.valid[:, 0], 0, -1)
        return jnp.stack([first, jnp.full_like(first, -1)], 1)


def inspected():
    boxes = np.array([[[2, 2, 10, 10], [0, 0, 0, 0]]] * 2, np.float32)
    return Batch(
        image=np.zeros((2, 16, 24, 3), np.uint8),
        valid=np.ones(2, bool),
        index=np.arange(2, dtype=np.int32),
        targets=Targets(
            boxes=boxes,
            labels=np.array([[1, -1]] * 2),
            valid=np.array([[True, False], [False, False]]),
            segmentation=np.where(np.arange(24) < 12, 1, 0) * np.ones((2, 16, 1), np.int32),
        ),
    )


def test_objects_and_labels_of_what_is_fed_are_drawn():
    batch = inspected()
    seen = np.zeros((2, 16, 24, 3))
    pictures, captions, side = inspection.target_pictures(seen, batch, None, CLASSES)
    assert captions == ["", ""] and side == 256
    times = 256 // 24
    assert [p.shape for p in pictures] == [(16 * times, 24 * times, 3)] * 2
    first, second = pictures
    tinted = np.round(0.6 * voc_palette()[1]).astype(int)
    np.testing.assert_array_equal(second[5 * times, 5 * times], tinted)
    assert not second[5 * times, 13 * times].any()
    np.testing.assert_array_equal(first[5 * times, 2 * times], colors.of_class(1))


def test_labels_of_the_originals_size_are_drawn_where_they_are_seen():
    batch = inspected()
    labels = np.full((2, 40, 50), 255, np.int32)  # of originals of 32×24 pixels, seen at 16×12
    labels[:, :32, :24] = np.where(np.arange(24) < 12, 1, 2)
    batch = batch.replace(
        targets=Targets(segmentation=labels),
        size=np.full((2, 2), [32, 24], np.float32),
        scale=np.full((2, 2), 0.5, np.float32),
    )
    pictures, _, _ = inspection.target_pictures(np.zeros((2, 16, 24, 3)), batch, None, CLASSES)
    times = 256 // 24
    tints = [np.round(0.6 * voc_palette()[label]).astype(int) for label in (1, 2, 255)]
    for column, tint in zip((5, 6, 12), tints, strict=True):
        np.testing.assert_array_equal(pictures[0][15 * times, column * times], tint)


def test_matches_are_drawn_for_images_with_and_without_objects():
    task = tasks.Detection(Anchored())
    pictures, captions, _ = inspection.match_pictures(task, np.zeros((2, 16, 24, 3)), inspected())
    assert captions == ["1 of 2 anchors", "0 of 2 anchors"]
    times = 256 // 24
    np.testing.assert_array_equal(pictures[0][5 * times, 2 * times], colors.of_class(0))
    assert not (pictures[1] == colors.of_class(0)).all(-1).any()
