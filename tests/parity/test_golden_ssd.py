"""SSD300 against torchvision's and ssd.pytorch's: everything that their golden files store."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.seeded import Golden, subsample
from tests.parity.golden_cases import FOLDER
from tests.parity.golden_detection import (
    Scene,
    check_array,
    check_detections,
    check_training,
    truth,
)
from vision_jax import models, weights
from vision_jax.models.detectors.ssd_boxes import COCO_300, STRIDES_300
from vision_jax.ops.anchors import ssd_shares
from vision_jax.ops.resize import resize

FILES = sorted(FOLDER.rglob("ssd300_vgg16.npz"))
ORIGINALS = sorted(FOLDER.rglob("ssd300_vgg16_original.npz"))
# torchvision's, for weights that read 0..255 pixels less their mean.
MEAN, STD = (0.48235, 0.45882, 0.40784), (1 / 255,) * 3


def scene(golden, phase, dtype):
    """Unlike other detectors, images are stretched to a square."""
    given = golden.inputs(phase)
    images = [given[f"image{i}"] for i in range(len(given))]
    resized = []
    for image in images:
        x = jnp.asarray(image.transpose(1, 2, 0), dtype)
        x = (x - jnp.asarray(MEAN, dtype)[None, None]) / jnp.asarray(STD, dtype)[None, None]
        resized.append(resize(x[None], (300, 300))[0])
    sizes = np.full((len(images), 2), 300)
    originals = np.array([image.shape[1:] for image in images])
    new, old = np.float32(sizes), np.float32(originals)
    return Scene(jnp.stack(resized), sizes, new / old, old / new, originals)


def network(golden):
    """As the file's reference was built, with its background beside our classes."""
    labels = golden.meta["shapes"]["head.classification_head.module_list.0.bias"][0] // 4
    options = golden.meta["options"]
    return models.SSD300(labels - 1, models.DefaultBoxes(COCO_300, clip="sides")).clone(
        pre_nms_top_k=options.get("topk_candidates", 400),
        max_detections=options.get("detections_per_img", 200),
        score_threshold=options.get("score_thresh", 0.01),
        nms_threshold=options.get("nms_thresh", 0.45),
    )


@pytest.mark.golden
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_ssd300_equals_torchvisions(path):
    golden = Golden(path)
    model = network(golden)
    state = weights.from_reference(golden.state_dict(), model)
    assert sum(a.size for a in jax.tree.leaves(state["params"])) == golden.meta["param_count"]
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype is np.float64):
            variables = jax.tree.map(lambda a, dtype=dtype: jnp.asarray(a, dtype), state)
            check_eval(golden, model, variables, dtype)
            _check_train(golden, model, variables, dtype)


def check_eval(golden, model, variables, dtype):
    """Every output of evaluation that torchvision's file holds."""
    given = scene(golden, "eval", dtype)
    check_array(golden, "eval/transform.images", given.image.transpose(0, 3, 1, 2), dtype)
    check_array(golden, "eval/transform.sizes", given.sizes, dtype)

    @jax.jit
    def run(variables, image, sizes):
        outputs = model.apply(variables, image, sizes)
        return outputs, model.detect(outputs, sizes)

    outputs, detections = run(variables, given.image, jnp.asarray(given.sizes, dtype))
    for number, x in enumerate(outputs["maps"]):
        check_array(golden, f"eval/backbone.{number}", x.transpose(0, 3, 1, 2), dtype)
    for key, names in {
        "class_logits": ("classification_head", "cls_logits"),
        "box_deltas": ("regression_head", "bbox_regression"),
    }.items():
        for name in names:
            check_array(golden, f"eval/head.{name}", outputs[key], dtype)
    for row in range(len(given.sizes)):
        check_array(golden, f"eval/anchor_generator.{row}", outputs["anchors"], dtype)
    detections = detections.replace(labels=detections.labels + 1)
    check_detections(golden, detections, given, dtype)


def _check_train(golden, model, variables, dtype):
    given = scene(golden, "train", dtype)
    targets = truth(golden, given.ratios, dtype)
    targets = targets.replace(labels=targets.labels - 1)
    check_training(golden, model, variables, given, targets, dtype)


def original(golden):
    """As ssd.pytorch's network was built."""
    classes = golden.meta["shapes"]["conf.0.bias"][0] // 4 - 1
    return models.SSD300(classes, models.DefaultBoxes(clip="all"))


def check_original(golden, model, variables, dtype):
    """Every array but the priors that ssd.pytorch's file holds; our outputs."""
    x = golden.inputs("eval")["x"].transpose(0, 2, 3, 1)
    sizes = jnp.full((len(x), 2), 300, dtype)
    outputs = jax.jit(model.apply)(variables, jnp.asarray(x, dtype), sizes)
    check_array(golden, "eval/loc", outputs["box_deltas"], dtype)
    check_array(golden, "eval/conf", outputs["class_logits"], dtype)
    return outputs


@pytest.mark.golden
@pytest.mark.parametrize("path", ORIGINALS, ids=lambda p: p.stem)
def test_ssd300_equals_ssd_pytorchs(path):
    golden = Golden(path)
    model = original(golden)
    state = weights.from_reference(golden.state_dict(), model)
    assert sum(a.size for a in jax.tree.leaves(state["params"])) == golden.meta["param_count"]
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype is np.float64):
            variables = jax.tree.map(lambda a, dtype=dtype: jnp.asarray(a, dtype), state)
            outputs = check_original(golden, model, variables, dtype)
    boxes = model.default_boxes
    grids = [x.shape[1:3] for x in outputs["maps"]]
    info = golden.meta["outputs"]["eval/priors"]
    priors = ssd_shares(
        boxes.scales, boxes.ratios, (300, 300), grids, STRIDES_300, clip_centres=True
    )
    assert list(priors.shape) == info["shape"]
    assert np.array_equal(subsample(priors, info["stride"]), golden["eval/priors"])
