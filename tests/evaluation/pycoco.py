"""The reference of COCO's numbers: pycocotools, on annotations and detections in COCO's format."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

FIELD = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}


def run(images, num_classes, iou_type, limits=None):
    """Returns COCOeval's precision, recall and scores of a list of `Record`s."""
    dataset, detections = to_coco(images, num_classes)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = dataset
        truth.createIndex()
        keys = ("image_id", "category_id", "score", FIELD[iou_type])
        found = truth.loadRes([{key: one[key] for key in keys} for one in detections])
        evaluation = COCOeval(truth, found, iou_type)
        if iou_type == "keypoints":
            count = len(detections[0]["keypoints"]) // 3
            sigmas = evaluation.params.kpt_oks_sigmas
            if count != len(sigmas):
                evaluation.params.kpt_oks_sigmas = np.full(count, sigmas.mean())
        if limits is not None:
            evaluation.params.maxDets = list(limits)
        evaluation.evaluate()
        evaluation.accumulate()
    return tuple(evaluation.eval[name] for name in ("precision", "recall", "scores"))


def to_coco(images, num_classes):
    """Returns (data set, detections); class c is category c + 1, image i is i + 1."""
    annotations, detections = [], []
    for number, image in enumerate(images, 1):
        truth = image.truth
        for i, one in enumerate(entries(number, image, truth)):
            one["id"] = len(annotations) + 1
            one["iscrowd"] = int(truth.crowd is not None and bool(truth.crowd[i]))
            area = one["bbox"][2] * one["bbox"][3]
            one["area"] = area if truth.area is None else float(truth.area[i])
            if truth.keypoints is not None:
                one["num_keypoints"] = int((truth.keypoints[i][:, 2] > 0).sum())
            annotations.append(one)
        for i, one in enumerate(entries(number, image, image.detections)):
            detections.append({**one, "score": float(image.detections.scores[i])})
    sizes = [(image.height, image.width) for image in images]
    infos = [{"id": i, "height": h, "width": w} for i, (h, w) in enumerate(sizes, 1)]
    categories = [{"id": c + 1, "name": str(c)} for c in range(num_classes)]
    parts = {"images": infos, "annotations": annotations, "categories": categories}
    return {"info": {}, **parts}, detections


def entries(number, image, objects):
    """Yields the fields that annotated and detected objects both have."""
    for i, (box, label) in enumerate(zip(objects.boxes, objects.labels.tolist(), strict=True)):
        x0, y0, x1, y1 = box.tolist()
        one = {"image_id": number, "category_id": label + 1, "bbox": [x0, y0, x1 - x0, y1 - y0]}
        if objects.masks is not None:
            counts = objects.masks[i].decode()
            one["segmentation"] = {"size": [image.height, image.width], "counts": counts}
        if objects.keypoints is not None:
            one["keypoints"] = objects.keypoints[i].reshape(-1).tolist()
        yield one
