"""Heads that run on an image's first regions alone answer the same, whatever maps the step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from tests.models.detectors.tiny_detectors import DETECTORS, SIDE
from vision_jax import models
from vision_jax.models.detectors.roi_heads import run_on_positives
from vision_jax.models.layers import Conv
from vision_jax.structs import Targets
from vision_jax.training import Parallel

COUNTS = (1, 2, 4)
# Regions' objects: the last positive one is no. 0 (none), 1, 2, 3 and 4.
MATCHED_IDXS = [[-1, -1, -2, -2], [3, -1, -2, -2], [0, 1, -1, -1], [1, -1, 0, -2], [0, 0, 1, 2]]


class Head(nn.Module):
    @nn.compact
    def __call__(self, x):
        y = nn.tanh(Conv(3, 3, padding=1)(x.reshape(-1, *x.shape[2:])))
        return Conv(2, 1)(y).reshape(*x.shape[:2], *y.shape[1:3], 2)


class OnPositives(nn.Module):
    counts: tuple[int, ...] = COUNTS

    @nn.compact
    def __call__(self, x, matched_idxs):
        head = Head(name="head")
        rois = jnp.zeros((*matched_idxs.shape, 4))

        def run(head, x, rois):
            return head(x[:, : rois.shape[1]])

        return run_on_positives(head, self.counts, x, rois, matched_idxs, run)


def loss(counts):
    def run(params, x, matched_idxs):
        logits = OnPositives(counts).apply(params, x, matched_idxs)
        assert logits.shape[:2] == matched_idxs.shape
        positive = (matched_idxs >= 0)[..., None, None, None]
        return jnp.sum(jnp.where(positive, logits, 0) ** 2)

    return run


def drawn(rows):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(rows, 4, 5, 5, 2)), jnp.float32)
    params = OnPositives().init(jax.random.key(0), x, jnp.zeros((rows, 4), jnp.int32))
    return params, x


def assert_close(ours, expected):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def slope(counts):
    return jax.value_and_grad(loss(counts), (0, 1))


@pytest.mark.parametrize("matched_idxs", MATCHED_IDXS)
def test_a_prefix_is_as_good_as_all(matched_idxs):
    params, x = drawn(2)
    matched_idxs = jnp.asarray([matched_idxs, MATCHED_IDXS[0]], jnp.int32)
    ours = jax.jit(slope(COUNTS))(params, x, matched_idxs)
    assert_close(ours, jax.jit(slope(()))(params, x, matched_idxs))
    place = np.flatnonzero(np.asarray(matched_idxs[0]) >= 0).max(initial=-1)
    served = min(count for count in COUNTS if count > place)
    logits = OnPositives().apply(params, x, matched_idxs)
    assert (logits[:, :served] != 0).all() and (logits[:, served:] == 0).all()


def test_vmapped_runs_take_the_same_branch():
    params, x = drawn(2)
    runs = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf + 0.1]), params)
    matched_idxs = [[MATCHED_IDXS[0]] * 2, [MATCHED_IDXS[1], MATCHED_IDXS[2]]]
    matched_idxs = jnp.asarray(matched_idxs, jnp.int32)
    several = jax.jit(jax.vmap(slope(COUNTS), (0, None, 0)))
    ours = several(runs, x, matched_idxs)
    assert_close(ours, jax.vmap(slope(()), (0, None, 0))(runs, x, matched_idxs))
    assert "stablehlo.case" in several.lower(runs, x, matched_idxs).as_text()


@pytest.mark.parametrize("how", ["shard_map", "pmap", "jit"])
def test_devices_may_take_different_branches(how):
    params, x = drawn(4)
    matched_idxs = jnp.asarray([MATCHED_IDXS[i] for i in (0, 1, 2, 4)], jnp.int32)
    parallel = Parallel(how, jax.devices()[:4])

    def step(params, batch, seed):
        value, slopes = jax.value_and_grad(loss(COUNTS))(params, *batch)
        if parallel.axis is not None:
            value, slopes = lax.psum((value, slopes), parallel.axis)
        return params, (value, slopes)

    batch = parallel.put_batch((np.asarray(x), np.asarray(matched_idxs)))
    _, ours = parallel.compile(step)(parallel.put_state(params), batch, np.uint32(0))
    expected = jax.value_and_grad(loss(()))(params, x, matched_idxs)
    assert_close(parallel.get_state(ours), expected)


def inputs():
    """Returns images, sizes, objects and keys."""
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(2, SIDE, SIDE, 3)), jnp.float32)
    sizes, keys = jnp.full((2, 2), float(SIDE)), jax.random.split(jax.random.key(1), 2)
    low = rng.uniform(0, 30, (2, 3, 2))
    boxes = np.concatenate([low, low + rng.uniform(12, 30, (2, 3, 2))], -1)
    points = np.broadcast_to(
        np.concatenate([boxes[..., :2] + 5, boxes[..., :1] * 0 + 2], -1)[:, :, None], (2, 3, 5, 3)
    )
    targets = Targets(
        boxes=jnp.asarray(boxes, jnp.float32),
        labels=jnp.asarray(rng.integers(0, 8, (2, 3)), jnp.int32),
        valid=jnp.asarray([[True, True, False], [True, False, False]]),
        masks=jnp.asarray(rng.random((2, 3, SIDE, SIDE)) < 0.5),
        keypoints=jnp.asarray(points, jnp.float32),
    )
    return images, sizes, targets, keys


NAMES = pytest.mark.parametrize("name", ["mask_rcnn", "mask_rcnn_c4", "keypoint_rcnn"])


@NAMES
def test_detectors_answer_for_every_region(name):
    model = DETECTORS[name]()

    def run(key):
        images, sizes, targets, keys = inputs()
        return model.init_with_output(key, images, sizes, targets, keys=keys)[0]

    outputs = jax.eval_shape(run, jax.random.key(0))
    kind = name.split("_")[0]
    rois, _ = jax.eval_shape(model.head.positives, outputs)
    assert outputs[f"roi_{kind}_logits"].shape[:2] == rois.shape[:2] == (2, 8)


@pytest.mark.slow
@NAMES
def test_detectors_losses_and_gradients_are_the_same(name):
    model = DETECTORS[name]()
    images, sizes, targets, keys = inputs()
    variables = models.init(model, jax.random.key(0), images, sizes)

    def slope(model):
        def loss(params):
            trees = {**variables, "params": params}
            outputs = model.apply(trees, images, sizes, targets, keys=keys)
            terms = model.loss(outputs, targets, jnp.ones(2, bool))
            return sum(total for total, _ in terms.values()), outputs["roi_matched_idxs"]

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])

    ours, expected = slope(model), slope(dataclasses.replace(model, positives_first=()))
    positives = (np.asarray(ours[0][1]) >= 0).sum(1)
    assert 0 < positives.max() <= max(model.positives_first)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * np.abs(b).max() + 1e-6)
