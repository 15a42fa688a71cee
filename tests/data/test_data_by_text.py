"""Sources by text: every kind, paths with commas and equals signs, and mistakes."""

import json

import pytest
from PIL import Image

from vision_jax.config import UserError, build, node
from vision_jax.data import by_text, source_from_text
from vision_jax.data.by_text import parse

KINDS = by_text.KINDS


@pytest.mark.parametrize(
    ("text", "kind", "settings"),
    [
        ("coco:a.json,photos", "coco", {"annotations": "a.json", "images": "photos"}),
        (
            'coco:"a,b.json",images="photos=1",fields=objects;rle,upright=true',
            "coco",
            {
                "annotations": "a,b.json",
                "images": "photos=1",
                "fields": ("objects", "rle"),
                "upright": True,
            },
        ),
        ("voc:year,train", "voc", {"folder": "year", "split": "train"}),
        ("voc:split=val,folder=y", "voc", {"folder": "y", "split": "val"}),
        (
            "csv:a.csv,i,xywh,relative=1,columns=f;c;x;y;w;h,encoding=latin-1",
            "csv",
            {
                "file": "a.csv",
                "images": "i",
                "format": "xywh",
                "relative": True,
                "columns": ("f", "c", "x", "y", "w", "h"),
                "encoding": "latin-1",
            },
        ),
        (
            "folder:photos,names=dog;a cat",
            "folder",
            {"folder": "photos", "names": ("dog", "a cat")},
        ),
        (
            "masks:i,m,sky;road,colors=#0000ff;808080,void=-1",
            "masks",
            {
                "images": "i",
                "masks": "m",
                "names": ("sky", "road"),
                "colors": ((0, 0, 255), (128, 128, 128)),
                "void": -1,
            },
        ),
        ("yolo:data.yaml,val", "yolo", {"file": "data.yaml", "split": "val"}),
        ("labelme:photos,check_sizes=false", "labelme", {"folder": "photos", "check_sizes": False}),
        (
            "tfds:shapes/det64,train[:5],data_dir=/d,cache_mb=5",
            "tfds",
            {"name": "shapes/det64", "split": "train[:5]", "data_dir": "/d", "cache_mb": 5},
        ),
    ],
)
def test_settings(text, kind, settings):
    assert parse(text) == (KINDS[kind], settings)


@pytest.mark.parametrize("name", ["date=2024", "x,y", "a,b=c,d", "split=1,images=2"])
def test_existing_paths_hold_any_signs(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    Image.new("RGB", (16, 12)).save(folder / "p,1=2.png")
    annotation = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
    (folder / "a,b.json").write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "p,1=2.png"}],
                "annotations": [annotation],
                "categories": [{"id": 1, "name": "cat"}],
            }
        )
    )
    file = folder / "a,b.json"
    for text in (
        f"coco:{file},{folder}",
        f"coco:{file},{folder},fields=objects",
        f"coco:images={folder},annotations={file}",
        f'coco:"{file}",images="{folder}"',
    ):
        source = source_from_text(text)
        assert source[0]["boxes"].tolist() == [[1, 2, 4, 6]] and source.fields == ("objects",)


def test_further_settings_do_not_override_the_text(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (16, 12)).save(tmp_path / name / "1.png")
    more = {"names": ("dog", "cat"), "fields": ("objects", "rle")}  # folders have no fields
    assert source_from_text(f"folder:{tmp_path}", **more).classes == ("dog", "cat")
    assert source_from_text(f"folder:{tmp_path},names=cat;dog", **more).classes == ("cat", "dog")
    source = build(node(source_from_text, text=f"folder:{tmp_path}"))
    assert source.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("coco", "write KIND:.*labelme"),
        ("cocoo:a", "unknown kind 'cocoo' - did you mean coco"),
        ("coco:", "annotations, images is missing"),
        ("coco:a.json", "source 'coco:a.json': images is missing"),
        ("coco:a.json,b,c", "too many items"),
        ("coco:a.json,date=3/b", "no setting 'date' - known: .*if 'date=3/b' is a path, it does"),
        ('coco:"a.json,b', "a quotation mark has no partner"),
        ("voc:a,folder=b", "folder is given twice"),
        ("csv:a,b,xyxy,relative=perhaps", "relative='perhaps' is neither true nor false"),
        ("tfds:a,b,cache_mb=x", "cache_mb='x' is no number"),
        ("masks:a,b,c;d,colors=red;blue", "colors='red;blue': write #ff0000"),
    ],
)
def test_mistakes(text, message):
    with pytest.raises(UserError, match=message) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
