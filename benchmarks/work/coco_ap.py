"""From a detector's answers to COCO's AP: boxes of made-up images in padded arrays, 80 classes.

Ours goes through `evaluation.COCO`; the peer writes dicts as scripts do and calls pycocotools.
"""

import contextlib
import io
import pathlib

import numpy as np

from benchmarks.work import Work

CLASSES, BATCH = 80, 50
HEIGHT, WIDTH = 480, 640


def ours(shared: pathlib.Path, images: int, truth: int, found: int) -> Work:
    from vision_jax import evaluation
    from vision_jax.structs import Batch, Detections, Targets

    given = answers(images, truth, found)
    metric = evaluation.COCO(CLASSES)
    batches = []
    for start in range(0, images, BATCH):
        part = {name: x[start : start + BATCH] for name, x in given.items()}
        count = len(part["boxes"])
        targets = Targets(
            boxes=part["boxes"], labels=part["labels"], valid=np.ones((count, truth), bool)
        )
        batch = Batch(
            image=np.broadcast_to(np.uint8(0), (count, HEIGHT, WIDTH, 3)),
            valid=np.ones(count, bool),
            index=np.arange(count, dtype=np.int32),
            targets=targets,
        )
        detections = Detections(
            part["found"], part["scores"], part["classes"], np.ones((count, found), bool)
        )
        batches.append((batch, {"detections": detections}))

    def run() -> None:
        nonlocal result
        state = metric.empty()
        for batch, outputs in batches:
            state = metric.collect(state, outputs, batch)
        result = metric.result(state)

    result: dict = {}
    run()
    compared = np.array([result[name] for name in ("ap", "ap50", "ap75")])
    return Work(run, images, {"ap": compared})


def pycocotools(shared: pathlib.Path, images: int, truth: int, found: int) -> Work:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    given = answers(images, truth, found)
    annotations = [
        {**one, "id": number, "iscrowd": 0, "area": one["bbox"][2] * one["bbox"][3]}
        for number, one in enumerate(_dicts(given["boxes"], given["labels"]), 1)
    ]
    content = {
        "info": {},
        "images": [{"id": i, "height": HEIGHT, "width": WIDTH} for i in range(1, images + 1)],
        "annotations": annotations,
        "categories": [{"id": c + 1, "name": str(c)} for c in range(CLASSES)],
    }

    def run() -> None:
        nonlocal stats
        with contextlib.redirect_stdout(io.StringIO()):
            dataset = COCO()
            dataset.dataset = content
            dataset.createIndex()
            listed = _dicts(given["found"], given["classes"], given["scores"])
            evaluation = COCOeval(dataset, dataset.loadRes(listed), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        stats = evaluation.stats

    stats: np.ndarray = np.zeros(12)
    run()
    return Work(run, images, {"ap": np.array(stats[:3])})


def answers(images: int, truth: int, found: int) -> dict[str, np.ndarray]:
    """`boxes`, `labels` (n, truth) and `found`, `classes`, `scores` (n, found).

    What is found is what there is, moved by a few pixels, again and again, in one class of five
    another; labels are 0..79.
    """
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 0.7, (images, truth, 2))
    side = rng.uniform(0.02, 0.3, (images, truth, 2)) ** 1.5 * 2
    scale = np.array([WIDTH, HEIGHT])
    boxes = np.concatenate([low * scale, (low + side) * scale], -1)
    labels = rng.integers(0, CLASSES, (images, truth))
    owner = rng.integers(0, truth, (images, found))
    moved = np.take_along_axis(boxes, owner[..., None], 1)
    moved = moved + rng.normal(0, 6, moved.shape)
    moved[..., 2:] = np.maximum(moved[..., 2:], moved[..., :2] + 1)
    classes = np.take_along_axis(labels, owner, 1)
    wrong = rng.uniform(size=classes.shape) < 0.2
    classes = np.where(wrong, rng.integers(0, CLASSES, classes.shape), classes)
    return {
        "boxes": boxes.astype(np.float32),
        "labels": labels.astype(np.int32),
        "found": moved.astype(np.float32),
        "classes": classes.astype(np.int32),
        "scores": -np.sort(-rng.uniform(size=classes.shape), 1).astype(np.float32),
    }


def _dicts(boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray | None = None) -> list[dict]:
    """COCO's form, images numbered from 1; boxes x, y, w, h."""
    listed = []
    for image in range(len(boxes)):
        for i, (x0, y0, x1, y1) in enumerate(boxes[image].tolist()):
            one = {
                "image_id": image + 1,
                "category_id": int(labels[image, i]) + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
            }
            if scores is not None:
                one["score"] = float(scores[image, i])
            listed.append(one)
    return listed
