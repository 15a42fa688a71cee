"""Answers for one image, told and drawn: at the original image's size."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vision_jax import tasks
from vision_jax.ops import rle
from vision_jax.report.rendering import render
from vision_jax.structs import Batch, Detections
from vision_jax.tasks.descriptions import describe_objects
from vision_jax.visualize import colors, voc_palette

HEIGHT, WIDTH = 60, 90
CLASSES = ("background", "cat", "dog")


def describe(outputs, classes, threshold):
    return describe_objects(outputs["detections"], classes, threshold)


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
    told, pictures = render(describe, {"detections": found}, fed(scale), image, CLASSES)
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
        tasks.Segmentation(nn.Dense(1)).describe,
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


@pytest.mark.parametrize("regress", ["boxes", "keypoints"])
def test_the_place_of_the_only_object_is_told_in_the_originals_pixels(regress):
    task = tasks.Localization(nn.Dense(1), regress=regress)
    name = {"boxes": "boxes", "keypoints": "points"}[regress]
    assert task.shown == ("logits", name)
    place = np.array([[30, 10, 60, 40]] if regress == "boxes" else [[40, 20], [10, 50]])
    scale = np.array([2.0, 0.5, 2.0, 0.5] if regress == "boxes" else [2.0, 0.5])  # x, y
    outputs = {"logits": jnp.array([[0.0, 9.0, 0.0]]), name: jnp.array([place * scale])}
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    told, pictures = render(task.describe, outputs, fed((0.5, 2.0)), image, CLASSES)
    assert told["text"].startswith("cat ") and told[name] == place.tolist()
    drawn = np.asarray(pictures["picture"])
    assert drawn.shape == image.shape and drawn.any()
    assert drawn[25, 30].any() == (regress == "boxes")


def test_a_threshold_leaves_out_what_is_told_and_drawn():
    boxes = np.array([[[5, 5, 25, 25], [40, 10, 70, 40], [30, 45, 50, 55]]], np.float32)
    found = Detections(
        boxes=boxes,
        scores=np.array([[0.9, 0.4, 0.2]], np.float32),
        labels=np.array([[1, 2, 2]]),
        valid=np.ones((1, 3), bool),
        masks=np.ones((1, 3, 7, 7), np.float32),
    )
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for threshold, count, text in (
        (None, 3, "cat 90%"),
        (0.3, 2, "cat 90%, dog 40%"),
        (0.95, 0, "nothing sure"),
    ):
        outputs = {"detections": found}
        told, pictures = render(describe, outputs, fed((1, 1)), image, CLASSES, threshold)
        assert (len(told["objects"]), told["text"]) == (count, text)
        assert all("mask" in one for one in told["objects"])
        drawn = np.asarray(pictures["picture"])
        assert drawn[25, 55].any() == (threshold == 0.3)
