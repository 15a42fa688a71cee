"""The doctor finds each defect that is planted, and nothing in what is healthy."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from vision_jax.data import BaseSource, by_text, doctor, source_checks

HEADER = "filename,category,x0,y0,x1,y1"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    for i in range(16):
        image = np.full((40, 60, 3), 10 * i, np.uint8)
        cv2.imwrite(str(tmp_path / "photos" / f"p{i}.png"), image)
    return tmp_path


def rows(count=6, start=0, change=lambda box: box):
    """Boxes anywhere on pictures of 60×40, two in each, one of either class."""
    rng = np.random.default_rng(start)
    found = []
    for i in range(start, start + count):
        for name in ("cat", "dog"):
            x0, y0 = rng.integers(20, 35), rng.integers(15, 20)
            box = (x0, y0, x0 + rng.integers(5, 15), y0 + rng.integers(5, 15))
            cells = ",".join(str(v) for v in change(box))
            found.append(f"p{i}.png,{name},{cells}")
    return found


def source(folder, name, lines, format="xyxy", extra=""):
    (folder / name).write_text("\n".join([HEADER, *lines]) + "\n")
    return f"csv:{folder / name},{folder / 'photos'},{format}{extra}"


def diagnose(capsys, *arguments):
    code = doctor.main(list(arguments))
    out, err = capsys.readouterr()
    assert err == ""
    return code, out


def test_healthy(folder, capsys):
    train = source(folder, "train.csv", rows())
    code, out = diagnose(capsys, train, source(folder, "val.csv", rows(4, start=6)), "--decode")
    assert code == 0
    assert f"{train}: 6 images, 12 objects, 2 classes\n" in out
    assert out.endswith("nothing found\n0 serious, 0 to note\n")


@pytest.mark.parametrize(
    ("line", "what", "code", "example"),
    [
        ("p9.png,cat,5,5,5,9", "degenerate box", 1, "p9.png object 0 (5, 5, 5, 9) on 60×40"),
        ("p9.png,cat,9,5,5,9", "degenerate box", 1, "p9.png object 0 (9, 5, 5, 9) on 60×40"),
        ("p9.png,cat,nan,5,5,9", "degenerate box", 1, "p9.png object 0 (nan, 5, 5, 9) on 60×40"),
        ("p9.png,cat,70,5,80,9", "degenerate box", 1, "p9.png object 0 (70, 5, 80, 9) on 60×40"),
        ("p9.png,cat,5,5,62,9", "box out of the image", 1, "p9.png object 0 (5, 5, 62, 9)"),
        ("p9.png,cat,-3,5,6,9", "box out of the image", 1, "p9.png object 0 (-3, 5, 6, 9)"),
        (
            "p9.png,cat,5,5,9,9\np9.png,cat,5,5,9,9",
            "the same object twice",
            0,
            "p9.png object 1 (5, 5, 9, 9)",
        ),
        ("p9.png,,,,,", "image without objects", 0, "p9.png"),
    ],
)
def test_planted_defect(folder, capsys, line, what, code, example):
    found, out = diagnose(capsys, source(folder, "train.csv", [*rows(), line]))
    assert found == code
    (row,) = (r for r in out.splitlines() if what in r)
    assert row.startswith("SERIOUS" if code else "note") and " 1 " in row
    assert "p9.png" in row and example[-9:] in row
    assert out.endswith(f"{code} serious, {1 - code} to note\n")


def test_slack_of_a_pixel(folder, capsys):
    lines = [*rows(), "p9.png,cat,0,-0.5,60.9,40"]
    assert diagnose(capsys, source(folder, "train.csv", lines))[0] == 0


@pytest.mark.parametrize(
    ("read_as", "change", "says"),
    [
        ("xyxy", lambda b: (b[0], b[1], b[2] - b[0], b[3] - b[1]), "look like xywh"),
        ("xywh", lambda b: b, "read as xywh, look like xyxy"),
        ("xyxy", lambda b: (b[1], b[0], b[3], b[2]), "look like yxyx"),
        ("xyxy", lambda b: np.divide(b, (60, 40, 60, 40)), "shares of the image's size"),
        (
            "xyxy",
            lambda b: ((b[0] + b[2]) / 2, (b[1] + b[3]) / 2, 2 * (b[2] - b[0]), b[3] - b[1]),
            "look like",
        ),
    ],
)
def test_confused_formats(folder, capsys, read_as, change, says):
    code, out = diagnose(capsys, source(folder, "train.csv", rows(8, change=change), read_as))
    assert code == 1
    (row,) = (r for r in out.splitlines() if "box format" in r)
    assert row.startswith("SERIOUS") and says in row


def test_the_right_format_is_not_blamed():
    """Whatever healthy boxes look like."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        size = rng.integers(20, 600, 2)
        corners = np.sort(rng.uniform(0, 1, (30, 2, 2)), 1) * size[::-1]
        boxes = corners.reshape(30, 4)
        assert source_checks._confusion(boxes, np.tile(size, (30, 1))) == []


