"""COCO's format as tools really write it: ids, types, masks and sizes; what is wrong is named."""

import copy
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from vision_jax.config import UserError
from vision_jax.data import CocoFolder, Eval, Letterbox, RecordError
from vision_jax.data.loading import Loader

SQUARE = [10, 10, 30, 10, 30, 30, 10, 30]
MASK = np.zeros((48, 64), np.uint8)
MASK[10:30, 10:30] = 1
COMPRESSED = coco_mask.encode(np.asfortranarray(MASK))["counts"].decode()
BASE = {
    "images": [
        {"id": 1, "file_name": "a.png", "height": 48, "width": 64},
        {"id": 2, "file_name": "b.png", "height": 48, "width": 64},
    ],
    "annotations": [
        {"id": 5, "image_id": 1, "category_id": 3, "bbox": [10, 10, 20, 20], "iscrowd": 0},
        {"id": 6, "image_id": 2, "category_id": 4, "bbox": [1, 2, 3, 4], "iscrowd": 1},
    ],
    "categories": [{"id": 4, "name": "dog"}, {"id": 3, "name": "cat"}],
}


@pytest.fixture
def write(tmp_path):
    (tmp_path / "i").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (64, 48)).save(tmp_path / "i" / name)

    def write(*changes, images="i"):
        """Each change is a path of keys, and the value that goes there."""
        tree = copy.deepcopy(BASE)
        for *path, last, value in changes:
            here = tree
            for key in path:
                here = here[key]
            here[last] = value
        (tmp_path / "a.json").write_text(json.dumps(tree))
        return {"annotations": str(tmp_path / "a.json"), "images": str(tmp_path / images)}

    return write


def examples(source):
    loader = Loader(source)
    return [loader(i, np.random.default_rng(0)) for i in range(len(source))]


@pytest.mark.parametrize(
    ("image_ids", "category_ids"),
    [
        ((1, 2), (3, 4)),
        (("5f0c-77aa", "x/2"), ("cat-id", "dog-id")),
        ((10**30, -(10**30)), (10**20, 10**20 + 1)),
        (("1", "2"), ("3", "4")),
        ((1.0, 2.0), (3.0, 4.0)),
    ],
)
def test_ids_of_any_type(write, image_ids, category_ids):
    changes = []
    for row in range(2):
        changes.append(("images", row, "id", image_ids[row]))
        changes.append(("annotations", row, "image_id", image_ids[row]))
        changes.append(("annotations", row, "id", None if row else "5f0c"))
        changes.append(("annotations", row, "category_id", category_ids[row]))
        changes.append(("categories", 1 - row, "id", category_ids[row]))
    source = CocoFolder(**write(*changes))
    assert source.classes == ("cat", "dog") and source.category_ids == category_ids
    assert [source.image_id(i) for i in range(2)] == [*image_ids]
    first, second = examples(source)
    assert first["boxes"].tolist() == [[10, 10, 30, 30]] and first["labels"].tolist() == [0]
    assert second["boxes"].tolist() == [[1, 2, 4, 6]] and second["labels"].tolist() == [1]
    assert first["category_ids"].tolist() == [category_ids[0]]


def test_a_number_and_its_text_are_one_id(write):
    source = CocoFolder(
        **write(("annotations", 0, "category_id", "3"), ("annotations", 0, "image_id", "1"))
    )
    first = source[0]
    assert first["labels"].tolist() == [0] and first["category_ids"].tolist() == [3]
    with pytest.raises(UserError, match=r"images\[0\] and images\[1\] share the id 1"):
        CocoFolder(**write(("images", 1, "id", "1"), ("annotations", 1, "image_id", 1)))


def test_an_image_without_an_id_is_known_by_its_name(write):
    source = CocoFolder(**write(("images", 1, "id", None), ("annotations", 1, "image_id", 1)))
    assert [source.image_id(i) for i in range(2)] == [1, "b"]
    assert [len(source[i]["boxes"]) for i in range(2)] == [2, 0]


