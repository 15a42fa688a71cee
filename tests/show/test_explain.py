"""`--mode explain` as a user runs it: a results file against the evaluation set's objects."""

import json
import pathlib

import pytest
from PIL import Image

import launch

ROOT = pathlib.Path(__file__).parents[2]
BOXES = {"a": [10, 10, 40, 30], "b": [60, 10, 20, 20]}
EXPERIMENT = """
from experiments import (quickstart)
from vision_jax.config import node
from vision_jax.data import CocoFolder, VocFolder

def get_config(arg=""):
    config = quickstart.get_config()
    config.eval.source = node({source})
    return config
"""
COCO = "CocoFolder, annotations='{folder}/truth.json', images='{folder}'"
VOC = "VocFolder, folder='{folder}'"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two images, a.png with a cat (category 5) and b.png with a dog (category 2)."""
    monkeypatch.chdir(ROOT)
    truth = {"images": [], "annotations": [], "categories": []}
    for number, (name, (x, y, w, h)) in enumerate(BOXES.items()):
        Image.new("RGB", (100, 60)).save(tmp_path / f"{name}.png")
        label = ("cat", "dog")[number]
        truth["images"].append({"id": number, "file_name": f"{name}.png"})
        truth["categories"].append({"id": (5, 2)[number], "name": label})
        note = {"id": number, "image_id": number, "category_id": (5, 2)[number]}
        truth["annotations"].append({**note, "bbox": [x, y, w, h]})
        box = f"<xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax>"
        thing = f"<name>{label}</name><difficult>{number}</difficult><bndbox>{box}</bndbox>"
        xml = f"<annotation><object>{thing}</object></annotation>"
        (tmp_path / f"{name}.xml").write_text(xml)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    return tmp_path


def explain(folder, source, rows):
    (folder / "own.py").write_text(EXPERIMENT.format(source=source.format(folder=folder)))
    (folder / "found.json").write_text(json.dumps(rows))
    argv = ["--config", str(folder / "own.py"), "--workdir", str(folder / "run")]
    return launch.main([*argv, "--mode", "explain", "--input", str(folder / "found.json")])


def totals(folder):
    lines = (folder / "run" / "explain.md").read_text().splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert tables[0].replace("|", " ").split() == ["VOC07", "VOC12", "COCO", "AP50", "COCO", "AP"]
    return [float(cell) for cell in tables[2].split("|")[1:-1]]


def test_results_in_cocos_numbers(folder, capsys):
    rows = [
        {"image_id": 0, "category_id": 5, "bbox": [10, 10, 40, 30], "score": 0.9},
        {"image_id": 1, "category_id": 2, "bbox": [60, 10, 20, 15], "score": 0.8},
    ]
    assert explain(folder, COCO, rows) == 0
    # The dog's IoU is 0.75: a hit at 6 of 10 thresholds, of two classes.
    assert totals(folder) == [100, 100, 100, 80]
    said = capsys.readouterr().out
    assert "100.00 at 0.50, 100.00 at 0.75, 50.00 at 0.95" in said and "| cat " in said
    assert str(folder / "run" / "explain.md") in said


def test_difficult_objects_of_a_voc_folder(folder):
    row = {"image_id": "a", "category_id": 1, "bbox": [10, 10, 40, 30], "score": 0.9}
    assert explain(folder, VOC, [row]) == 0
    assert totals(folder) == [100, 100, 50, 50]  # COCO wants the difficult dog found


def test_mistakes_are_one_line(folder, capsys):
    assert explain(folder, COCO, {"boxes": 1}) == 2
    assert "not a list of detections" in capsys.readouterr().err
    base = ["--config", str(folder / "own.py"), "--mode", "explain", "--workdir", str(folder)]
    assert launch.main(base) == 2
    assert "--mode evaluate writes it" in capsys.readouterr().err
    source = COCO + ", fields=('captions',)"
    assert explain(folder, source, []) == 2
    error = capsys.readouterr().err.strip()
    assert "has no boxes" in error and len(error.splitlines()) == 1
