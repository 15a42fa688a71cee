"""MTCNN's cascade: its pyramid, its canvas, its chunks, and its training on crops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax import models
from vision_jax.config import UserError
from vision_jax.models.detectors import mtcnn, mtcnn_training
from vision_jax.ops import boxes as box_ops
from vision_jax.ops import cascade
from vision_jax.structs import Batch, Targets
from vision_jax.tasks import Detection

RNG = np.random.default_rng(6)
SMALL = {"min_size": 16, "factor": 0.5, "max_per_level": 24, "max_refined": 20}
RAW = {"mean": (0.0,) * 3, "std": (1 / 255,) * 3}


def reference_scales(side, min_size, factor):
    """Repeats the ports' loop for one image."""
    scales, scale = [], 12 / min_size
    shortest = side * scale
    while shortest >= 12:
        scales.append(scale)
        scale *= factor
        shortest *= factor
    return scales


@pytest.mark.parametrize(("min_size", "factor"), [(20, 0.709), (40, 0.709), (12, 0.5)])
def test_the_pyramid_is_each_images_own(min_size, factor):
    levels = mtcnn.pyramid((90, 120), min_size, factor)
    for side in range(1, 91):
        own = [level.scale for level in levels if side >= level.least_side]
        assert own == reference_scales(side, min_size, factor)
    for level in levels:
        rows = [int(side * level.scale + 1) for side in range(91)]
        np.testing.assert_array_equal(level.rows, rows)
        assert len(level.columns) == 121


def cascade_of(variables, image, canvas, **fields):
    model = models.MTCNN(**{**SMALL, "score_thresholds": (0.01, 0.0, 0.0), **fields})
    height, width = image.shape[:2]
    padded = np.full((1, *canvas, 3), 99, np.float32)
    padded[0, :height, :width] = image
    sizes = jnp.array([[height, width]], jnp.float32)
    outputs = jax.jit(model.apply)(variables, jnp.asarray(padded), sizes)
    return jax.tree.map(np.asarray, outputs)


def drawn(model: models.MTCNN) -> dict:
    """Draws weights at random, and compiles nothing."""
    images, sizes = jnp.zeros((1, 40, 40, 3)), jnp.full((1, 2), 40.0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images, sizes)

    def draw(x):
        scale = np.sqrt(2 / np.prod(x.shape[:-1])) if len(x.shape) > 1 else 0.1
        return jnp.asarray(RNG.normal(0, scale, x.shape), jnp.float32)

    return jax.tree.map(draw, shapes)


@pytest.mark.slow
def test_neither_the_canvas_nor_the_chunks_matter():
    """Compared as sets, and with room for all: rounding may turn the order of equal scores."""
    variables = drawn(models.MTCNN(**SMALL))
    image = RNG.integers(0, 256, (41, 38, 3)).astype(np.float32)
    room = {"max_per_level": 200, "max_refined": 260, "max_detections": 130}
    alone = cascade_of(variables, image, (41, 38), **room)
    assert alone["refined"].valid.sum() > 2 and alone["detections"].valid.sum() > 0
    larger = cascade_of(variables, image, (60, 47), chunk=6, **room)
    for name in ("proposals", "refined", "detections"):
        ours, theirs = (in_order(found[name]) for found in (alone, larger))
        np.testing.assert_allclose(ours, theirs, atol=1e-2, err_msg=name)


def in_order(found) -> np.ndarray:
    """Returns the valid boxes with their scores, sorted by place."""
    rows = np.concatenate([found.boxes[0], found.scores[0, :, None]], 1)[found.valid[0]]
    return rows[np.lexsort(np.round(rows[:, :4]).T)]


def test_an_image_without_a_level_and_settings_that_cannot_be():
    with pytest.raises(UserError, match="10×30 pixels is smaller than min_size=20"):
        mtcnn.pyramid((10, 30), 20, 0.709)
    model = models.MTCNN(factor=1.0)
    with pytest.raises(UserError, match=r"factor=1\.0"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 40, 40, 3)), jnp.ones((1, 2)))


def targets(images, keypoints=True):
    low = RNG.uniform(4, 20, (images, 2, 2))
    boxes = np.concatenate([low, low + RNG.uniform(14, 24, (images, 2, 2))], -1)
    points = low[:, :, None] + RNG.uniform(2, 12, (images, 2, 5, 2))
    points = np.concatenate([points, np.full((images, 2, 5, 1), 2.0)], -1)
    points[0, 0, 0, 2] = 0  # not labelled
    return Targets(
        boxes=jnp.asarray(boxes, jnp.float32),
        labels=jnp.zeros((images, 2), jnp.int32),
        valid=jnp.array([[True, True], [True, False], [False, False]])[:images],
        keypoints=jnp.asarray(points, jnp.float32) if keypoints else None,
    )


