import dataclasses

import no_tensorflow
import numpy as np
import pytest
import scipy.stats
import tensorflow_datasets as tfds
from pycocotools import mask as coco_mask

from vision_jax.data import shapes
from vision_jax.data.shapes_draw import CLASSES, COLOURS, KEYPOINT_MIRROR, KEYPOINTS, VOID

CONFIGS = {config.name: config for config in shapes.CONFIGS}
PREPARE = """
import sys
from vision_jax.data import prepare, shapes
for config in shapes.CONFIGS:
    config.train, config.validation = 24, 8
    prepare.prepare(f"shapes/{config.name}", sys.argv[1])
assert "tensorflow" not in sys.modules
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    assert no_tensorflow.run(PREPARE, folder) == (0, "", "")
    return folder


def records(folder, name, split="train", **options):
    builder = tfds.builder_from_directory(folder / "shapes" / name / "1.0.0")
    return builder.as_data_source(split, **options)


def scenes(name, count):
    return [shapes.scene(CONFIGS[name], "train", i) for i in range(count)]


@pytest.mark.parametrize("name", CONFIGS)
def test_annotations_agree_with_each_other(folder, name):
    size, seen = CONFIGS[name].look.size, 0
    for record in records(folder, name):
        objects = record["objects"]
        masks = [
            coco_mask.decode({"size": (size, size), "counts": rle}).astype(bool)
            for rle in objects["rle"]
        ]
        assert np.sum(masks, axis=0).max() <= 1  # visible parts do not overlap
        assert record["label"] == objects["label"][np.argmax(objects["area"])]
        painted = np.zeros((size, size), int)
        for mask, box, area, label in zip(
            masks, objects["bbox"], objects["area"], objects["label"], strict=True
        ):
            y, x = np.nonzero(mask)
            tight = np.array([y.min(), x.min(), y.max() + 1, x.max() + 1])
            np.testing.assert_allclose(box * size, tight, atol=1e-4)
            assert area == mask.sum() > 0
            painted[mask] = label + 1
            seen += 1
        segmentation = record["segmentation"][..., 0]
        known = segmentation != VOID
        np.testing.assert_array_equal(segmentation[known], painted[known])
        assert known.all() or CONFIGS[name].look.void
    assert seen >= 24


def test_example_depends_on_seed_split_and_number_alone(folder):
    config = CONFIGS["det64"]
    raw = records(folder, "det64", decoders={"image": tfds.decode.SkipDecoding()})
    first = [shapes.example(config, "train", i) for i in range(3)]
    for i, example in enumerate(first):  # the folder was written as part of a split of 24
        assert raw[i]["image"] == example["image"].getvalue()
        assert raw[i]["objects"]["rle"] == [o["rle"] for o in example["objects"]]
    others = [
        shapes.example(config, "validation", 0),
        shapes.example(config, "train", 1),
        shapes.example(dataclasses.replace(config, seed=1), "train", 0),
    ]
    for other in others:
        assert other["image"].getvalue() != first[0]["image"].getvalue()


def test_classes_are_balanced_and_in_no_fixed_order():
    labels = [scene.label for scene in scenes("cls32", 64)]
    assert np.bincount(labels).tolist() == [8] * len(CLASSES)
    assert len({tuple(labels[k : k + 8]) for k in range(0, 64, 8)}) == 8


def test_painters_order_visibility_and_difficulty():
    covered = difficult = crowds = 0
    for scene in scenes("hard", 24):
        expected = np.zeros(scene.segmentation.shape, int)
        for shape in scene.shapes:
            expected[shape.alpha > 0.5] = shape.label + 1
        np.testing.assert_array_equal(scene.segmentation, expected)
        for k, shape in enumerate(scene.shapes):
            full, shown = shape.alpha > 0.5, scene.masks[k]
            later = np.any([s.alpha > 0.5 for s in scene.shapes[k + 1 :]] or [~full & full], axis=0)
            np.testing.assert_array_equal(shown, full & ~later)
            assert scene.difficult[k] == (shown.sum() < 0.3 * full.sum())
            covered += bool((full & later).any())
            difficult += bool(scene.difficult[k])
            crowds += shape.crowd
            for x, y, visibility in scene.keypoints[k]:
                if visibility:
                    assert (visibility == 1) == later[int(y), int(x)]
    assert covered > 20 and difficult > 0 and crowds > 0


def test_void_is_where_the_uppermost_shape_covers_a_pixel_partly():
    for scene in scenes("seg64", 8):
        for (y, x), value in np.ndenumerate(scene.segmentation):
            covers = [shape.alpha[y, x] for shape in reversed(scene.shapes)]
            uppermost = next((c for c in covers if c > 0.02), 0.0)
            assert (value == VOID) == (0 < uppermost < 0.98)
        assert VOID in scene.segmentation


def test_keypoints_are_the_extremes_of_the_outline():
    found = 0
    for scene in scenes("cls32", 32):
        y, x = np.nonzero(scene.masks[0])
        _, top, right, bottom, left = scene.keypoints[0]
        for point, axis, edge in (
            (top, 1, y.min()),
            (right, 0, x.max() + 1),
            (bottom, 1, y.max() + 1),
            (left, 0, x.min()),
        ):
            if point[2]:
                # A thin tip covers less than half of its last pixels.
                assert abs(point[axis] - edge) < 2.5
                found += 1
            else:
                assert not point.any()
    assert found > 100
    mirrored = [KEYPOINTS[k] for k in KEYPOINT_MIRROR]
    assert mirrored == ["centre", "top", "left", "bottom", "right"]


def test_captions_tell_what_is_there(folder):
    numbers = dict(enumerate(["no", "one", "two", "three", "four", "five", "six"]))
    compared = 0
    for scene, record in zip(scenes("det128", 24), records(folder, "det128"), strict=True):
        assert [c.decode() for c in record["captions"]] == list(scene.captions)
        ranked = sorted(scene.shapes, key=lambda s: -s.radius)
        for shape in ranked[:3]:
            assert f"{shape.colour} {CLASSES[shape.label]}" in scene.captions[0]
        assert scene.captions[1].startswith(f"{numbers[len(ranked)]} shape")
        if len(ranked) > 1:
            left = ranked[0].centre[0] < ranked[1].centre[0]
            assert f"to the {'left' if left else 'right'} of" in scene.captions[2]
            compared += 1
    assert compared > 5


def test_only_form_tells_the_class():
    """Colour is independent of the class, and a linear model of the pixels stays near chance."""
    from sklearn.linear_model import RidgeClassifier

    drawn = scenes("cls32", 1600)
    labels = np.array([scene.label for scene in drawn])
    names = list(COLOURS)
    table = np.zeros((len(CLASSES), len(names)))
    np.add.at(table, (labels, [names.index(scene.shapes[0].colour) for scene in drawn]), 1)
    assert scipy.stats.chi2_contingency(table).pvalue > 0.01
    pixels = np.stack([scene.image for scene in drawn]).reshape(len(drawn), -1) / 255 - 0.5
    model = RidgeClassifier(alpha=1000.0).fit(pixels[:1200], labels[:1200])
    assert model.score(pixels[1200:], labels[1200:]) < 0.25