@pytest.mark.parametrize("crowd", [0, "0", "false", "False", None, False, 0.0, ""])
def test_no_crowd(write, crowd):
    assert not CocoFolder(**write(("annotations", 0, "iscrowd", crowd)))[0]["crowd"].any()


@pytest.mark.parametrize("crowd", [1, "1", "true", "True", True, 1.0])
def test_crowd(write, crowd):
    assert CocoFolder(**write(("annotations", 0, "iscrowd", crowd)))[0]["crowd"].all()


def test_numbers_as_text(write):
    changes = [("annotations", 0, "bbox", ["10", "10.0", " 20", "2e1"])]
    changes += [("annotations", 0, "area", "7.5"), ("images", 0, "width", "64")]
    first = CocoFolder(**write(*changes))[0]
    assert first["boxes"].tolist() == [[10, 10, 30, 30]] and first["area"].tolist() == [7.5]


@pytest.mark.parametrize(
    "segmentation",
    [
        [SQUARE],
        SQUARE,
        [[str(side) for side in SQUARE]],
        [[10, 10], [30, 10], [30, 30], [10, 30]],
        [[[10, 10], [30, 10], [30, 30], [10, 30]]],
        [SQUARE, [1, 2, 3, 4]],  # two corners have no area
        {"size": [48, 64], "counts": COMPRESSED},
        {"size": ["48", 64.0], "counts": COMPRESSED},
    ],
)
@pytest.mark.parametrize("stated", [True, False])
def test_masks(write, segmentation, stated):
    changes = [("annotations", 0, "segmentation", segmentation)]
    changes += [] if stated else [("images", 0, "width", None), ("images", 1, "height", 0)]
    source = CocoFolder(**write(*changes), fields=("objects", "rle"))
    first, second = examples(source)
    np.testing.assert_array_equal(first["masks"], MASK[None])
    assert not second["masks"].any() and source.annotated_fields == ("objects", "rle")


def test_keypoints_without_listed_names(write):
    points = [12, 13, 2, "20", 21, 0]
    files = write(("annotations", 0, "keypoints", points))
    source = CocoFolder(**files, fields=("objects", "keypoints"))
    assert source[0]["keypoints"].tolist() == [[[12, 13, 2], [20, 21, 0]]]
    assert source[1]["keypoints"].tolist() == [[[0, 0, 0], [0, 0, 0]]]
    batch = next(Eval(source, (Letterbox(32),), batch_size=2).batches())
    assert batch.targets.keypoints.shape == (2, 100, 2, 3)


def test_captions_have_no_categories(write, tmp_path):
    files = write()
    tree = {"images": BASE["images"], "annotations": [{"image_id": 2, "caption": "a cat"}]}
    (tmp_path / "a.json").write_text(json.dumps(tree))
    source = CocoFolder(**files, fields=("captions",))
    assert source[1]["captions"] == ["a cat"] and source[0]["captions"] == []


def test_paths_of_windows(write, tmp_path):
    (tmp_path / "i/sub").mkdir()
    Image.new("RGB", (64, 48), (9, 8, 7)).save(tmp_path / "i/sub/c.png")
    source = CocoFolder(**write(("images", 0, "file_name", "sub\\c.png")))
    assert examples(source)[0]["image"][0, 0].tolist() == [9, 8, 7]