def test_crops_are_labelled_by_their_overlap():
    truth, size = targets(3), jnp.array([48.0, 56.0])
    seen, draw = set(), jax.jit(mtcnn_training.draw_crops, static_argnums=3)
    for row in range(3):
        own = jax.tree.map(lambda x, row=row: x[row], truth)
        crops = draw(jax.random.key(row), own, size, 40)
        overlap = np.asarray(box_ops.pairwise(box_ops.iou, crops.squares, own.boxes))
        overlap = np.where(own.valid[None], overlap, 0)
        best = overlap.max(1)
        labels, boxed = np.asarray(crops.labels), np.asarray(crops.boxed)
        inside = labels >= 0
        assert (best[labels == 1] > 0.65).all() and (best[labels == 0] < 0.3).all()
        assert (best[boxed] > 0.4).all() and inside.sum() > 10
        seen |= set(labels.tolist())
        back = cascade.refine_boxes(crops.squares, crops.deltas)
        nearest = np.asarray(own.boxes)[overlap.argmax(1)]
        np.testing.assert_allclose(np.asarray(back)[boxed], nearest[boxed], atol=1e-3)
        assert not crops.marked[overlap.argmax(1) == 0].any() if row == 0 else True
    assert seen == {-1, 0, 1}


def test_the_loss_has_every_term_and_leaves_out_padding():
    model = models.MTCNN(**SMALL, train_crops=16)
    images = jnp.asarray(RNG.integers(0, 256, (3, 48, 48, 3)), jnp.float32)
    sizes, keys = jnp.full((3, 2), 48.0), jax.random.split(jax.random.key(0), 3)
    init = jax.eval_shape(model.init, jax.random.key(0), images[:1], sizes[:1])

    def terms(variables, valid):
        outputs = model.apply(variables, images, sizes, targets(3), keys=keys)
        return model.loss(outputs, targets(3), valid)

    names = {f"{net}_{term}" for net in "pr" for term in ("face", "box")}
    names |= {f"o_{term}" for term in ("face", "box", "landmark")}
    assert set(jax.eval_shape(terms, init, jnp.ones(3, bool))) == names
    with pytest.raises(UserError, match="needs keys"):
        jax.eval_shape(model.apply, init, images, sizes, targets(3))


def test_images_that_only_fill_a_batch_cost_nothing():
    labels = np.array([[1, 1, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1]] * 2)
    crops = mtcnn_training.Crops(
        squares=jnp.zeros((2, 12, 4)),
        labels=jnp.asarray(labels),
        boxed=jnp.asarray(labels != 0),
        deltas=jnp.zeros((2, 12, 4)),
        marked=jnp.asarray(labels == 1),
        landmarks=jnp.zeros((2, 12, 10)),
    )
    answers = {"logits": jnp.zeros((2, 12, 2)), "deltas": jnp.ones((2, 12, 4))}
    answers["landmarks"] = jnp.ones((2, 12, 10))
    outputs = {"crops": crops, "p_net": answers, "r_net": answers, "o_net": answers}
    model = models.MTCNN(**SMALL)
    both, one, none = (
        model.loss(outputs, Targets(), jnp.array(valid))
        for valid in ((True, True), (True, False), (False, False))
    )
    assert all(total == count == 0 for total, count in none.values())
    assert one["p_face"][1] == 6 and one["p_box"][1] == 5 and one["o_landmark"][1] == 2
    np.testing.assert_allclose(one["p_face"][0], 6 * np.log(2), rtol=1e-5)
    np.testing.assert_allclose(one["p_box"][0], 0.5 * 5 * 0.5 * 4, rtol=1e-5)
    np.testing.assert_allclose(one["o_landmark"][0], 2 * 0.5 * 10, rtol=1e-5)
    for name in ("p_box", "o_box", "o_landmark"):
        np.testing.assert_allclose(both[name], 2 * np.array(one[name]), rtol=1e-5)


@pytest.mark.slow
def test_it_learns_four_images_by_heart():
    """The gate: bright squares on noise, found again with the networks that saw them."""
    import optax

    count, rng = 4, np.random.default_rng(0)
    image = rng.integers(0, 120, (count, 64, 64, 3))
    boxes = np.zeros((count, 1, 4), np.float32)
    for i in range(count):
        x, y = rng.integers(4, 30, 2)
        side = int(rng.integers(22, 30))
        image[i, y : y + side, x : x + side] = (230, 180, 150)
        image[i, y + 6 : y + 9, x + 5 : x + side - 5] = 20
        boxes[i, 0] = x, y, x + side - 1, y + side - 1
    batch = Batch(
        image=jnp.asarray(image, jnp.uint8),
        valid=jnp.ones(count, bool),
        index=jnp.arange(count),
        targets=Targets(
            boxes=jnp.asarray(boxes),
            labels=jnp.zeros((count, 1), jnp.int32),
            valid=jnp.ones((count, 1), bool),
        ),
    )
    task = Detection(models.MTCNN(**SMALL, train_crops=32, max_detections=10), **RAW)
    variables = task.init(jax.random.key(0), batch)
    rule = optax.adam(2e-3)
    state = rule.init(variables["params"])

    @jax.jit
    def step(params, state, key):
        def total(params):
            terms, _ = task.loss({"params": params}, batch, key)
            return sum(value / jnp.maximum(weight, 1) for value, weight in terms.values())

        updates, state = rule.update(jax.grad(total)(params), state)
        return optax.apply_updates(params, updates), state

    params = variables["params"]
    for i in range(400):
        params, state = step(params, state, jax.random.key(i))
    found = jax.jit(task.predict)({"params": params}, batch)["detections"]
    best = box_ops.iou(found.boxes[:, 0], batch.targets.boxes[:, 0])
    assert found.valid[:, 0].all() and (np.asarray(best) > 0.6).all()
