"""Parity of detection metrics with pycocotools and with PASCAL VOC's development kit."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

from vision_jax.evaluation import coco, voc
from vision_jax.evaluation.records import Objects, Record

FOLDER = Path(os.environ.get("VISION_JAX_GOLDENS", Path(__file__).parents[1] / "golden")) / "eval"
pytestmark = pytest.mark.golden


def golden(path):
    spec = importlib.util.spec_from_file_location(
        "golden_seeded", Path(__file__).parents[1] / "golden" / "seeded.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Golden(path)


def files(word):
    return sorted(FOLDER.glob(f"{word}_*.npz"))


@pytest.mark.parametrize("path", files("coco"), ids=lambda path: path.stem)
def test_coco(path):
    file = golden(path)
    for kind in file.meta["iou_types"]:
        got = coco.evaluate(coco_records(file.meta), len(file.meta["dataset"]["categories"]), kind)
        np.testing.assert_array_equal(got.stats, file[f"{kind}/stats"])
        np.testing.assert_array_equal(got.precision, file[f"{kind}/precision"])
        np.testing.assert_array_equal(got.recall, file[f"{kind}/recall"])
        np.testing.assert_array_equal(got.scores.astype(np.float32), file[f"{kind}/scores"])


def coco_records(meta):
    """A COCO file's images, in the metric's own form, in the order of their numbers."""
    dataset = meta["dataset"]
    classes = sorted(category["id"] for category in dataset["categories"])

    def objects(entries):
        keypoints = [np.reshape(one["keypoints"], (-1, 3)) for one in entries if "keypoints" in one]
        masks = [one["segmentation"]["counts"] for one in entries if "segmentation" in one]
        boxes = np.array([one["bbox"] for one in entries], float).reshape(-1, 4)
        return Objects(
            np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1),
            np.array([classes.index(one["category_id"]) for one in entries], int),
            masks=[counts.encode() for counts in masks] if masks else None,
            keypoints=np.array(keypoints, float) if keypoints else None,
        )

    images = []
    for image in sorted(dataset["images"], key=lambda image: image["id"]):
        given = [one for one in dataset["annotations"] if one["image_id"] == image["id"]]
        found = [one for one in meta["detections"] if one["image_id"] == image["id"]]
        truth, answer = objects(given), objects(found)
        truth.area = np.array([one["area"] for one in given], float)
        truth.crowd = np.array([one["iscrowd"] for one in given], bool)
        answer.scores = np.array([one["score"] for one in found], float)
        images.append(Record(image["id"], image["height"], image["width"], truth, answer))
    return images


def to_records(meta):
    """A VOC file's images in the metric's own form."""
    images = []
    for number, (name, objects) in enumerate(meta["truth"].items()):
        found = [d for d in meta["detections"] if d["image"] == name]
        truth = Objects(
            np.array([o["box"] for o in objects], float).reshape(-1, 4),
            np.array([o["label"] for o in objects], int),
            difficult=np.array([o["difficult"] for o in objects], bool),
        )
        answer = Objects(
            np.array([d["box"] for d in found], float).reshape(-1, 4),
            np.array([d["label"] for d in found], int),
            np.array([d["score"] for d in found], float),
        )
        images.append(Record(number, 300, 400, truth, answer))
    return images


@pytest.mark.parametrize("path", files("voc"), ids=lambda path: path.stem)
@pytest.mark.parametrize("threshold", [0.5, 0.75])
def test_voc(path, threshold):
    file = golden(path)
    images, classes = to_records(file.meta), file.meta["classes"]
    for label in range(classes):
        recall, precision = voc.precision_recall(voc.rank(images, label, threshold))
        np.testing.assert_array_equal(recall, file[f"{threshold}/class{label}/recall"])
        np.testing.assert_array_equal(precision, file[f"{threshold}/class{label}/precision"])
    for eleven, name in ((True, "ap_11_point"), (False, "ap_all_points")):
        got = voc.VOC(classes, eleven, threshold).result(images)["per_class_ap"]
        # The kit sums eleven terms one by one: the same numbers, in another order.
        np.testing.assert_allclose(got, file[f"{threshold}/{name}"], rtol=1e-14)
