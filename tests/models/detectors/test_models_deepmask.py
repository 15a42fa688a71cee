"""DeepMask and SharpMask: windows and masks against slow loops, learning, freezing, devices."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vision_jax import models
from vision_jax.config import UserError
from vision_jax.models import Layers
from vision_jax.models import layers as models_layers
from vision_jax.models.detectors import window_masks
from vision_jax.structs import Batch, Targets
from vision_jax.tasks import Detection
from vision_jax.training import Constant, Optimizer, Parallel, Sgd, create, make_train_step

SIZE, STRIDE = 32, 8
SCALES = (0.5, 1.0, 1.4)
SMALL = {
    "size": SIZE,
    "reduced": 8,
    "width": 32,
    "hidden": 16,
    "mask_size": 8,
    "output_size": 16,
    "dropout": 0.0,
    "cropped_size": 8,
    "max_detections": 12,
    "pre_nms_top_k": 20,
    "chunk": 7,
    "scales": SCALES,
}
PLAIN = {"mean": (0.5,) * 3, "std": (0.25,) * 3}


def network(sharp=False, norm="none", dtype="float32", **more):
    layers = Layers(norm=norm, dtype=dtype)
    backbone = models.ResNet((1, 1), "basic", 8, border="reflect", layers=layers)
    refinement = models.Refinement(16, 16, layers=layers) if sharp else None
    return models.DeepMask(backbone, refinement=refinement, layers=layers, **{**SMALL, **more})


@functools.cache
def initialised(sharp=False):
    model = network(sharp)
    return model, jax.jit(model.init)(
        jax.random.key(0), jnp.zeros((1, 48, 48, 3)), jnp.full((1, 2), 48.0)
    )


def test_windows_lie_where_their_maps_are_read():
    pyramid = window_masks.levels((40, 56), SCALES, SIZE, STRIDE)
    boxes, places = window_masks.windows(pyramid, SIZE, STRIDE), window_masks.places(pyramid)
    number = 0
    for i, level in enumerate(pyramid):
        assert level.resized == (round(40 * SCALES[i]), round(56 * SCALES[i]))
        assert level.padded[0] % STRIDE == 0 and level.padded[0] >= level.resized[0] + SIZE
        for row in range(level.grid[0]):
            for column in range(level.grid[1]):
                y, x = (STRIDE * k - SIZE // 2 for k in (row, column))
                expected = [x, y, x + SIZE, y + SIZE] / np.tile(level.scale[::-1], 2)
                np.testing.assert_allclose(boxes[number], expected, rtol=1e-6)
                assert [values[number] for values in places] == [i, row, column]
                number += 1
    assert number == len(boxes)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = window_masks.centred_inside(jnp.asarray(boxes), jnp.array([[40.0, 56.0], [9, 5]]))
    np.testing.assert_array_equal(inside[1], (middles < [5, 9]).all(1))
    assert (middles.max(0) >= [50, 34]).all()  # every part of the image is some window's middle


@pytest.mark.parametrize(("kernel", "border"), [(3, "reflect"), (7, "symmetric")])
def test_maps_continue_as_their_mirror_images(kernel, border):
    x, around = jax.random.normal(jax.random.key(1), (1, 9, 8, 2)), kernel // 2
    sides = ((0, 0), (around, around), (around, around), (0, 0))
    padded = models_layers.Conv(3, kernel, 2, around, border=border)
    variables = padded.init(jax.random.key(0), x)
    plain = models_layers.Conv(3, kernel, 2)
    expected = plain.apply(variables, jnp.asarray(np.pad(x, sides, border)))
    np.testing.assert_allclose(padded.apply(variables, x), expected, atol=1e-6)


def test_windows_are_cut_out_of_maps():
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(2, h, w, 3)).astype(np.float32) for h, w in ((20, 16), (12, 28))]
    where = window_masks.Places(
        *(jnp.array(v, jnp.int32) for v in ([0, 1, 1], [4, 0, 2], [1, 9, 5]))
    )
    image = jnp.array([1, 0, 1], jnp.int32)
    found = window_masks.cut(window_masks.joined(list(map(jnp.asarray, maps))), image, where, 2, 8)
    for i, (level, row, column) in enumerate(zip(*map(np.asarray, where), strict=True)):
        y, x = 2 * row, 2 * column
        np.testing.assert_array_equal(found[i], maps[level][image[i], y : y + 8, x : x + 8])


def test_boxes_lie_around_masks_and_masks_within_boxes():
    rng = np.random.default_rng(0)
    logits = np.full((4, 16, 16), -9.0, np.float32)
    logits[0, 4:10, 6:12] = 9
    logits[1, 2:5, :] = 9  # as wide as the window, and beyond the image
    logits[2] = np.where(rng.random((16, 16)) < 0.3, 2.0, -2.0)
    within = np.array(
        [[10, 20, 42, 52], [-16, 0, 16, 32], [0, 0, 16, 16], [0, 0, 8, 8]], np.float32
    )
    sizes = jnp.tile(jnp.array([[60.0, 60.0]]), (4, 1))
    boxes, masks, there = window_masks.boxed(
        jnp.asarray(logits), jnp.asarray(within), sizes, 0.5, 6
    )
    np.testing.assert_allclose(boxes[0], [22, 28, 34, 40])
    np.testing.assert_allclose(boxes[1], [0, 4, 16, 10])
    np.testing.assert_array_equal(there, [True, True, True, False])
    np.testing.assert_allclose(masks[0], 1, atol=2e-4)  # six cells over six cells: no more, no less
    assert not np.any(masks[3]) and not np.any(boxes[3])
    low = window_masks.boxed(jnp.asarray(logits - 1.4), jnp.asarray(within), sizes, 0.2, 6)
    shift = np.log(0.2 / 0.8) + 1.4  # the probability 0.2 becomes 0.5
    np.testing.assert_allclose(low[0], boxes)
    ratio = np.log(low[1][2] / (1 - low[1][2])) - np.log(masks[2] / (1 - masks[2]))
    np.testing.assert_allclose(ratio, -1.4 - np.log(0.2 / 0.8), atol=1e-4)
    assert abs(shift) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("sharp", [False, True])
def test_a_window_of_an_image_is_answered_as_that_window_alone(sharp):
    """Maps of the image within a window are those of the window with enough around it."""
    model, variables = initialised(sharp)
    model = model.clone(scales=(1.0,), mask_threshold=1e-6, pre_nms_top_k=49, max_detections=49)
    image = jax.random.normal(jax.random.key(1), (1, 48, 48, 3))
    outputs = jax.jit(model.apply)(variables, image, jnp.full((1, 2), 48.0))
    windows = np.asarray(outputs["anchors"])
    level = window_masks.levels((48, 48), (1.0,), SIZE, STRIDE)[0]
    whole = window_masks.level_images(image, level)
    targets = Targets(boxes=jnp.zeros((1, 1, 4)))
    side = whole.shape[1]
    middle = (side - SIZE) // 2  # the window that has as much around it on all sides
    assert middle % STRIDE == 0
    alone = jax.jit(model.apply)(variables, whole, jnp.zeros((1, 2)), targets)
    number = int(np.argmin(np.abs(windows[:, :2] - (middle - SIZE // 2)).sum(1)))
    logit = outputs["objectness_logits"][0, number]
    np.testing.assert_allclose(logit, alone["objectness_logits"][0, 0], rtol=1e-4, atol=1e-5)
    assert alone["mask_logits"].shape == (1, *((SIZE,) * 2 if sharp else (16, 16)))
    found = outputs["detections"]
    row = int(np.argmin(np.abs(np.asarray(found.scores[0]) - jax.nn.sigmoid(logit))))
    window = jnp.asarray(windows[number : number + 1])
    expected = window_masks.boxed(alone["mask_logits"], window, jnp.full((1, 2), 48.0), 1e-6, 8)
    np.testing.assert_allclose(found.boxes[0, row], expected[0][0], atol=1e-3)
    np.testing.assert_allclose(found.masks[0, row], expected[1][0], atol=1e-4)


def test_answers_are_in_order_and_within_the_content():
    model, variables = initialised()
    images = jax.random.normal(jax.random.key(1), (2, 40, 56, 3))
    sizes = jnp.array([[40.0, 56.0], [17.0, 23.0]])
    outputs = jax.jit(model.apply)(variables, images, sizes)
    found = model.detect(outputs, sizes)
    assert found.boxes.shape == (2, 12, 4) and found.masks.shape == (2, 12, 8, 8)
    for i, (height, width) in enumerate(np.asarray(sizes)):
        valid, scores = np.asarray(found.valid[i]), np.asarray(found.scores[i])
        boxes = np.asarray(found.boxes[i])[valid]
        assert valid.any() and (np.diff(scores) <= 0).all() and not scores[~valid].any()
        assert (boxes >= 0).all() and (boxes <= [width, height] * 2).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
    np.testing.assert_array_equal(outputs["proposals"], found.boxes)


@pytest.mark.parametrize(("threshold", "kept"), [(1.0, [0, 1, 3]), (0.5, [0, 3])])
def test_the_paper_suppresses_nothing(threshold, kept):
    boxes = jnp.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 9, 9], [20, 20, 30, 30.0]])
    scores, valid = jnp.array([0.9, 0.8, 0.7, 0.6]), jnp.array([True, True, False, True])
    masks = jnp.broadcast_to(jnp.arange(4.0)[:, None, None], (4, 8, 8))
    found = network(nms_threshold=threshold)._kept(boxes, scores, masks, valid)
    count = len(kept)
    np.testing.assert_array_equal(found.valid, np.arange(12) < count)
    np.testing.assert_array_equal(found.boxes[:count], boxes[np.array(kept)])
    np.testing.assert_array_equal(found.masks[:count], masks[np.array(kept)])
    np.testing.assert_array_equal(found.labels, np.where(np.arange(12) < count, 0, -1))
    assert not found.scores[count:].any()


def windows_by_heart(count=8):
    """Windows with an ellipse of some colour in the middle, or with noise alone."""
    rng, side = np.random.default_rng(0), SIZE + 2 * STRIDE
    image = rng.integers(60, 120, (count, side, side, 3)).astype(np.uint8)
    masks = np.zeros((count, 1, side, side), bool)
    y, x = np.mgrid[:side, :side] - side / 2 + 0.5
    valid = np.arange(count)[:, None] % 2 == 0
    for i in np.flatnonzero(valid[:, 0]):
        a, b = rng.uniform(5, 10, 2)
        masks[i, 0] = (x / a) ** 2 + (y / b) ** 2 < 1
        image[i][masks[i, 0]] = rng.integers(150, 255, 3)
    targets = Targets(
        boxes=jnp.tile(jnp.array([8.0, 8.0, 40.0, 40.0]), (count, 1, 1)),
        labels=jnp.where(valid, 0, -1),
        valid=jnp.asarray(valid),
        masks=jnp.asarray(masks),
    )
    rows = {"valid": jnp.ones(count, bool), "index": jnp.arange(count)}
    return Batch(image=jnp.asarray(image), targets=targets, **rows)


def learned(task, variables, batch, steps, trained=lambda params: params):
    rule = optax.adam(3e-3)
    state = rule.init(variables["params"])

    @jax.jit
    def step(params, state, key):
        def total(params):
            terms, aux = task.loss({**variables, "params": trained(params)}, batch, key)
            return sum(value / weight for value, weight in terms.values()), aux["metrics"]

        gradients, metrics = jax.grad(total, has_aux=True)(params)
        updates, state = rule.update(gradients, state)
        return optax.apply_updates(params, updates), state, metrics

    params = variables["params"]
    for i in range(steps):
        params, state, metrics = step(params, state, jax.random.key(i))
    return params, {name: float(total / count) for name, (total, count) in metrics.items()}


@pytest.mark.slow
def test_windows_are_learned_by_heart_and_then_sharpened():
    """The gate: masks and scores of eight windows; the refinement is better than what it began."""
    batch = windows_by_heart()
    coarse = network(mask_size=4, score_weight=1.0, mask_threshold=0.5)
    task = Detection(coarse, **PLAIN)
    variables = task.init(jax.random.key(0), batch)
    params, metrics = learned(task, variables, batch, 150)
    assert metrics["score_accuracy"] == 1.0 and metrics["mask_iou"] > 0.75
    sharp = network(True, mask_threshold=0.5, losses=("mask",))
    task = Detection(sharp, **PLAIN)
    fresh = task.init(jax.random.key(1), batch)["params"]["refinement"]
    frozen = {"params": {**params, "refinement": fresh}}

    def only_refined(now):
        return {**frozen["params"], "refinement": now["refinement"]}

    refined, better = learned(task, frozen, batch, 250, only_refined)
    assert better["mask_iou"] > max(0.93, metrics["mask_iou"] + 0.05)
    for name in params:
        jax.tree.map(np.testing.assert_array_equal, refined[name], params[name])


def test_losses_by_a_loop_and_rows_that_do_not_count():
    model, variables = initialised()
    batch = windows_by_heart(6)
    batch = dataclasses.replace(batch, valid=jnp.array([True, True, True, True, False, False]))
    task = Detection(model.clone(score_weight=0.5), **PLAIN)
    key = jax.random.key(0)
    terms, aux = jax.jit(lambda v, b: task.loss(v, b, key))(variables, batch)
    images = task.normalize(batch.image)
    outputs = jax.jit(model.apply)(variables, images, jnp.zeros((6, 2)), batch.targets)
    mask = score = 0.0
    for i in range(4):
        logit = float(outputs["objectness_logits"][i, 0])
        sign = 1 if i % 2 == 0 else -1
        score += 0.5 * np.log1p(np.exp(-sign * logit))
        if sign > 0:
            inner = np.asarray(batch.targets.masks[i, 0, 8:40, 8:40], float)
            wanted = inner.reshape(16, 2, 16, 2).mean((1, 3))
            found = np.asarray(outputs["mask_logits"][i], float)
            clear = (wanted == 0) | (wanted == 1)  # cells that are cut are the resizing's affair
            assert clear.mean() > 0.8
            signs = np.where(
                np.asarray(model._mask_targets(batch.targets, outputs["mask_logits"])[i]), 1, -1
            )
            np.testing.assert_array_equal(signs[wanted == 1], 1)
            mask += np.log1p(np.exp(-signs * found)).mean()
    np.testing.assert_allclose(terms["mask"][0], mask, rtol=1e-5)
    np.testing.assert_allclose(terms["score"][0], score, rtol=1e-5)
    assert terms["mask"][1] == terms["score"][1] == 4 and aux["metrics"]["mask_iou"][1] == 2
    only = Detection(model.clone(losses=("mask",)), **PLAIN)
    alone, _ = jax.eval_shape(lambda v: only.loss(v, batch, key), variables)
    assert set(alone) == {"mask"}


@pytest.mark.slow
def test_half_precision_is_near():
    model, variables = initialised(True)
    images, sizes = jax.random.normal(jax.random.key(1), (1, 40, 40, 3)), jnp.full((1, 2), 40.0)
    model = model.clone(scales=(1.0,))
    exact = jax.jit(model.apply)(variables, images, sizes)["objectness_logits"]
    half = network(True, dtype="bfloat16", scales=(1.0,))
    half = jax.jit(half.apply)(variables, images, sizes)
    assert half["objectness_logits"].dtype == jnp.float32
    assert half["detections"].masks.dtype == jnp.float32
    spread = np.abs(exact).max()
    np.testing.assert_allclose(half["objectness_logits"], exact, atol=0.05 * spread)


def test_what_is_refused():
    def init(model, side=48):
        targets = Targets(boxes=jnp.zeros((1, 1, 4)))
        images = jnp.zeros((1, side, side, 3))
        _, variables = initialised()
        return model.apply(variables, images, jnp.zeros((1, 2)), targets)

    for fields, message in (
        ({"scales": ()}, "scales above 0"),
        ({"size": 33}, "multiple of the stride 8"),
        ({"losses": ("masks",)}, "use some of mask, score"),
    ):
        with pytest.raises(UserError, match=message):
            init(network(**fields))
    with pytest.raises(UserError, match=r"see data\.MaskPatches"):
        init(network(), 50)
    with pytest.raises(ValueError, match=r"targets\.masks"):
        network().loss(
            {"mask_logits": jnp.zeros((1, 16, 16))},
            Targets(valid=jnp.ones((1, 1), bool)),
            jnp.ones(1, bool),
        )


@pytest.mark.slow
def test_one_and_eight_devices_take_the_same_step():
    batch, losses, moved = windows_by_heart(), [], []
    task = Detection(network(norm="sync"), **PLAIN)
    variables = jax.device_get(task.init(jax.random.key(0), batch))
    for devices in (1, 8):
        parallel = Parallel("shard_map", jax.devices()[:devices])
        update = Optimizer(Sgd(), Constant(0.1)).build(variables["params"], 10, 5)
        step = parallel.compile(make_train_step(task, update, parallel.axis))
        state = parallel.put_state(create(variables, update))
        for _ in range(2):
            state, metrics = step(state, parallel.put_batch(jax.device_get(batch)), np.uint32(0))
        losses.append(float(metrics["loss"]))
        moved.append(jax.device_get(parallel.get_state(state).params))
    np.testing.assert_allclose(*losses, rtol=1e-5)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4)
    jax.tree.map(close, *moved)
