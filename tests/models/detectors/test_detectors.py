"""One walk over every detector: it learns four images by heart, and no batch breaks it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.detectors import tiny_detectors
from tests.models.detectors.tiny_detectors import CLASSES, DETECTORS
from vision_jax.evaluation import VOC
from vision_jax.ops.assign import IGNORED
from vision_jax.tasks import Detection
from vision_jax.training import AdamW, Cosine, Optimizer, create, make_train_step

# Steps in which four images are learned by heart.
STEPS = {
    "faster_rcnn": 250,
    "faster_rcnn_fpn": 600,
    "faster_rcnn_vgg": 600,
    "faster_rcnn_c4": 600,
    "mask_rcnn": 1200,
    "mask_rcnn_c4": 600,
    "keypoint_rcnn": 1200,
}
# Cheap enough for every run of the tests; the others are walked over by `-m slow`.
CHEAP = ("retinanet", "faster_rcnn")
WALK = [pytest.param(name, marks=() if name in CHEAP else pytest.mark.slow) for name in DETECTORS]
pytestmark = pytest.mark.usefixtures("embedded_data")


@functools.cache
def images():
    return tiny_detectors.images()


@functools.cache
def made(name):
    """The task, its first state and its compiled step."""
    task = Detection(DETECTORS[name](), mean=(0.5,) * 3, std=(0.25,) * 3)
    variables = task.init(jax.random.key(0), images())
    steps = STEPS.get(name, 150)
    update = Optimizer(AdamW(), Cosine(3e-3), clip=10.0).build(variables["params"], steps, steps)
    step = jax.jit(make_train_step(task, update))
    return task, create(variables, update), step, jax.jit(task.predict)


@pytest.mark.parametrize("name", WALK)
def test_four_images_are_learned_by_heart(name):
    _, state, step, predict = made(name)
    losses = []
    for _ in range(STEPS.get(name, 150)):
        state, measured = step(state, images(), 0)
        losses.append(float(measured["loss"]))
    found = predict(state.variables, images())["detections"]
    metric = VOC(CLASSES, inclusive=False)
    host = jax.tree.map(np.asarray, (found, images()))
    measured = metric.result(metric.collect([], {"detections": host[0]}, host[1]))
    assert np.mean(losses[-10:]) <= 0.05 * losses[0]
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
    if not hasattr(model, "matches"):
        pytest.skip("matches nothing by anchors")
    targets, size = Detection(model).targets(images()), (tiny_detectors.SIDE,) * 2
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
