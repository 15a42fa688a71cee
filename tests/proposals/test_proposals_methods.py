"""Every method's boxes: within the image, reproducible, and near what is there to be found."""

import itertools

import numpy as np
import pytest

from vision_jax.proposals import (
    METHODS,
    Gaussian,
    SelectiveSearch,
    SlidingWindow,
    Uniform,
    described,
)
from vision_jax.proposals.regions import tight_boxes

FAST = ("selective_search_fast", "selective_search_opencv_fast", "selective_search_single")
QUICK = [name for name in METHODS if not name.startswith(("selective_search", "bing"))] + [*FAST]
NOT_RANDOM = ("edge_boxes", "edge_boxes_small")
THINGS = np.array([[10, 8, 34, 40], [40, 20, 60, 50], [5, 44, 20, 60]])


def scene():
    """Three things of different colours on noise."""
    image = np.random.default_rng(0).normal(90, 4, (64, 72, 3))
    for (x0, y0, x1, y1), color in zip(
        THINGS, ((220, 40, 40), (30, 200, 60), (60, 60, 230)), strict=True
    ):
        image[y0:y1, x0:x1] = color + np.random.default_rng(x0).normal(0, 4, (y1 - y0, x1 - x0, 3))
    return image.clip(0, 255).astype(np.uint8)


def best_iou(boxes, truth):
    sides = np.minimum(boxes[:, None, 2:], truth[:, 2:]) - np.maximum(
        boxes[:, None, :2], truth[:, :2]
    )
    both = sides.clip(0).prod(-1)
    areas = [(b[:, 2:] - b[:, :2]).prod(-1) for b in (boxes, truth)]
    return (both / (areas[0][:, None] + areas[1] - both)).max(0)


@pytest.mark.parametrize("name", QUICK)
def test_boxes_lie_within_the_image_and_come_again(name):
    image = scene()
    boxes = METHODS[name](image, 5)
    assert boxes.shape[1:] == (4,) and len(boxes) > (name != "edge_boxes") * 3
    assert (boxes[:, 2:] > boxes[:, :2]).all() and (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= [72, 64]).all()
    np.testing.assert_array_equal(boxes, METHODS[name](image, 5))
    other = METHODS[name](image, 6)
    same = other.shape == boxes.shape and (other == boxes).all()
    assert same == (name in NOT_RANDOM)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (40, 3), (17, 200)])
@pytest.mark.parametrize("name", QUICK)
def test_any_size_of_image(name, shape):
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3)).astype(np.uint8)
    boxes = METHODS[name](image, 0)
    assert boxes.shape[1:] == (4,) and (boxes[:, 2:] <= [shape[1], shape[0]]).all()
    assert len(boxes) or name in NOT_RANDOM  # which may find nothing


@pytest.mark.parametrize("name", [*FAST, "superpixels"])
def test_what_looks_at_the_image_finds_things(name):
    found = best_iou(METHODS[name](scene(), 0), THINGS)
    assert found.min() > 0.8, found


def test_selective_search_has_no_box_twice_and_the_whole_image_early():
    boxes = SelectiveSearch()(scene(), 0)
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    whole = (boxes == [0, 0, 72, 64]).all(1)
    assert whole.argmax() < len(boxes) / 4 and whole.sum() == 1


def test_selective_search_leaves_out_what_is_narrow():
    boxes = SelectiveSearch(min_side=12)(scene(), 0)
    assert len(boxes) and (boxes[:, 2:] - boxes[:, :2]).min() >= 12


def test_a_hierarchy_joins_until_one_is_left():
    search = SelectiveSearch(("hsv",), (100.0,), ((1.0, 1.0, 1.0, 1.0),))
    (boxes,) = search.hierarchies(scene())
    regions = (len(boxes) + 1) // 2
    assert len(boxes) == 2 * regions - 1
    np.testing.assert_array_equal(boxes[-1], [0, 0, 72, 64])


def test_tight_boxes():
    labels = np.array([[0, 0, 1], [2, 0, 1], [2, 2, 2]])
    np.testing.assert_array_equal(tight_boxes(labels), [[0, 0, 2, 2], [2, 0, 3, 2], [0, 1, 3, 3]])


def test_neighbouring_windows_overlap_by_half():
    boxes = SlidingWindow(count=10**6, sides=(16,))(np.zeros((16, 64, 3), np.uint8), 0)
    boxes = boxes[np.argsort(boxes[:, 0])]
    for one, two in itertools.pairwise(boxes):
        assert best_iou(one[None], two[None])[0] >= 0.5 - 1e-9
    assert boxes[0, 0] == 0 and boxes[-1, 2] == 64


def test_baselines_take_after_a_training_set():
    truth = np.array([[10.0, 10, 30, 50], [20, 20, 60, 100], [0, 0, 100, 50]])
    image = np.zeros((100, 200, 3), np.uint8)
    shapes = described(truth, 100, 200)
    np.testing.assert_allclose(shapes[0], [0.1, 0.3, np.log(0.04), np.log(0.5)])
    uniform = Uniform().fitted([(image, truth[:1]), (image, truth[1:])])
    np.testing.assert_allclose(uniform.area, (0.04, 0.25))
    np.testing.assert_allclose(uniform.ratio, (0.5, 2.0))
    gaussian = Gaussian(count=20000).fitted([(image, truth)])
    np.testing.assert_allclose(gaussian.mean, shapes.mean(0))
    np.testing.assert_allclose(gaussian.covariance, np.cov(shapes, rowvar=False))
    same = Gaussian().fitted([(image, truth[:1])])(image, 0)
    np.testing.assert_allclose(same, np.repeat(truth[:1], len(same), 0), atol=1e-9)
