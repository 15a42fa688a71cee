"""One walk over every detector: its interface and words, learning by heart, odd batches."""

import dataclasses
import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tests.models.detectors import tiny_detectors
from tests.models.detectors.tiny_detectors import ALL_DETECTORS, CLASSES, DETECTORS, SIDE
from vision_jax import models, structs
from vision_jax.evaluation import VOC
from vision_jax.models.detectors.fcos import centerness_of
from vision_jax.ops.assign import IGNORED
from vision_jax.tasks import Detection
from vision_jax.training import AdamW, Cosine, Optimizer, create, make_train_step

# Steps in which four images are learned by heart.
STEPS = {
    "detr": 400,
    "detr_masks": 600,
    "pix2seq": 600,
    "faster_rcnn": 250,
    "faster_rcnn_fpn": 600,
    "faster_rcnn_vgg": 600,
    "faster_rcnn_c4": 600,
    "rfcn": 600,
    "mask_rcnn": 1200,
    "mask_rcnn_c4": 600,
    "mask_rcnn_v2": 1200,
    "keypoint_rcnn": 1200,
}
# Cheap enough for every run of the tests; the others are walked over by `-m slow`.
CHEAP = ("retinanet", "faster_rcnn")
WALK = [pytest.param(name, marks=() if name in CHEAP else pytest.mark.slow) for name in DETECTORS]
pytestmark = pytest.mark.usefixtures("embedded_data")


METHODS = ("__call__", "loss", "detect", "metrics", "anchors", "matches")
# Words that some detectors had for what all call by one name; see `structs.Detector`.
OLD_FIELDS = {
    *("sizes", "ratios", "cell", "spacing", "boxes", "reads", "rescaled", "top", "whole"),
    *("nms", "nms_iou", "overlap", "high", "low", "low_quality", "ignore", "least_iou"),
    *("score", "least", "least_score", "least_size", "count", "detections", "candidates"),
    *("before_nms", "after_nms", "train_before_nms", "train_after_nms", "samples", "fraction"),
    *("add_truth", "cross_boundary", "per_cell", "box_weight", "weight", "weights", "negatives"),
    *("limit", "form", "form_of_norm", "rescore", "leading", "norm", "eps", "dtype", "trunk"),
}
OLD_OUTPUTS = {"logits", "deltas", "raw", "confidence", "class_scores", "regression", "sizes"}
OLD_OUTPUTS |= {"rpn_logits", "rpn_deltas", "rpn_index", "rpn_matches", "roi_matches"}
ALL = pytest.mark.parametrize("name", ALL_DETECTORS)


def settings(module):
    """Yields the names of a module's fields, for it and for the modules in its fields."""
    names = [field.name for field in dataclasses.fields(module)]
    names = [name for name in names if name not in ("parent", "name")]
    yield type(module), names
    for name in names:
        if isinstance(getattr(module, name), nn.Module):
            yield from settings(getattr(module, name))


def answered(model):
    """Returns shapes of outputs, loss terms, metrics and detections for two images with objects."""
    images, sizes = jnp.zeros((2, SIDE, SIDE, 3)), jnp.full((2, 2), float(SIDE))
    targets = structs.Targets(
        boxes=jnp.tile(jnp.array([8.0, 8.0, 30.0, 40.0]), (2, 3, 1)),
        labels=jnp.zeros((2, 3), jnp.int32),
        valid=jnp.ones((2, 3), bool),
        masks=jnp.ones((2, 3, SIDE, SIDE), bool),
        keypoints=jnp.ones((2, 3, 5, 3)),
    )

    def run(key):
        keys, valid = jax.random.split(key, 2), jnp.ones(2, bool)
        outputs, _ = model.init_with_output(key, images, sizes, targets, train=True, keys=keys)
        terms, metrics = (f(outputs, targets, valid) for f in (model.loss, model.metrics))
        return outputs, terms, metrics, model.detect(outputs, sizes)

    return jax.eval_shape(run, jax.random.key(0))


@ALL
def test_its_interface_is_that_of_the_protocol(name):
    model = ALL_DETECTORS[name]()
    assert isinstance(model, structs.Detector)
    for method in METHODS:
        parameters = [
            [(p.name, p.kind, p.default) for p in inspect.signature(f).parameters.values()]
            for f in (getattr(type(model), method), getattr(structs.Detector, method))
        ]
        assert parameters[0] == parameters[1], method


@ALL
def test_its_fields_have_the_common_names(name):
    for part, names in settings(ALL_DETECTORS[name]()):
        assert not {*names} & OLD_FIELDS, part
        assert "layers" not in names[:-1], part  # the last field, where there is one


@ALL
def test_its_outputs_have_the_common_names(name):
    model = ALL_DETECTORS[name]()
    outputs, terms, metrics, detections = answered(model)
    assert not {*outputs} & OLD_OUTPUTS
    anchors = model.anchors(SIDE, SIDE)
    if anchors is not None:
        assert outputs["anchors"].shape == anchors.shape
    if "anchors" in outputs:
        stem = "rpn_" if "proposals" in outputs else ""
        count = len(outputs["anchors"])
        assert outputs[f"{stem}box_deltas"].shape[:2] == (2, count)
        # YOLO v1 has one answer for all of a cell's boxes.
        assert count % outputs[f"{stem}class_logits"].shape[1] == 0
    assert detections.boxes.shape[0] == 2 and detections.boxes.dtype == jnp.float32
    assert all(leaf.shape == () for leaf in jax.tree.leaves((terms, metrics)))


