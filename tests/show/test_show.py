"""What the modes tell and draw of detections and segmentations: at the original image's size."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vision_jax import tasks
from vision_jax.models.detectors.detector import DetectorModule
from vision_jax.ops import rle
from vision_jax.show import inspection
from vision_jax.show.rendering import render
from vision_jax.structs import Batch, Detections, Targets
from vision_jax.visualize import colors, voc_palette

HEIGHT, WIDTH = 60, 90
CLASSES = ("background", "cat", "dog")


def fed(scale):
    """A batch of one image whose content is scaled by (y, x)."""
    return Batch(
        image=np.zeros((1, 128, 128, 3), np.uint8),
        valid=np.ones(1, bool),
        index=np.zeros(1, np.int32),
        size=np.array([[HEIGHT, WIDTH]], np.float32),
        scale=np.array([scale], np.float32),
    )


@pytest.mark.parametrize("scale", [(2.0, 1.0), (0.5, 1.25)])
def test_objects_are_told_in_the_originals_pixels(scale):
    y, x = scale
    box, point = np.array([30, 10, 60, 40]), np.array([40, 20])  # in the original
    found = Detections(
        boxes=jnp.array([[box * [x, y, x, y], np.zeros(4)]], jnp.float32),
        scores=jnp.array([[0.75, 0.0]]),
        labels=jnp.array([[1, -1]]),
        valid=jnp.array([[True, False]]),
        masks=jnp.ones((1, 2, 7, 7)),
        keypoints=jnp.tile(jnp.array([*point * [x, y], 0.5], jnp.float32), (1, 2, 3, 1)),
    )
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    told, pictures = render(
        tasks.Detection(Anchored()), {"detections": found}, fed(scale), image, CLASSES
    )
    assert told["text"] == "cat 75%"
    (one,) = json.loads(json.dumps(told["objects"]))
    assert one["box"] == box.tolist() and one["keypoints"] == [[40, 20, 0.5]] * 3
    assert one["mask"]["size"] == [HEIGHT, WIDTH]
    mask = rle.decode(one["mask"]["counts"], HEIGHT, WIDTH)
    rows, columns = np.nonzero(mask)
    # A mask of ones is cut where its padding is half: on the box's edges.
    found_box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(found_box, box, atol=3)
    drawn = np.asarray(pictures["picture"])
    assert drawn.shape == (HEIGHT, WIDTH, 3)
    assert (drawn[25, 30] == colors.of_class(1)).all() and not drawn[25, 25].any()


def test_labels_are_told_at_the_originals_size():
    labels = np.zeros((1, 128, 128), np.int32)
    labels[0, :30, :45] = 2  # the upper left quarter of the content, at half size
    labels[0, 31:] = 1  # padding, below
    image = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    told, pictures = render(
        tasks.Segmentation(nn.Dense(1)),
        {"segmentation": jnp.asarray(labels)},
        fed((0.5, 0.5)),
        image,
        CLASSES,
    )
    assert told["classes"] == [
        {"class": "dog", "label": 2, "share": 1.0},
    ]
    assert pictures["labels"].mode == "P" and pictures["labels"].size == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(np.asarray(pictures["labels"]), 2)
    np.testing.assert_array_equal(
        np.asarray(pictures["labels"].convert("RGB"))[5, 5], voc_palette()[2]
    )
    assert (np.asarray(pictures["picture"]) != 100).any()


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