A = ("annotations", 0)
HUGE = [10, 10, 2.1e8, 3.5e8, 30, 30, 10, 30]
NAN = float("nan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("images", 0, 5), r"images\[0\] is 5, not an object"),
        (("images", 0, "file_name", None), r"images\[0\]: file_name is null, not a text"),
        (("images", 0, "file_name", 7), r"images\[0\]: file_name is 7, not a text"),
        (("images", 0, "file_name", "a\nb.png"), r"a\\nb.png: no image"),
        (("images", 0, "id", []), r"images\[0\]: id is \[\], neither a number nor a text"),
        (("images", 0, "id", True), r"images\[0\]: id is true, neither"),
        (("images", 0, "height", -1), r"images\[0\]: height is -1, not a whole number"),
        (("images", 0, "width", "wide"), r"images\[0\]: width is 'wide', not a number"),
        (("images", 1, "id", 1), r"images\[0\] and images\[1\] share the id 1"),
        ((*A, "x"), r"annotations\[0\] is 'x', not an object"),
        ((*A, "id", {}), r"annotations\[0\]: id is {}, neither"),
        ((*A, "id", 6), r"annotations\[0\] and annotations\[1\] share the id 6"),
        ((*A, "image_id", None), r"annotations\[0\]: its image_id is null"),
        ((*A, "image_id", 9), r"annotations\[0\]: its image_id is 9, which images do not list"),
        ((*A, "category_id", "x"), "a.png: annotation 5: category 'x' is not in the file's"),
        ((*A, "category_id", float("inf")), "annotation 5: category_id is inf, neither"),
        ((*A, "bbox", None), "annotation 5: bbox is null, not"),
        ((*A, "bbox", []), r"annotation 5: bbox is \[\], not"),
        ((*A, "bbox", {"x": 1}), "annotation 5: bbox is {'x': 1}, not"),
        ((*A, "bbox", [1, 2, 3, 4, 0.9]), r"annotation 5: bbox is \[1, 2, 3, 4, 0.9\], not"),
        ((*A, "bbox", [1, None, 3, 4]), r"annotation 5: bbox\[1\] is null, not a number"),
        ((*A, "area", NAN), "annotation 5: area is nan, not a finite number"),
        ((*A, "iscrowd", "maybe"), "annotation 5: iscrowd is 'maybe', neither 0 nor 1"),
        ((*A, "iscrowd", 2), "annotation 5: iscrowd is 2, neither 0 nor 1"),
        ((*A, "segmentation", [HUGE]), "annotation 5: segmentation: its outline of .* pixels"),
        ((*A, "segmentation", [[*SQUARE, 5]]), r"segmentation\[0\] has 9 numbers, an odd count"),
        ((*A, "segmentation", [[1, 2, 3, 4]]), "fewer than three corners"),
        ((*A, "segmentation", [[None, *SQUARE[1:]]]), r"segmentation\[0\]\[0\] is null"),
        ((*A, "segmentation", [[NAN, *SQUARE[1:]]]), r"segmentation\[0\]\[0\] is nan"),
        ((*A, "segmentation", [{"counts": [1]}]), r"segmentation\[0\] is {'counts': \[1\]}, not"),
        ((*A, "segmentation", "mask.png"), "segmentation is 'mask.png', neither polygons nor"),
        ((*A, "segmentation", {"size": [48, 64]}), "neither polygons nor run lengths"),
        ((*A, "segmentation", {"size": [48, 64], "counts": [-5, 3077]}), r"counts\[0\] is -5"),
        ((*A, "segmentation", {"size": [48, 64], "counts": [9]}), "sum to 9, not 3072"),
        ((*A, "segmentation", {"size": [48, 64], "counts": "00"}), "sum to 0, not 3072"),
        ((*A, "segmentation", {"size": [48, 64], "counts": "a!"}), "no compressed run lengths"),
        ((*A, "segmentation", {"size": 48, "counts": "PP"}), "size is 48, not"),
        ((*A, "segmentation", {"size": [24, 32], "counts": "PP"}), r"mask is \[24, 32\], the im"),
        ((*A, "keypoints", [1, 2, 2, 3]), "keypoints has 4 numbers, not three for each"),
        ((*A, "keypoints", [1, 2, -1]), "a visibility is negative"),
        ((*A, "keypoints", [None, 2, 2]), r"keypoints\[0\] is null"),
        ((*A, "keypoints", "nose"), "keypoints is 'nose', not a list"),
        (("categories", 0, "id", None), r"categories\[0\]: id is null"),
        (("categories", 0, "id", 3), r"categories\[0\] and categories\[1\] share the id 3"),
        (("categories", 0, "name", ""), r"categories\[0\]: name is empty"),
        (("categories", 0, "name", None), r"categories\[0\]: name is null, not a text"),
        (("categories", 0, "name", "cat"), r"share the name 'cat'"),
        (("categories", 0, "keypoints", 5), r"categories\[0\]: keypoints is 5, not a list"),
        (("categories", 0, 7), r"categories\[0\] is 7, not an object"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(write, change, message):
    base = [("annotations", row, "keypoints", [1, 2, 2]) for row in range(2)]
    with pytest.raises(UserError, match=message) as caught:
        CocoFolder(**write(*base, change), fields=("objects", "rle", "keypoints"))
    text = str(caught.value)
    assert "\n" not in text and "a.json" in text and len(text) < 500


def test_keypoints_that_differ_or_are_missing(write):
    fields = ("objects", "keypoints")
    files = write((*A, "keypoints", [1, 2, 2] * 2), ("categories", 1, "keypoints", ["nose"]))
    with pytest.raises(UserError, match="annotation 5: keypoints are 2 points, not its category's"):
        CocoFolder(**files, fields=fields)
    with pytest.raises(UserError, match="keypoints are asked for, but neither"):
        CocoFolder(**write(), fields=fields)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.json row 1: Expecting value"),
        ("[]", "a.json: no list 'images'"),
        ("5", "a.json: no list 'images'"),
        ('{"images":' * 5000, "too deep within each other|Expecting"),
        ("[" * 100_000, "too deep within each other"),
        ('{"images": ' + "9" * 5000 + "}", "a number cannot be read"),
        ('{"images": {}, "annotations": [], "categories": []}', "no list 'images'"),
    ],
)
def test_json_of_another_kind(write, tmp_path, text, message):
    files = write()
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        CocoFolder(**files)
    assert "\n" not in str(caught.value)


