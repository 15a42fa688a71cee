"""Valid and damaged annotations and pictures, and the readers of them."""

import functools
import io
import json

import numpy as np
from PIL import Image

from tests.fuzz.formats_weights import Format
from tests.fuzz.mutations import damaged, json_text
from vision_jax import data
from vision_jax.config import UserError, printable
from vision_jax.data import doctor
from vision_jax.data.decode import decode_image, decode_labels, image_size
from vision_jax.data.loading import Loader
from vision_jax.evaluation.results_file import read_results
from vision_jax.ops import rle

SIZE = (48, 64)
_COUNTS = rle.encode(np.eye(*SIZE, dtype=bool)).decode()
COCO = {
    "info": {"year": 2024},
    "images": [
        {"id": 1, "file_name": "0.png", "height": 48, "width": 64},
        {"id": 2, "file_name": "1.png", "height": 48, "width": 64},
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "bbox": [5, 5, 20, 20],
            "area": 400,
            "iscrowd": 0,
            "category_id": 1,
            "segmentation": [[5, 5, 25, 5, 25, 25]],
            "keypoints": [6, 7, 2, 8, 9, 2],
            "num_keypoints": 2,
            "caption": "a cat",
        },
        {
            "id": 2,
            "image_id": 2,
            "bbox": [5, 5, 20, 20],
            "area": 5,
            "iscrowd": 1,
            "category_id": 3,
            "segmentation": {"size": [48, 64], "counts": [10, 5, 3057]},
        },
        {
            "id": 3,
            "image_id": 2,
            "bbox": [0, 0, 30, 30],
            "area": 1,
            "category_id": 1,
            "segmentation": {"size": [48, 64], "counts": _COUNTS},
        },
    ],
    "categories": [
        {"id": 1, "name": "cat", "keypoints": ["left", "right"], "skeleton": [[1, 2]]},
        {"id": 3, "name": "dog"},
    ],
}
LABELME = {
    "version": "5.0",
    "imagePath": "..\\images\\0.png",
    "imageData": None,
    "imageHeight": 48,
    "imageWidth": 64,
    "shapes": [
        {"label": "a", "points": [[1, 2], [30, 4], [20, 40]], "shape_type": "polygon"},
        {"label": "b", "points": [[1, 2], [30, 40]], "shape_type": "rectangle", "group_id": 1},
        {"label": "b", "points": [[20, 20], [30, 30]], "shape_type": "circle", "flags": {}},
    ],
}
VOC = (
    b"<?xml version='1.0' encoding='utf-8'?>\n<annotation><filename>0.png</filename><size>"
    b"<width>64</width><height>48</height><depth>3</depth></size><object><name>cat</name>"
    b"<difficult>0</difficult><truncated>1</truncated><bndbox><xmin>3</xmin><ymin>4</ymin>"
    b"<xmax>30</xmax><ymax>33</ymax></bndbox></object></annotation>"
)
XML_TRICKS = (
    b"<!DOCTYPE a [<!ENTITY x 'xxxxxxxxxx'>"
    + b"".join(b"<!ENTITY x%d '%s'>" % (i, b"&x%d;" % (i - 1) * 10) for i in range(1, 10))
    + b"]>" + VOC.split(b"\n")[1].replace(b"cat", b"&x9;"),
    b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>"
    + VOC.split(b"\n")[1].replace(b"cat", b"&x;"),
    b"<a>" * 100_000,
    VOC.replace(b"utf-8", b"utf-7"),
    VOC.replace(b"utf-8", b"\x1b[31m"),
    VOC.decode().encode("utf-16"),
    VOC.replace(b"<object>", b"<object>" * 3000),
    VOC.replace(b"30", b"9" * 5000),
)  # fmt: skip
CSV = b"filename,category,x0,y0,x1,y1\n0.png,cat,1,2,30,40\n1.png,dog,5,6,7,8\n"
YAML = b"path: .\ntrain: images\nval: images\nnames:\n  0: cat\n  1: dog\n"
YAML_TRICKS = (
    b"!!python/object/apply:os.system ['touch CANARY']\n" + YAML,
    b"a: &a [x, x]\n" + b"".join(b"b%d: &b%d [*%s, *%s]\n" % (i, i, n, n)
                                for i, n in ((i, b"b%d" % (i - 1) if i else b"a")
                                             for i in range(40))) + YAML,
    YAML.replace(b"names:", b"names: &n\n  2: *n"),
    b"[" * 50_000,
    YAML + b"nc: 10000000000\n",
)  # fmt: skip
YOLO = b"0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.4 0.1 0.4 0.5\n"


@functools.cache
def _picture(kind, mode="RGB"):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def _pictures(folder):
    folder.mkdir(parents=True)
    for name in ("0.png", "1.png"):
        (folder / name).write_bytes(_picture("PNG"))


