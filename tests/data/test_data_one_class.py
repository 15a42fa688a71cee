"""One class of the embedded shapes, and all of them as one."""

import numpy as np
import pytest

from vision_jax import data
from vision_jax.config import UserError

pytestmark = pytest.mark.usefixtures("embedded_data")


def test_the_others_are_left_out_with_all_that_they_have():
    whole = data.TFDS("shapes/det64", "train[:40]", fields=("objects", "keypoints", "rle"))
    name = whole.classes[3]
    one = data.OneClass(whole, name)
    assert one.classes == (name,) and len(one) == 40
    found = 0
    for i in range(40):
        everything, own = whole[i], one[i]
        keep = everything["labels"] == 3
        found += keep.sum()
        assert np.all(own["labels"] == 0)
        for key in ("boxes", "keypoints"):
            assert np.array_equal(own[key], everything[key][keep])
        assert len(own["rle"]) == keep.sum()
    assert 0 < found < sum(len(whole[i]["labels"]) for i in range(40))


def test_images_without_the_class_may_be_left_out():
    whole = data.TFDS("shapes/det64", "train[:40]", fields=("objects",))
    name = whole.classes[3]
    every, some = (data.OneClass(whole, name, filter_empty=flag) for flag in (False, True))
    there = [i for i in range(40) if len(every[i]["labels"])]
    assert 0 < len(there) < 40 and len(some) == len(there)
    for k, i in enumerate(there):
        assert some.image_id(k) == every.image_id(i) and some.position(k) == i
        np.testing.assert_array_equal(some[k]["boxes"], every[i]["boxes"])
    first = next(i for i in range(40) if i not in there)
    none = data.TFDS("shapes/det64", f"train[{first}:{first + 1}]", fields=("objects",))
    with pytest.raises(UserError, match=f"no image has a {name!r}"):
        len(data.OneClass(none, name, filter_empty=True))


def test_an_unknown_class_is_named():
    source = data.TFDS("shapes/det64", "train[:4]", fields=("objects",))
    with pytest.raises(UserError, match="no class 'persn'"):
        data.OneClass(source, "persn")


def test_all_objects_are_of_any_class():
    whole = data.TFDS("shapes/det64", "train[:8]", fields=("objects", "rle"))
    any_class = data.AnyClass(whole, "thing")
    assert any_class.classes == ("thing",) and any_class.category_ids == () and len(any_class) == 8
    for i in range(8):
        everything, own = whole[i], any_class[i]
        assert own.keys() == everything.keys() and not own["labels"].any()
        np.testing.assert_array_equal(own["boxes"], everything["boxes"])
        assert own["rle"] == everything["rle"] and len(own["labels"]) == len(own["boxes"])
