"""Own data: the same painted pictures in COCO's format, VOC's and CSV; and mistakes in them."""

import json
import pickle

import cv2
import numpy as np
import painted
import pytest
from pycocotools import mask as coco_mask

from vision_jax.config import UserError, build, node
from vision_jax.data import CocoFolder, Concat, Csv, Digits, Eval, Letterbox, RecordError, VocFolder

PICTURES = painted.Pictures(5, empty=(3,))


def file_name(i):
    return f"picture_{i}.png"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    for i in range(len(PICTURES)):
        bgr = np.ascontiguousarray(PICTURES[i]["image"][..., ::-1])
        cv2.imwrite(str(tmp_path / "photos" / file_name(i)), bgr)
    return tmp_path


def write_coco(folder, change=lambda document: None):
    """Categories 10, 20, 30, 40 in another order than their numbers'."""
    document = {"images": [], "annotations": [], "categories": []}
    for label in (2, 0, 3, 1):
        category = {"id": 10 * (label + 1), "name": painted.CLASSES[label]}
        document["categories"].append({**category, "keypoints": ["left", "right"]})
    for i in range(len(PICTURES)):
        example = PICTURES[i]
        height, width = example["image"].shape[:2]
        image = {"id": 100 + i, "file_name": file_name(i), "height": height, "width": width}
        document["images"].append(image)
        for k, (x0, y0, x1, y1) in enumerate(example["boxes"].tolist()):
            annotation = {
                "id": len(document["annotations"]),
                "image_id": 100 + i,
                "category_id": int(10 * (example["labels"][k] + 1)),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
                "keypoints": example["keypoints"][k].ravel().tolist(),
                "area": 0.5 + k,
                "iscrowd": 0,
            }
            document["annotations"].append(annotation)
    change(document)
    (folder / "train.json").write_text(json.dumps(document))
    return str(folder / "train.json"), str(folder / "photos")


def write_voc(folder, nested=True):
    base = folder / "year" if nested else folder / "photos"
    notes = base / "Annotations" if nested else base
    if nested:
        (base / "ImageSets/Main").mkdir(parents=True)
        (base / "ImageSets/Main/train.txt").write_text("picture_3\npicture_1  -1\n")
        (base / "JPEGImages").symlink_to(folder / "photos")
        notes.mkdir()
    for i in range(len(PICTURES)):
        things = "".join(
            f"<object><name>{painted.CLASSES[label]}</name><difficult>{k % 2}</difficult><bndbox>"
            f"<xmin>{x0:g}</xmin><ymin>{y0:g}</ymin><xmax>{x1:g}</xmax><ymax>{y1:g}</ymax></bndbox>"
            "</object>"
            for k, (label, (x0, y0, x1, y1)) in enumerate(
                zip(PICTURES[i]["labels"], PICTURES[i]["boxes"], strict=True)
            )
        )
        (notes / f"picture_{i}.xml").write_text(f"<annotation>{things}</annotation>")
    return base


HEADER = "filename,category,x0,y0,x1,y1"


def write_csv(folder, rows=None, header=HEADER, numbers=lambda box, size: box):
    if rows is None:
        rows = []
        for i in range(len(PICTURES)):
            example = PICTURES[i]
            for label, box in zip(example["labels"], example["boxes"], strict=True):
                cells = numbers(box, example["image"].shape[:2])
                rows.append(
                    ",".join([file_name(i), painted.CLASSES[label], *map(repr, map(float, cells))])
                )
            if not len(example["boxes"]):
                rows.append(f"{file_name(i)},,,,,")
    (folder / "train.csv").write_text("\n".join([header, *rows]) + "\n")
    return str(folder / "train.csv"), str(folder / "photos")


def compare(source, order=None):
    """What comes out is what was painted, whatever the order of the classes."""
    order = range(len(PICTURES)) if order is None else order
    assert len(source) == len(order)
    for place, i in enumerate(order):
        example, want = source[place], PICTURES[i]
        pixels = cv2.imdecode(np.frombuffer(example["image"], np.uint8), cv2.IMREAD_COLOR_RGB)
        np.testing.assert_array_equal(pixels, want["image"])
        np.testing.assert_allclose(example["boxes"], want["boxes"], atol=1e-4)
        assert example["boxes"].dtype == np.float32 and example["labels"].dtype == np.int32
        names = [source.classes[k] for k in example["labels"]]
        assert names == [painted.CLASSES[k] for k in want["labels"]]
        assert file_name(i) in source.describe(place)


