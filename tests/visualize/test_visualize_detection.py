"""Detections, segmentations and matches: the right colour at the right pixel."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from vision_jax import visualize
from vision_jax.ops.assign import BACKGROUND, IGNORED
from vision_jax.structs import Detections
from vision_jax.visualize import colors, detection, matches
from vision_jax.visualize.captions import draw_caption

BLACK = np.zeros((60, 90, 3), np.uint8)


def has(picture, color):
    return bool((picture == np.array(color, np.uint8)).all(-1).any())


def found(**more):
    """Two detections and padding, for a network whose input is (120, 90): scale (2, 1)."""
    return Detections(
        boxes=np.array([[[10, 60, 30, 100], [50, 60, 70, 100], [0, 0, 0, 0]]], np.float32),
        scores=np.array([[0.9, 0.6, 0.0]], np.float32),
        labels=np.array([[1, 2, -1]], np.int32),
        valid=np.array([[True, True, False]]),
        **more,
    )


SCALE = np.array([2.0, 1.0])


def test_contour_is_the_mask_minus_its_inside():
    mask = np.zeros((5, 6), bool)
    mask[1:4, 1:6] = True  # touches the right border
    got = detection.contour(mask)
    wanted = mask.copy()
    wanted[2, 2:5] = False
    np.testing.assert_array_equal(got, wanted)


def test_masks_are_tinted_inside_and_solid_at_the_contour():
    masks = np.zeros((2, 60, 90), bool)
    masks[0, 10:20, 10:20] = True
    masks[1] = True
    before = BLACK.copy()
    got = visualize.draw_masks(BLACK, masks, [1, -1], tint=0.5)
    color = np.array(colors.of_class(1))
    np.testing.assert_array_equal(got[10, 15], color)
    np.testing.assert_array_equal(got[15, 15], np.round(color / 2))
    assert got[9, 15].max() == 0 and got[15, 20].max() == 0  # padding does not tint all
    np.testing.assert_array_equal(BLACK, before)


def test_masks_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"masks are \(5, 5\), the image \(60, 90\)"):
        visualize.draw_masks(BLACK, np.zeros((1, 5, 5), bool), [0])


def test_keypoints_are_joined_only_where_both_ends_are_visible():
    points = np.array([[[10, 10, 2], [50, 10, 1], [50, 50, 0]]], float)
    got = visualize.draw_keypoints(BLACK, points, [0], [(0, 1), (1, 2)])
    np.testing.assert_array_equal(got[10, 30], colors.of_class(0))
    assert got[30, 50].max() == 0
    np.testing.assert_array_equal(got[10, 10], colors.PAPER)
    assert got[48:53, 48:53].max() == 0
    assert visualize.draw_keypoints(BLACK, points, [-1], [(0, 1)]).max() == 0


def test_the_skeleton_joins_all_of_cocos_points():
    assert {end for pair in visualize.COCO_SKELETON for end in pair} == set(range(17))


def test_detections_lie_on_the_original_image():
    got = visualize.draw_detections(BLACK, found(), 0, SCALE, names=("a", "b", "c"))
    first, second = colors.of_class(1), colors.of_class(2)
    # y is halved: rows 30..50.
    np.testing.assert_array_equal(got[49, 20], first)
    np.testing.assert_array_equal(got[40, 29], first)
    np.testing.assert_array_equal(got[49, 60], second)
    assert got[40, 20].max() == 0 and got[50:].max() == 0
    unscaled = visualize.draw_detections(np.zeros((120, 90, 3), np.uint8), found(), 0)
    np.testing.assert_array_equal(unscaled[99, 20], first)


def test_detections_below_the_least_score_are_left_out():
    got = visualize.draw_detections(BLACK, found(), 0, SCALE, score_threshold=0.7)
    assert has(got, colors.of_class(1)) and not has(got, colors.of_class(2))
    none = visualize.draw_detections(
        BLACK, found(masks=np.ones((1, 3, 4, 4))), 0, score_threshold=0.95
    )
    assert none.max() == 0


def test_detected_masks_and_keypoints_follow_the_scale():
    masks = np.ones((1, 3, 4, 4), np.float32)
    points = np.zeros((1, 3, 2, 3), np.float32)
    points[0, 0] = [[20, 80, 1], [25, 80, 0]]
    got = visualize.draw_detections(BLACK, found(masks=masks, keypoints=points), 0, SCALE)
    tinted = np.round(0.45 * np.array(colors.of_class(1)))
    np.testing.assert_array_equal(got[45, 15], tinted)
    np.testing.assert_array_equal(got[40, 20], colors.PAPER)
    np.testing.assert_array_equal(got[45, 40], [0, 0, 0])


def test_the_palette_is_vocs():
    palette = visualize.voc_palette()
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 8: (64, 0, 0)}
    known |= {15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}
    for label, color in known.items():
        assert tuple(palette[label]) == color
    assert len(np.unique(palette, axis=0)) == 256


def test_semantic_labels_over_an_image_leave_the_background():
    labels = np.zeros((60, 90), np.int32)
    labels[:10], labels[10:20] = 15, 255
    gray = np.full((60, 90, 3), 100, np.uint8)
    alone, over = visualize.draw_semantic(labels), visualize.draw_semantic(labels, gray, 0.5)
    assert alone[0, 0].tolist() == [192, 128, 128] and alone[59, 0].tolist() == [0, 0, 0]
    assert over[0, 0].tolist() == [146, 114, 114] and over[59, 0].tolist() == [100, 100, 100]
    with pytest.raises(ValueError, match=r"labels are -1\.\.15"):
        visualize.draw_semantic(np.array([[-1, 15]]))
    with pytest.raises(ValueError, match="the image"):
        visualize.draw_semantic(labels[:5], gray)


def test_semantic_labels_return_to_the_original_size_without_padding():
    original = np.array([[1, 2, 3], [4, 5, 6]])
    fed = np.full((10, 10), 255)
    fed[:4, :9] = original.repeat(2, 0).repeat(3, 1)
    got = visualize.original_labels(fed, np.array([2, 3]), np.array([2.0, 3.0]))
    np.testing.assert_array_equal(got, original)


def test_anchors_have_the_colour_of_their_object():
    anchors = np.array([[10, 20, 30, 40], [140, 20, 160, 40], [165, 20, 180, 40], [2, 2, 8, 8]])
    truth = np.array([[5.0, 65, 35, 98], [162, 85, 185, 98]])
    match = np.array([0, BACKGROUND, IGNORED, 1])
    large = np.zeros((100, 190, 3), np.uint8)
    got = visualize.draw_matches(large, anchors, match, truth)
    np.testing.assert_array_equal(got[39, 20], colors.of_class(0))
    np.testing.assert_array_equal(got[39, 150], matches.BACKGROUND_COLOR)
    np.testing.assert_array_equal(got[20, 170], matches.IGNORED_COLOR)
    np.testing.assert_array_equal(got[7, 5], colors.of_class(1))
    np.testing.assert_array_equal(got[97, 170], colors.of_class(1))
    hidden = visualize.draw_matches(large, anchors, match, truth, max_others=0)
    assert hidden[39, 150].max() == 0 and has(hidden, colors.of_class(0))
    shown = [color for color, _ in visualize.MATCH_LEGEND]
    assert shown == [colors.of_class(0), matches.BACKGROUND_COLOR, matches.IGNORED_COLOR]


def test_matched_objects_are_captioned_with_their_class_and_number_of_anchors():
    anchors, truth = np.array([[10, 20, 30, 40], [12, 20, 30, 40]]), np.array([[5.0, 65, 35, 98]])
    large, match = np.zeros((100, 190, 3), np.uint8), np.zeros(2, int)
    captions = {
        "face: 2 anchors": visualize.draw_matches(
            large, anchors, match, truth, labels=[1], names=["cat", "face"]
        ),
        "#0: 2 anchors": visualize.draw_matches(large, anchors, match, truth),
        "face: 1 anchor": visualize.draw_matches(
            large, anchors[:1], match[:1], truth, labels=[1], names=["cat", "face"]
        ),
    }
    for caption, got in captions.items():
        expected = large.copy()
        canvas = Image.fromarray(expected)
        draw_caption(ImageDraw.Draw(canvas), 5, 65, caption, colors.of_class(0))
        np.testing.assert_array_equal(got[45:64], np.asarray(canvas)[45:64])


def test_matches_are_drawn_on_the_original_and_checked():
    anchors, truth = np.array([[10, 40, 30, 80]]), np.zeros((0, 4))
    got = visualize.draw_matches(BLACK, anchors, np.array([BACKGROUND]), truth, SCALE)
    np.testing.assert_array_equal(got[39, 20], matches.BACKGROUND_COLOR)
    assert got[40:].max() == 0
    with pytest.raises(ValueError, match="for 0 objects"):
        visualize.draw_matches(BLACK, anchors, np.array([0]), truth)


def test_at_most_so_many_background_anchors_are_drawn():
    anchors = np.array([[x, 2, x + 3, 5] for x in range(0, 80, 4)])
    match = np.full(20, BACKGROUND)
    got = visualize.draw_matches(BLACK, anchors, match, np.zeros((0, 4)), max_others=5)
    drawn = (got[2, 0:80:4] == matches.BACKGROUND_COLOR).all(-1)
    np.testing.assert_array_equal(np.flatnonzero(drawn), [0, 4, 8, 12, 16])