def test_unreadable_images(folder, capsys):
    (folder / "photos/p3.png").write_bytes(b"nothing")
    whole = (folder / "photos/p4.png").read_bytes()
    (folder / "photos/p4.png").write_bytes(whole[: len(whole) // 2])
    train = source(folder, "train.csv", rows())
    code, out = diagnose(capsys, train)
    (row,) = (r for r in out.splitlines() if "unreadable image " in r)
    assert code == 1 and "  1  " in row and "p3.png: the image has no readable header" in row
    code, out = diagnose(capsys, train, "--decode")
    assert code == 1 and "p4.png: the image cannot be decoded" in out


def test_shared_and_repeated_images(folder, capsys):
    (folder / "photos/copy.png").write_bytes((folder / "photos/p1.png").read_bytes())
    (folder / "photos/again.png").write_bytes((folder / "photos/p7.png").read_bytes())
    train = source(folder, "train.csv", rows())
    val = source(folder, "val.csv", [*rows(4, 6), "copy.png,cat,5,5,9,9", "again.png,dog,5,5,9,9"])
    code, out = diagnose(capsys, train, val)
    assert code == 1
    (row,) = (r for r in out.splitlines() if "the same image in both" in r)
    assert row.startswith("SERIOUS") and "p1.png = " in row and "copy.png" in row
    (row,) = (r for r in out.splitlines() if "the same image twice" in r)
    assert row.startswith("note") and "again.png and " in row and "p7.png" in row


def test_class_order(folder, capsys):
    """A class that validation lacks moves the labels of all that follow."""
    cats = [line for line in rows(4, 6) if "dog" in line]
    train = source(folder, "train.csv", rows())
    code, out = diagnose(capsys, train, source(folder, "val.csv", cats))
    (row,) = (r for r in out.splitlines() if "class order" in r)
    assert code == 1 and row.startswith("SERIOUS") and "label 0: cat / dog" in row


def test_class_without_objects(folder, capsys):
    document = {
        "images": [{"id": 1, "file_name": "p1.png"}],
        "annotations": [{"image_id": 1, "category_id": 2, "bbox": [5, 5, 9, 9]}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    (folder / "train.json").write_text(json.dumps(document))
    code, out = diagnose(capsys, f"coco:{folder / 'train.json'},{folder / 'photos'}")
    assert code == 0
    (row,) = (r for r in out.splitlines() if "class without an object" in r)
    assert row.startswith("note") and row.endswith("cat")


def test_labels_out_of_range(folder):
    class Two(BaseSource):
        classes = ("a",)

        def __len__(self):
            return 1

        def __getitem__(self, i):
            image, boxes = np.zeros((9, 9, 3), np.uint8), np.asarray([[1, 1, 5, 5]] * 3, np.float32)
            return {"image": image, "boxes": boxes, "labels": np.asarray([0, 1, -1], np.int32)}

    (finding,) = source_checks.check("two", Two()).findings
    assert finding.defect == "label out of range" and finding.count == 2 and finding.serious


def test_an_experiment_names_its_sources(folder, capsys):
    (folder / "mine.py").write_text(
        "from vision_jax import data\n"
        "from vision_jax.config import node\n"
        "from ml_collections import ConfigDict\n"
        "def get_config(arg=''):\n"
        f"    csv, photos = {str(folder / 'train.csv')!r}, {str(folder / 'photos')!r}\n"
        "    source = node(data.Csv, file=csv, images=photos, format='xyxy')\n"
        "    train = node(data.Train, source=source)\n"
        "    held_out = node(data.Eval, source=node(data.Digits, split='validation[:9]'))\n"
        "    return ConfigDict({'train': train, 'eval': held_out})\n"
    )
    source(folder, "train.csv", rows())
    code, out = diagnose(capsys, f"{folder / 'mine.py'}")
    assert "mine.py train: 6 images, 12 objects, 2 classes" in out
    assert "mine.py eval: 9 images, 0 objects, 10 classes" in out
    assert code == 1 and "class order" in out


def coco(folder, annotations, images=None, **category):
    images = images or [{"id": 1, "file_name": "p1.png", "width": 60, "height": 40}]
    categories = [{"id": 1, "name": "cat", **category}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "train.json").write_text(json.dumps(document))
    return f"coco:{folder / 'train.json'},{folder / 'photos'}"


def annotation(number, box, **more):
    return {"id": number, "image_id": 1, "category_id": 1, "bbox": box, **more}


def line(out, what):
    (row,) = (r for r in out.splitlines() if what in r)
    return row


def test_masks_and_their_boxes(folder, capsys):
    square = [[5, 5, 15, 5, 15, 15, 5, 15]]
    code, out = diagnose(
        capsys,
        coco(
            folder,
            [
                annotation(1, [5, 5, 10, 10], segmentation=square),
                annotation(2, [20, 5, 10, 10], segmentation=square),
                annotation(3, [5, 20, 10, 10]),
            ],
        ),
    )
    assert code == 0
    row = line(out, "mask off its box")
    assert " 1 " in row and "p1.png object 1: mask (5, 5, 15, 15), box (20, 5, 30, 15)" in row
    assert "p1.png object 2" in line(out, "object without a mask")
    code, out = diagnose(capsys, coco(folder, [annotation(3, [5, 20, 10, 10])]))
    assert "without a mask" not in out  # nobody annotated any


def test_keypoints_off_the_image(folder, capsys):
    points = [59, 39, 2, 80, 5, 1, 90, 90, 0]
    code, out = diagnose(capsys, coco(folder, [annotation(1, [5, 5, 9, 9], keypoints=points)]))
    row = line(out, "keypoint out of the image")
    assert code == 0 and " 1 " in row and "object 0 keypoint 1 (80, 5) on 60×40" in row


def test_sizes_and_turned_images(folder, capsys):
    exif = Image.Exif()
    exif[0x112] = 6
    Image.new("RGB", (60, 40)).save(folder / "photos/turned.png", exif=exif)
    images = [
        {"id": 1, "file_name": "p1.png", "width": 120, "height": 80},
        {"id": 2, "file_name": "turned.png", "width": 40, "height": 60},
        {"id": 3, "file_name": "p2.png", "width": 60, "height": 40},
    ]
    text = coco(folder, [annotation(1, [5, 5, 9, 9])], images)
    code, out = diagnose(capsys, text)
    rows = out.splitlines()
    place = rows.index(line(out, "stated size differs"))
    assert code == 1 and rows[place].startswith("SERIOUS") and " 2 " in rows[place]
    assert "state the size 120×80, the image has 60×40 - resize it" in rows[place]
    assert "its EXIF tag turns it: set upright=True" in rows[place + 1]
    code, out = diagnose(capsys, f"{text},check_sizes=false")
    assert "turned.png: orientation 6" in line(out, "turned by EXIF") and code == 0
    code, out = diagnose(capsys, f"{text},upright=true,check_sizes=false")
    assert "EXIF" not in out and "sizes 60×40 to 40×60" in out


def test_objects_beyond_max_boxes(folder, capsys):
    many = [annotation(k, [k % 40, 5, 9, 9 + k / 10]) for k in range(103)]
    code, out = diagnose(capsys, coco(folder, many))
    row = line(out, "more than max_boxes=100 objects")
    assert code == 0 and " 3 " in row and "p1.png: 103; those beyond are cut, in evaluation" in row
    (finding,) = (
        f
        for f in source_checks.check(
            "x", by_text.source_from_text(coco(folder, many)), max_boxes=50
        ).findings
        if "max_boxes" in f.defect
    )
    assert finding.count == 53


def test_an_image_that_is_too_large_is_listed(folder, capsys, monkeypatch):
    Image.new("RGB", (61, 40)).save(folder / "photos/p3.png")
    monkeypatch.setenv("VISION_JAX_MAX_PIXELS", "2400")
    code, out = diagnose(capsys, source(folder, "train.csv", rows()))
    row = line(out, "unreadable image")
    assert code == 1 and " 1 " in row and "61×40 pixels, more than 2400" in row
    assert "6 images, 10 objects" in out


def test_image_folders(folder, capsys):
    for k, name in enumerate(("cat", "cat", "dog")):
        (folder / "classes" / name).mkdir(parents=True, exist_ok=True)
        (folder / f"photos/p{k}.png").rename(folder / "classes" / name / f"{k}.png")
    (folder / "classes/bird").mkdir()
    code, out = diagnose(capsys, f"folder:{folder / 'classes'}")
    assert code == 0 and "3 images, 0 objects, 3 classes\n" in out
    assert "    size 60×40; images: bird 0, cat 2, dog 1\n" in out
    assert line(out, "class without an image").endswith("bird")


def test_mask_folders(folder, capsys):
    for name in ("photos", "masks"):
        (folder / "seg" / name).mkdir(parents=True)
    for k in range(4):
        (folder / f"photos/p{k}.png").rename(folder / f"seg/photos/p{k}.png")
        mask = np.zeros((40, 60 if k < 3 else 61), np.uint8)
        mask[:10] = (0, 1, 7, 1)[k]
        Image.fromarray(mask).save(folder / f"seg/masks/p{k}.png")
    code, out = diagnose(capsys, f"masks:{folder / 'seg/photos'},{folder / 'seg/masks'},a;b;c")
    assert code == 1 and "pixels: a 6030, b 1210, c 0" in out
    assert line(out, "class without a pixel").endswith("  c")
    rows = out.splitlines()
    place = rows.index(line(out, "unusable mask"))
    assert " 2 " in rows[place] and "the mask has the value 7, but there are 3" in rows[place]
    assert "p3.png: the mask has 61×40 pixels, the image 60×40" in rows[place + 1]


def test_class_names_are_any_text(folder, capsys):
    code, out = diagnose(
        capsys, coco(folder, [annotation(1, [5, 5, 9, 9])], name="a\n\x1b[31m<b>$x$")
    )
    assert code == 0 and r"objects: a\n\x1b[31m<b>$x$ 1" in out and "\x1b" not in out


def test_csv_columns(folder, capsys):
    (folder / "own.csv").write_text("path;what;l;t;r;b\np1.png;cat;1,5;2;30;20\n")
    text = f"csv:{folder / 'own.csv'},{folder / 'photos'},xyxy,columns=path;what;l;t;r;b"
    code, out = diagnose(capsys, text)
    assert code == 0 and "1 images, 1 objects, 1 classes" in out


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("json:x", "source 'json:x': unknown kind 'json' - known: coco, csv, folder"),
        ("csv:a,b", "source 'csv:a,b': format is missing"),
        ("csv:a,b,xyxy,relativ=1", "no setting 'relativ' - did you mean relative?"),
        ("voc:a,b,c", "too many items"),
        ("coco", "write KIND:"),
        ('voc:"a', "has no partner"),
        ("voc:a,folder=b", "folder is given twice"),
        ("csv:a,b,xyxy,relative=perhaps", "neither true nor false"),
        ("voc:/nowhere", "no folder '/nowhere'"),
        ("tfds:shapes/cls3,train", "data set 'shapes/cls3'"),
    ],
)
def test_mistakes_take_one_line(tmp_path, monkeypatch, capsys, argument, message):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert doctor.main([argument]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and message in err and err.count("\n") == 1
