"""The CNN cascade: its windows, its stages, what it is trained on, and four images by heart."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax import models, structs
from vision_jax.config import UserError
from vision_jax.models.detectors import cnn_cascade, cnn_cascade_training
from vision_jax.models.detectors.cnn_cascade_nets import Net12
from vision_jax.models.layers import NO_NORM
from vision_jax.ops import boxes as box_ops
from vision_jax.ops.cascade import square_boxes
from vision_jax.structs import Batch, Targets
from vision_jax.tasks import Detection
from vision_jax.training import AdamW, Cosine, Optimizer, create, make_train_step

RNG = np.random.default_rng(4)
SIDE = 48
SMALL = {"min_size": 16, "factor": 0.5, "width": 0.1, "max_windows": (24, 12), "chunk": 8}
LEAST = (0.2, 0.0, 0.0)  # thresholds; drawn networks hold nothing for a face
DRAW = jax.jit(cnn_cascade_training.draw_crops, static_argnums=(4, 5))
RAW = {"mean": (0.0,) * 3, "std": (1 / 255,) * 3}


def network(**fields):
    return models.CNNCascade(**{**SMALL, "max_detections": 8, **fields})


@functools.cache
def drawn():
    """Draws weights, and an image on a larger canvas, and compiles nothing."""
    model = network()
    shapes = jax.eval_shape(
        model.init, jax.random.key(0), jnp.zeros((1, SIDE, SIDE, 3)), jnp.full((1, 2), 48.0)
    )

    def draw(x):
        scale = np.sqrt(2 / np.prod(x.shape[:-1])) if len(x.shape) > 1 else 0.1
        return jnp.asarray(RNG.normal(0, scale, x.shape), jnp.float32)

    variables = jax.tree.map(draw, shapes)
    variables["params"]["thresholds"] = jnp.array(LEAST)
    image = RNG.integers(0, 256, (1, SIDE, SIDE, 3)).astype(np.float32)
    return variables, jnp.asarray(image)


def test_the_papers_sizes():
    model = models.CNNCascade()
    images, sizes = jnp.zeros((1, 64, 64, 3)), jnp.full((1, 2), 64.0)
    params = jax.eval_shape(model.init, jax.random.key(0), images, sizes)["params"]
    assert params["net12"]["conv1"]["kernel"].shape == (3, 3, 3, 16)
    assert params["net24"]["conv1"]["kernel"].shape == (5, 5, 3, 64)
    assert params["net24"]["logits"]["kernel"].shape == (128 + 16, 2)
    assert params["net48"]["logits"]["kernel"].shape == (256 + 128, 2)
    for side, features in ((12, 128), (24, 64), (48, 256)):
        assert params[f"calibration{side}"]["patterns"]["kernel"].shape == (features, 45)


def test_its_interface_is_that_of_the_protocol():
    model = network()
    assert isinstance(model, structs.Detector)
    for name in ("__call__", "loss", "detect", "metrics", "anchors", "matches"):
        ours, theirs = (
            [(p.name, p.kind, p.default) for p in inspect.signature(f).parameters.values()]
            for f in (getattr(type(model), name), getattr(structs.Detector, name))
        )
        assert ours == theirs, name


def test_sliding_the_12_net_is_running_it_on_every_window():
    net = Net12(width=0.5)
    image = jnp.asarray(RNG.normal(0, 1, (1, 29, 22, 3)), jnp.float32)
    variables = net.init(jax.random.key(1), image)
    logits = net.apply(variables, image)["logits"]
    assert logits.shape == (1, 5, 3, 2)
    windows = jnp.concatenate(
        [image[:, 4 * i : 4 * i + 12, 4 * j : 4 * j + 12] for i in range(5) for j in range(3)]
    )
    alone = net.apply(variables, windows)["logits"]
    np.testing.assert_allclose(alone.reshape(1, 5, 3, 2), logits, atol=1e-5)


@functools.cache
def answered(alone=False, canvas=SIDE, chunk=8):
    variables, image = drawn()
    model = network(alone=alone, chunk=chunk)
    padded = jnp.full((1, canvas, canvas, 3), 99.0).at[:, :SIDE, :SIDE].set(image)
    outputs = jax.jit(model.apply)(variables, padded, jnp.full((1, 2), float(SIDE)))
    return jax.tree.map(np.asarray, outputs)


def test_every_stage_leaves_fewer_windows_and_each_passed_its_threshold():
    outputs = answered()
    seen, passed = outputs["seen"], outputs["passed"]
    assert seen[0].valid.sum() == 7 * 7 + 2 * 2  # levels of 37 and 19 pixels
    for least, windows, through in zip(LEAST, seen, passed, strict=True):
        assert (through.scores[through.valid] >= least - 1e-6).all()
        count = int(((windows.scores >= least) & windows.valid).sum())
        assert 0 < through.valid.sum() <= count
        assert (np.diff(through.scores[0][through.valid[0]]) <= 1e-6).all()
    assert seen[1].valid.sum() <= passed[0].valid.sum()
    found = outputs["detections"]
    boxes = found.boxes[found.valid]
    assert len(boxes) and boxes.min() >= 0 and boxes.max() <= SIDE


@pytest.mark.slow
def test_the_last_network_alone_sees_all_windows():
    outputs = answered(alone=True)
    seen = outputs["seen"]
    assert seen[2].valid.sum() == seen[0].valid.sum() == seen[1].valid.sum()
    rows = np.flatnonzero(seen[0].valid[0])
    np.testing.assert_array_equal(seen[2].boxes[0][seen[2].valid[0]], seen[0].boxes[0][rows])
    assert (seen[2].scores[0][seen[2].valid[0]] > 0).all()


@pytest.mark.slow
def test_neither_the_canvas_nor_the_chunks_matter():
    ours, theirs = answered()["detections"], answered(canvas=64, chunk=5)["detections"]
    assert ours.valid.sum() == theirs.valid.sum() > 0
    np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-3)
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)


def test_negatives_are_mined_from_what_comes_through():
    faces = Targets(
        boxes=jnp.array([[10.0, 10, 30, 30], [0, 0, 0, 0]]), valid=jnp.array([True, False])
    )
    low = jnp.asarray(RNG.uniform(0, 36, (60, 2)), jnp.float32)
    windows = jnp.concatenate([low, low + 14], 1).at[:9].set(jnp.array([11.0, 9, 31, 29]))
    there = jnp.arange(60) < 40
    crops = DRAW(jax.random.key(0), faces, windows, there, 6, 12)
    overlap = np.asarray(box_ops.iou(crops.boxes, faces.boxes[:1]))
    labels, mined = np.asarray(crops.labels), np.asarray(crops.mined)
    assert (overlap[:6] > 0.4).all() and (labels[:6] == 1).all() and not mined[:6].any()
    assert (overlap[labels == 0] < 0.3).all() and (labels == 0).sum() >= 9
    assert ((labels == 1) & mined).sum() == 3  # a quarter at most
    came = {tuple(row) for row in np.asarray(windows[:40]).tolist()}
    assert all(tuple(row) in came for row in np.asarray(crops.boxes)[mined].tolist())
    back = cnn_cascade.calibrate_boxes(
        crops.disturbed, jnp.asarray(cnn_cascade.PATTERNS)[crops.patterns]
    )
    np.testing.assert_allclose(back, np.tile([[10, 10, 30, 30]], (6, 1)), atol=1e-4)


def test_images_without_faces_give_negatives_alone():
    nothing = Targets(boxes=jnp.zeros((2, 4)), valid=jnp.zeros(2, bool))
    windows = jnp.tile(jnp.array([[4.0, 4, 16, 16]]), (60, 1))
    crops = DRAW(jax.random.key(0), nothing, windows, jnp.ones(60, bool), 6, 12)
    assert (crops.labels[:6] == -1).all() and (crops.labels[6:] == 0).all()
    assert (crops.patterns == -1).all()
    none = DRAW(jax.random.key(0), nothing, windows, jnp.zeros(60, bool), 6, 12)
    assert (none.labels == -1).all()


@pytest.mark.slow
def test_a_stage_trains_its_networks_alone():
    variables, image = drawn()
    targets = Targets(
        boxes=jnp.array([[[8.0, 8, 30, 30]]]),
        labels=jnp.zeros((1, 1), jnp.int32),
        valid=jnp.ones((1, 1), bool),
    )

    def total(params, trained):
        model = network(trained=trained, train_faces=2, train_windows=4)
        keys = jax.random.split(jax.random.key(0), 1)
        sizes = jnp.full((1, 2), float(SIDE))
        outputs = model.apply({"params": params}, image, sizes, targets, train=True, keys=keys)
        terms = model.loss(outputs, targets, jnp.ones(1, bool))
        assert set(terms) == {f"net{trained}", f"calibration{trained}"}
        return sum(value / weight for value, weight in terms.values())

    gradient = jax.jit(jax.grad(total), static_argnums=1)(variables["params"], "24")
    moved = {name for name, part in gradient.items() if any(map(np.any, jax.tree.leaves(part)))}
    assert moved == {"net24", "calibration24"}


def test_settings_that_cannot_be():
    images, sizes = jnp.zeros((1, 40, 40, 3)), jnp.ones((1, 2))
    for fields, message in (
        ({"trained": "42"}, "trained='42' - did you mean"),
        ({"factor": 1.5}, r"factor=1\.5"),
        ({"normalized": (12,)}, r"normalized=\(12,\): some of \(24, 48\)"),
    ):
        with pytest.raises(UserError, match=message):
            jax.eval_shape(network(**fields).init, jax.random.key(0), images, sizes)
    with pytest.raises(UserError, match="needs keys"):
        model, targets = network(), Targets(boxes=jnp.ones((1, 1, 4)), valid=jnp.ones((1, 1), bool))
        jax.eval_shape(model.apply, drawn()[0], images, sizes, targets)


def scenes(count=4):
    """Draws bright squares with two dark bars on noise."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 120, (count, 64, 64, 3))
    boxes = np.zeros((count, 1, 4), np.float32)
    for i in range(count):
        x, y = rng.integers(4, 30, 2)
        side = int(rng.integers(20, 30))
        image[i, y : y + side, x : x + side] = (230, 180, 150)
        image[i, y + 6 : y + 10, x + 4 : x + side - 4] = 20
        boxes[i, 0] = x, y, x + side, y + side
    return Batch(
        image=jnp.asarray(image, jnp.uint8),
        valid=jnp.ones(count, bool),
        index=jnp.arange(count),
        targets=Targets(
            boxes=jnp.asarray(boxes),
            labels=jnp.zeros((count, 1), jnp.int32),
            valid=jnp.ones((count, 1), bool),
        ),
    )


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_four_images_are_learned_by_heart(dtype):
    """The gate, all networks at once; in half precision it takes the same weights as far."""
    layers = NO_NORM.replace(dtype=dtype)
    model = network(width=0.5, factor=0.709, max_windows=(64, 32), layers=layers)
    batch, task = scenes(), Detection(model, **RAW)
    variables = task.init(jax.random.key(0), batch)
    update = Optimizer(AdamW(), Cosine(2e-3), decay=0.0).build(variables["params"], 300, 300)
    state, step = create(variables, update), jax.jit(make_train_step(task, update))
    for _ in range(300):
        state, measured = step(state, batch, 0)
    assert measured["finite"]
    found = jax.jit(task.predict)(state.variables, batch)["detections"]
    best = box_ops.iou(found.boxes[:, 0], square_boxes(batch.targets.boxes[:, 0]))
    assert found.valid[:, 0].all() and (np.asarray(best) > 0.6).all()
