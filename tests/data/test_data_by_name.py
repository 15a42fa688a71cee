"""Labels by the names of classes, with the answers worked out by hand."""

import numpy as np
import pytest

from vision_jax import data
from vision_jax.config import UserError
from vision_jax.data.geometry import VOID
from vision_jax.data.sources import BaseSource

BOXES = np.array([[0, 0, 4, 4], [1, 1, 5, 5], [2, 2, 6, 6]], np.float32)


class Pets(BaseSource):
    """One image with a cat, a dog and an owl, and the three in its pixels."""

    classes = ("cat", "dog", "owl")
    category_ids = (7, 8, 9)

    def __len__(self):
        return 1

    def __getitem__(self, i):
        return {
            "image": np.zeros((8, 8, 3), np.uint8),
            "boxes": BOXES,
            "labels": np.array([0, 1, 2], np.int32),
            "rle": [b"cat", b"dog", b"owl"],
            "segmentation": np.array([[0, 1], [2, VOID]], np.uint8),
        }


class Labelled(Pets):
    def __getitem__(self, i):
        return {"image": np.zeros((8, 8, 3), np.uint8), "label": self.label}

    def __init__(self, label):
        self.label = label


def test_the_same_classes_in_another_order():
    source = data.ByName(Pets(), names=("owl", "cat", "dog"))
    example = source[0]
    assert example["labels"].tolist() == [1, 2, 0]
    assert example["segmentation"].tolist() == [[1, 2], [0, VOID]]
    np.testing.assert_array_equal(example["boxes"], BOXES)
    assert source.category_ids == (9, 7, 8)


def test_a_subset_leaves_the_other_objects_and_pixels_out():
    example = data.ByName(Pets(), names=("owl", "cat"))[0]
    assert example["labels"].tolist() == [1, 0]
    assert example["rle"] == [b"cat", b"owl"]
    np.testing.assert_array_equal(example["boxes"], BOXES[[0, 2]])
    assert example["segmentation"].tolist() == [[1, VOID], [0, VOID]]


def test_two_classes_under_one_name():
    source = data.ByName(Pets(), rename=(("cat", "pet"), ("dog", "pet")))
    assert source.classes == ("pet", "owl")
    assert source[0]["labels"].tolist() == [0, 0, 1]


def test_a_class_that_the_data_lack_keeps_its_label():
    source = data.ByName(Pets(), names=("ant", "cat", "dog", "owl"))
    assert source[0]["labels"].tolist() == [1, 2, 3]
    assert source.category_ids == (-1, 7, 8, 9)


def test_an_images_label_and_its_vector_of_labels():
    assert data.ByName(Labelled(2), names=("owl", "cat", "dog"))[0]["label"] == 0
    vector = np.array([1, 0, 1], np.float32)
    found = data.ByName(Labelled(vector), names=("owl", "dog"))[0]["label"]
    np.testing.assert_array_equal(found, [1, 0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"names": ("cat", "cat")}, "'cat' is there twice"),
        ({"rename": (("kat", "pet"),)}, "no class 'kat' - did you mean cat"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(UserError, match=message):
        data.ByName(Pets(), **settings)


def test_an_image_of_a_class_that_is_left_out_is_named():
    with pytest.raises(ValueError, match="its class 'dog' is none of owl, cat"):
        data.ByName(Labelled(1), names=("owl", "cat"))[0]