@functools.cache
def images():
    return tiny_detectors.images()


@functools.cache
def made(name):
    """Makes a task, its first state, its compiled step and its compiled prediction."""
    task = Detection(DETECTORS[name](), mean=(0.5,) * 3, std=(0.25,) * 3)
    variables = task.init(jax.random.key(0), images())
    steps = STEPS.get(name, 150)
    update = Optimizer(AdamW(), Cosine(3e-3), clip=10.0).build(variables["params"], steps, steps)
    step = jax.jit(make_train_step(task, update))
    return task, create(variables, update), step, jax.jit(task.predict)


def least_loss(model):
    """Computes what is left of a loss that is learned: FCOS's centre-ness is no 0 and no 1."""
    if not isinstance(model, models.FCOS):
        return 0.0
    targets, anchors = Detection(model).targets(images()), model.anchors(SIDE, SIDE)
    matches = np.asarray(model.matches(targets, SIDE, SIDE))
    row, point = np.nonzero(matches >= 0)
    boxes = jnp.asarray(targets.boxes)[row, matches[row, point]]
    share = np.asarray(centerness_of(boxes, anchors[point]), np.float64)
    share = np.clip(share, 1e-9, 1 - 1e-9)
    return float(np.mean(-share * np.log(share) - (1 - share) * np.log(1 - share)))


@pytest.mark.parametrize("name", WALK)
def test_four_images_are_learned_by_heart(name):
    task, state, step, predict = made(name)
    losses = []
    for _ in range(STEPS.get(name, 150)):
        state, measured = step(state, images(), 0)
        losses.append(float(measured["loss"]))
    found = predict(state.variables, images())["detections"]
    metric = VOC(CLASSES, inclusive=False)
    host = jax.tree.map(np.asarray, (found, images()))
    measured = metric.result(metric.collect([], {"detections": host[0]}, host[1]))
    least = least_loss(task.model)
    assert np.mean(losses[-10:]) - least <= 0.05 * (losses[0] - least)
    assert measured["ap50"] == 1


@pytest.mark.parametrize("name", WALK)
def test_no_batch_breaks_it(name):
    task, state, step, predict = made(name)
    batch = images()
    step(state, batch, 0), predict(state.variables, batch)
    programs = step._cache_size(), predict._cache_size()
    padded = batch.replace(valid=jnp.zeros(4, bool))
    odd = {
        "no object": tiny_detectors.empty(batch),
        "100 objects": tiny_detectors.crowded(batch),
        "smaller than an anchor": tiny_detectors.shrunk(batch),
        "smaller, no object": tiny_detectors.shrunk(tiny_detectors.empty(batch)),
        "padding alone": padded,
    }
    for title, batch in odd.items():
        new, measured = step(state, batch, 0)
        assert measured["finite"], (title, measured)
        new = (new.params, new.collections, new.opt_state)
        for path, leaf in jax.tree_util.tree_leaves_with_path(new):
            assert np.isfinite(np.asarray(leaf, np.float32)).all(), (title, path)
        found = predict(state.variables, batch)["detections"]
        assert np.isfinite(np.asarray(found.boxes)).all(), title
        sizes = np.asarray(task.sizes(batch))[:, None, [1, 0, 1, 0]]
        kept = np.where(found.valid[..., None], found.boxes, 0)
        assert (kept >= 0).all() and (kept <= sizes).all(), title
    assert (step._cache_size(), predict._cache_size()) == programs  # compiled once for all


@pytest.mark.parametrize("name", WALK)
def test_matches_name_anchors_that_overlap_their_objects(name):
    model = DETECTORS[name]()
    targets, size = Detection(model).targets(images()), (SIDE, SIDE)
    if model.anchors(*size) is None:
        pytest.skip("matches nothing by anchors")
    anchors = np.asarray(model.anchors(*size))
    match = jax.jit(model.matches, static_argnums=(1, 2))
    matches = np.asarray(match(targets, *size))
    assert matches.shape == (4, len(anchors)) and matches.min() >= IGNORED
    for row, chosen in enumerate(matches):
        there = np.flatnonzero(np.asarray(targets.valid[row]))
        owned = np.flatnonzero(chosen >= 0)
        assert set(chosen[owned]) == set(there.tolist())  # every object, and no padding
        boxes = np.asarray(targets.boxes[row])[chosen[owned]]
        low = np.maximum(boxes[:, :2], anchors[owned, :2])
        high = np.minimum(boxes[:, 2:], anchors[owned, 2:])
        assert (high > low).all()
    nothing = Detection(model).targets(tiny_detectors.empty(images()))
    assert (np.asarray(match(nothing, *size)) < 0).all()