def read_source(make):
    """Reads every example as training and evaluation do."""
    source = make()
    load = Loader(source, degenerate="drop")
    for i in range(len(source)):
        source.describe(i), source.image_id(i)
        load(i, np.random.default_rng(0))
    source.category_ids  # noqa: B018


def check(*texts):
    """Has the doctor look, who exits with 1 where there is something to mend."""
    code = doctor.main([*texts])
    assert code in (0, 1, 2), code


def write_coco(folder, rng):
    _pictures(folder / "images")
    text = json.dumps(COCO).encode() if rng is None else json_text(rng, COCO)
    (folder / "a.json").write_bytes(text)


def read_coco(folder):
    files, errors = (str(folder / "a.json"), str(folder / "images")), []
    for fields in (("objects", "rle", "keypoints"), ("captions",), ("objects",)):
        try:
            read_source(functools.partial(data.CocoFolder, *files, fields=fields))
        except UserError as error:
            _one_line(error)
            errors.append(error)
    check(f"coco:{files[0]},{files[1]}")
    if errors:
        raise errors[0]


def _one_line(error):
    """Fails where a message that is caught here would not be one line; others go on to `child`."""
    assert str(error) == printable(error, len(str(error))), repr(str(error))


def write_results(folder, rng):
    row = {"image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20], "score": 0.5}
    rows = [row, {**row, "image_id": 2, "segmentation": {"size": [48, 64], "counts": _COUNTS}}]
    (folder / "r.json").write_bytes(
        json.dumps(rows).encode() if rng is None else json_text(rng, rows)
    )


def read_coco_results(folder):
    read_results(str(folder / "r.json"), [1, 2], [1, 3])


def write_labelme(folder, rng):
    _pictures(folder / "images")
    text = json.dumps(LABELME).encode() if rng is None else json_text(rng, LABELME)
    (folder / "json").mkdir()
    (folder / "json" / "0.json").write_bytes(text)


def read_labelme(folder):
    read_source(lambda: data.Labelme(str(folder / "json"), fields=("objects", "rle")))


def write_voc(folder, rng):
    _pictures(folder / "JPEGImages")
    annotation, names = VOC, b"0\n"
    if rng is not None:
        kind = rng.random()
        annotation = rng.choice(XML_TRICKS) if kind < 0.15 else damaged(rng, VOC)
        names = damaged(rng, b"0\n1 -1\n") if kind > 0.9 else names
    for part in ("Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    (folder / "Annotations" / "0.xml").write_bytes(annotation)
    (folder / "ImageSets" / "Main" / "t.txt").write_bytes(names)


def read_voc(folder):
    read_source(lambda: data.VocFolder(str(folder), "t"))


def write_csv(folder, rng):
    _pictures(folder / "images")
    content = CSV
    if rng is not None:
        tricks = (
            CSV.replace(b",", b"\x00,"),
            b'"' + CSV,
            CSV + b'"' + b"x" * 200_000,
            b"\xff\xfe" + CSV,
        )
        content = rng.choice(tricks) if rng.random() < 0.1 else damaged(rng, CSV)
    (folder / "a.csv").write_bytes(content)


def read_csv(folder):
    files = str(folder / "a.csv"), str(folder / "images")
    read_source(lambda: data.Csv(*files, "xyxy"))


def write_yolo(folder, rng):
    _pictures(folder / "images")
    (folder / "labels").mkdir()
    names, labels = YAML, YOLO
    if rng is not None and rng.random() < 0.5:
        names = rng.choice(YAML_TRICKS) if rng.random() < 0.2 else damaged(rng, YAML)
    elif rng is not None:
        labels = damaged(rng, YOLO)
    (folder / "data.yaml").write_bytes(names)
    (folder / "labels" / "0.txt").write_bytes(labels)


def read_yolo(folder):
    read_source(lambda: data.Yolo(str(folder / "data.yaml"), fields=("objects", "rle")))


KINDS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "TGA", "ICO", "JPEG2000", "AVIF")


def write_picture(folder, rng):
    kind = "PNG" if rng is None else rng.choice(KINDS)
    mode = "RGB" if rng is None else rng.choice(("RGB", "RGB", "L", "P"))
    try:
        content = _picture(kind, mode)
    except (OSError, KeyError):  # a mode that the format lacks
        content = _picture(kind)
    (folder / "p").write_bytes(content if rng is None else damaged(rng, content))


def read_picture(folder):
    content = (folder / "p").read_bytes()
    for read in (decode_image, lambda x: decode_image(x, 1), image_size, decode_labels):
        try:
            read(content)
        except ValueError as error:  # readers of records name the file and make it a UserError
            _one_line(error)
        except UserError as error:
            _one_line(error)


FORMATS = {
    "coco": Format(write_coco, read_coco),
    "results": Format(write_results, read_coco_results),
    "labelme": Format(write_labelme, read_labelme),
    "voc": Format(write_voc, read_voc),
    "csv": Format(write_csv, read_csv),
    "yolo": Format(write_yolo, read_yolo),
    "picture": Format(write_picture, read_picture),
}