def test_coco(folder):
    source = CocoFolder(*write_coco(folder), fields=("objects", "rle", "keypoints"))
    compare(source)
    assert source.classes == painted.CLASSES  # by category id, not in the file's order
    assert source.category_ids == (10, 20, 30, 40) and source.image_id(2) == 102
    example = source[1]
    np.testing.assert_array_equal(example["keypoints"], PICTURES[1]["keypoints"])
    height, width = PICTURES[1]["image"].shape[:2]
    for rle, mask in zip(example["rle"], PICTURES[1]["masks"], strict=True):
        decoded = coco_mask.decode({"size": [height, width], "counts": rle})
        np.testing.assert_array_equal(decoded, mask)
    assert example["area"][0] == 0.5 and not example["crowd"].any()
    assert source[3]["boxes"].shape == (0, 4) and source[3]["keypoints"].shape == (0, 2, 3)
    # All the way into a batch.
    (batch, *_) = Eval(source, (Letterbox(64),), batch_size=5).batches()
    example = Letterbox(64)(PICTURES[1], np.random.default_rng(0))
    count = len(example["boxes"])
    np.testing.assert_allclose(batch.targets.boxes[1, :count], example["boxes"], atol=1e-4)
    np.testing.assert_array_equal(batch.targets.masks[1, :count], example["masks"])


def test_coco_captions(folder):
    def change(document):
        document["annotations"] = [{"image_id": 101, "caption": text} for text in ("a", "b")]

    source = CocoFolder(*write_coco(folder, change), fields=("captions",))
    assert source[1]["captions"] == ["a", "b"] and source[0]["captions"] == []
    assert source[1].keys() == {"image", "image_id", "captions"}


@pytest.mark.parametrize("nested", [True, False])
def test_voc(folder, nested):
    base = write_voc(folder, nested)
    source = VocFolder(str(base))
    compare(source)
    assert source.classes == tuple(sorted(painted.CLASSES)) and source.image_id(2) == "picture_2"
    assert source[1]["difficult"].tolist() == [k % 2 == 1 for k in range(len(source[1]["boxes"]))]


def test_voc_list(folder):
    source = VocFolder(str(write_voc(folder)), "train", names=painted.CLASSES)
    compare(source, [3, 1])
    assert source.classes == painted.CLASSES
    with pytest.raises(UserError, match=r"ImageSets/Main/val.txt: No such file"):
        VocFolder(str(folder / "year"), "val")


def xywh(box, size):
    return box[0], box[1], box[2] - box[0], box[3] - box[1]


def relative_centres(box, size):
    x0, y0, x1, y1 = box / np.asarray([size[1], size[0]] * 2)
    return (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0


@pytest.mark.parametrize(
    ("format", "relative", "numbers"),
    [
        ("xyxy", False, lambda box, size: box),
        ("xywh", False, xywh),
        ("yxyx", False, lambda box, size: box[[1, 0, 3, 2]]),
        ("cxcywh", True, relative_centres),
    ],
)
def test_csv(folder, format, relative, numbers):
    source = Csv(*write_csv(folder, numbers=numbers), format, relative)
    compare(source)
    assert source.classes == tuple(sorted(painted.CLASSES))
    assert source[3]["boxes"].shape == (0, 4)


def test_csv_with_other_columns(folder):
    rows = ['9,"picture_0.png",a cat\'s tail,1,2,3,4', "", "9,picture_0.png,dog,5,6,7,8"]
    files = write_csv(folder, rows, "weight,path,what,l,t,r,b")
    columns = ("path", "what", "l", "t", "r", "b")
    source = Csv(*files, "xyxy", columns=columns)
    assert len(source) == 1 and source.classes == ("a cat's tail", "dog")
    assert source[0]["boxes"].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_sources_are_parts_of_a_config_and_picklable(folder):
    tree = node(Csv, file=write_csv(folder)[0], images=str(folder / "photos"), format="xyxy")
    source = build(tree)
    again = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 1000 and again == source
    compare(again)


ROWS = ["picture_0.png,red,1,2,3,4", "picture_1.png,blue,1,2,3,4"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*ROWS, "picture_2.png,red,1,2,x,4"], "train.csv row 4: x1 is 'x', not a number"),
        ([*ROWS, "picture_2.png,red,1,2,3"], "train.csv row 4: y1 is empty"),
        ([*ROWS, ",red,1,2,3,4"], "train.csv row 4: filename is empty"),
        ([ROWS[0], "lost.png,red,1,2,3,4"], "train.csv row 3: no image .*photos/lost.png"),
        ([], "train.csv: it lists no image"),
    ],
)
def test_csv_mistakes_name_file_and_row(folder, rows, message):
    files = write_csv(folder, rows)
    with pytest.raises(UserError, match=message) as caught:
        Csv(*files, "xyxy")
    assert "\n" not in str(caught.value)