def test_stated_sizes_are_compared(write):
    size = ("images", 0, "width", 32), ("images", 0, "height", 24)
    masks = (*size, ("annotations", 0, "segmentation", [[4, 4, 14, 4, 14, 14, 4, 14]]))
    for changes, fields in ((size, ("objects",)), (masks, ("objects", "rle"))):
        source = CocoFolder(**write(*changes), fields=fields)
        with pytest.raises(
            RecordError, match=r"a.png\): the annotations state the size 32×24, the "
        ):
            source[0]
        assert len(source[1]["boxes"]) == 1
    boxes = CocoFolder(**write(*size), check_sizes=False)[0]["boxes"]
    assert boxes.tolist() == [[10, 10, 30, 30]]
    with pytest.raises(RecordError, match="run lengths sum to 768, not 3072"):
        examples(CocoFolder(**write(*masks), fields=("objects", "rle"), check_sizes=False))


def test_exif_orientation(write, tmp_path):
    """Stored 64×48 with a red corner above on the left; upright 48×64 with it on the right."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:4, :4, 0] = 250
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(pixels).save(tmp_path / "i/a.png", exif=exif)
    upright = (("images", 0, "width", 48), ("images", 0, "height", 64))
    mask = ("annotations", 0, "segmentation", [[44, 0, 48, 0, 48, 4, 44, 4]])
    with pytest.raises(RecordError, match="its EXIF tag turns it: set upright=True"):
        CocoFolder(**write(*upright))[0]
    assert examples(CocoFolder(**write()))[0]["image"].shape == (48, 64, 3)
    source = CocoFolder(**write(*upright, mask), fields=("objects", "rle"), upright=True)
    first, second = examples(source)
    assert first["size"].tolist() == [64, 48] and second["size"].tolist() == [48, 64]
    red = first["image"][..., 0] > 0
    assert red[:4, 44:].all() and red.sum() == 16
    np.testing.assert_array_equal(first["masks"][0] > 0, red)
    with pytest.raises(RecordError, match="state the size 64×48, the image has 48×64 - resize"):
        CocoFolder(**write(), upright=True)[0]