def test_more_csv_mistakes(folder):
    files = write_csv(folder, ROWS)
    with pytest.raises(UserError, match="box format 'xyhw' is not one of xyxy"):
        Csv(*files, "xyhw")
    with pytest.raises(UserError, match="class 'blue' is not among names - did you mean blues"):
        Csv(*files, "xyxy", names=("red", "blues"))
    with pytest.raises(UserError, match="no folder"):
        Csv(files[0], "nowhere", "xyxy")
    with pytest.raises(UserError, match=r"nowhere.csv: No such file"):
        Csv("nowhere.csv", files[1], "xyxy")
    files = write_csv(folder, ROWS, header="file,category,x0,y0,x1,y1")
    with pytest.raises(UserError, match="row 1: no column 'filename' - it has: file, category"):
        Csv(*files, "xyxy")


def spoil(*path, value=None):
    def change(document):
        here = document
        for key in path[:-1]:
            here = here[key]
        if value is None:
            del here[path[-1]]
        else:
            here[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (spoil("images"), "train.json: no list 'images'"),
        (spoil("images", 1, "file_name"), r"train.json, images\[1\]: no 'file_name'"),
        (spoil("annotations", 0, "image_id"), r"train.json, annotations\[0\]: no 'image_id'"),
        (spoil("annotations", 0, "bbox"), "train.json, picture_0.png: annotation 0: no 'bbox'"),
        (spoil("annotations", 0, "bbox", 2, value="w"), r"annotation 0: bbox\[2\] is 'w', not a"),
        (spoil("annotations", 0, "category_id", value=7), "annotation 0: category 7 is not in"),
        (spoil("annotations", 0, "image_id", value=7), r"\[0\]: its image_id is 7, which"),
        (spoil("images", 4, "file_name", value="x.png"), "train.json, x.png: no image .*x.png"),
        (spoil("annotations", 0, "segmentation", value=[[1, 2, 3, 4]]), "fewer than three corners"),
        (
            spoil("annotations", 0, "segmentation", value={"size": [1, 2], "counts": [2]}),
            r"annotation 0: segmentation: the mask is \[1, 2\], the image",
        ),
    ],
)
def test_coco_mistakes_name_file_and_image(folder, change, message):
    files = write_coco(folder, change)
    with pytest.raises(UserError, match=message) as caught:
        CocoFolder(*files, fields=("objects", "rle"))
    assert "\n" not in str(caught.value)


def test_more_coco_mistakes(folder):
    (folder / "broken.json").write_text('{"images": [],\n "annotations" []}')
    with pytest.raises(UserError, match=r"broken.json row 2: Expecting ':'"):
        CocoFolder(str(folder / "broken.json"), str(folder))
    with pytest.raises(UserError, match="source field 'masks'"):
        CocoFolder(*write_coco(folder), fields=("masks",))


def test_voc_mistakes(folder):
    base = write_voc(folder)
    (base / "Annotations/picture_1.xml").write_text("<annotation><object></annotation>")
    with pytest.raises(UserError, match=r"Annotations/picture_1.xml: the XML is damaged"):
        VocFolder(str(base))
    text = (
        "<annotation><object><name>red</name><bndbox><xmin>a</xmin></bndbox></object></annotation>"
    )
    (base / "Annotations/picture_1.xml").write_text(text)
    with pytest.raises(UserError, match=r"picture_1.xml: object 0: xmin is 'a'"):
        VocFolder(str(base))
    (base / "Annotations/picture_1.xml").rename(base / "Annotations/lost.xml")
    with pytest.raises(UserError, match=r"no image lost \(.jpg"):
        VocFolder(str(base))


def test_an_image_that_vanishes_is_named(folder):
    source = Csv(*write_csv(folder), "xyxy")
    (folder / "photos" / file_name(2)).unlink()
    with pytest.raises(RecordError, match=r"record 2 \(.*picture_2.png\): No such file"):
        source[2]


def test_concat(folder):
    first = Csv(*write_csv(folder), "xyxy")
    second = VocFolder(str(write_voc(folder)), "train", names=first.classes)
    both = Concat((first, second))
    compare(both, [0, 1, 2, 3, 4, 3, 1])
    assert both.classes == first.classes and both.arrays() is None
    assert both.describe(5).endswith("train record 0 (" + str(second._listed[0][0]) + ")")
    assert both.image_id(6) == "picture_1"
    assert pickle.loads(pickle.dumps(both)) == both
    other = VocFolder(str(folder / "year"), "train", names=tuple(reversed(first.classes)))
    with pytest.raises(UserError, match=r"the classes differ between .*train.csv record 0"):
        Concat((first, other))
    with pytest.raises(UserError, match="at least one source"):
        Concat(())


def test_concat_in_memory():
    whole, parts = Digits("train"), Concat((Digits("train[:1000]"), Digits("train[1000:]")))
    for key in ("image", "label"):
        np.testing.assert_array_equal(parts.arrays()[key], whole.arrays()[key])
    assert parts[1200]["label"] == whole[1200]["label"] and len(parts) == len(whole)
    assert Concat((Digits("train"), Digits("train", size=9))).arrays() is None
