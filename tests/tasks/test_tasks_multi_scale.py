"""Whole images at several scales and in windows, answered at the labels' size."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vision_jax import data, tasks
from vision_jax.config import UserError
from vision_jax.evaluation import Segmentation
from vision_jax.ops.resize import resize
from vision_jax.structs import Batch, Targets

CLASSES = 3


class PixelNet(nn.Module):
    """Logits of each pixel from its colour alone; remembers nothing else."""

    @nn.compact
    def __call__(self, image, train=False, keys=None):
        return {"logits": nn.Dense(CLASSES)(image)}


class PlaceNet(nn.Module):
    """Logits that depend on where in the network's input a pixel is."""

    @nn.compact
    def __call__(self, image, train=False, keys=None):
        rows = jnp.cumsum(jnp.ones_like(image), 1) * 0.1
        return {"logits": nn.Dense(CLASSES)(image + rows + jnp.cumsum(image, 2) * 0.01)}


def batch_of(size=(12, 10), count=2, content=None, scale=1.0, labels=None, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (count, *size, 3)).astype(np.uint8)
    content = size if content is None else content
    shape = size if labels is None else labels
    truth = rng.integers(0, CLASSES, (count, *shape)).astype(np.int32)
    return Batch(
        image=jnp.asarray(image),
        valid=jnp.ones(count, bool),
        index=jnp.arange(count, dtype=jnp.int32),
        targets=Targets(segmentation=jnp.asarray(truth)),
        size=jnp.asarray([content] * count, jnp.float32),
        scale=jnp.full((count, 2), scale, jnp.float32),
    )


def whole(task, **fields):
    return dataclasses.replace(task, test=tasks.MultiScale(**fields))


def ready(model):
    task = tasks.Segmentation(model)
    return task, task.init(jax.random.key(0), batch_of())


def probabilities(task, variables, image):
    logits = task.model.apply(variables, task.normalize(image))["logits"]
    return np.asarray(jax.nn.softmax(logits))


def test_one_scale_is_the_tasks_own_answer():
    task, variables = ready(PlaceNet())
    batch = batch_of()
    got = whole(task).predict(variables, batch)
    wanted = task.predict(variables, batch)
    np.testing.assert_array_equal(got["segmentation"], wanted["segmentation"])
    logs = jax.nn.log_softmax(wanted["logits"])
    np.testing.assert_allclose(got["logits"], logs, rtol=0, atol=1e-5)


def test_scales_and_mirror_images_are_averaged():
    task, variables = ready(PlaceNet())
    batch = batch_of()
    test = whole(task, scales=(0.5, 1.0, 1.5), flip=True)
    got = jax.nn.softmax(jax.jit(test.predict)(variables, batch)["logits"])
    total = 0
    normal = task.normalize(batch.image)
    for sides in ((6, 5), (12, 10), (18, 15)):
        image = resize(normal, sides)
        for turn in (1, -1):
            logits = task.model.apply(variables, image[:, :, ::turn])["logits"][:, :, ::turn]
            total += resize(jax.nn.softmax(logits), (12, 10))
    np.testing.assert_allclose(got, total / 6, rtol=0, atol=1e-5)


def test_windows_are_averaged_and_small_images_filled_up():
    task, variables = ready(PixelNet())
    batch = batch_of()
    once = whole(task).predict(variables, batch)["logits"]
    for window, stride in ((8, 5), (12, 0), (16, 0)):
        test = whole(task, window=window, stride=stride)
        got = test.predict(variables, batch)["logits"]
        np.testing.assert_allclose(got, once, rtol=0, atol=1e-5)
    task, variables = ready(PlaceNet())
    got = whole(task, window=8, stride=4).predict(variables, batch)["logits"]
    first = probabilities(task, variables, batch.image[:, :8, :8])
    np.testing.assert_allclose(jax.nn.softmax(got)[:, :4, 0], first[:, :4, 0], rtol=0, atol=1e-5)
    assert not np.allclose(got, whole(task).predict(variables, batch)["logits"])


def test_answers_come_at_the_originals_size():
    # The network sees 6×4 pixels of a 12×10 array; the original has 9×6, the labels 11×13.
    task, variables = ready(PlaceNet())
    batch = batch_of(content=(9, 6), scale=2 / 3, labels=(11, 13))
    got = whole(task, original=True).predict(variables, batch)
    assert got["logits"].shape == (2, 11, 13, CLASSES)
    share = probabilities(task, variables, batch.image)[:, :6, :4]
    wanted = resize(jnp.asarray(share), (9, 6))
    found = jax.nn.softmax(got["logits"])[:, :9, :6]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    # The metric takes them, and padding of the network's input says nothing.
    counts = Segmentation(CLASSES).update(got, batch)
    assert counts.sum() == 2 * 11 * 13
    other = batch.replace(image=batch.image.at[:, 6:].set(9).at[:, :, 4:].set(7))
    task, variables = ready(PixelNet())
    test = whole(task, scales=(1.0, 1.5), original=True)
    a, b = (test.predict(variables, x)["logits"] for x in (batch, other))
    np.testing.assert_array_equal(a, b)


def test_rows_that_only_fill_the_batch_are_finite():
    task, variables = ready(PlaceNet())
    batch = batch_of(labels=(9, 9))
    batch = batch.replace(size=batch.size * 0, scale=batch.scale * 0)
    test = whole(task, scales=(0.5, 1.0), original=True)
    assert np.isfinite(test.predict(variables, batch)["logits"]).all()


def test_mistakes_are_one_line():
    for fields in ({"scales": ()}, {"scales": (1.0, 0.0)}):
        with pytest.raises(UserError, match="factors above 0"):
            tasks.MultiScale(**fields)
    with pytest.raises(UserError, match="does not fit window=8"):
        tasks.MultiScale(window=8, stride=9)


def test_the_original_labels_reach_the_batch():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (30, 20, 3)).astype(np.uint8)
    labels = rng.integers(0, 3, (30, 20)).astype(np.uint8)
    example = {"image": image, "segmentation": labels, "scale": np.ones(2, np.float32)}
    keep = data.OriginalLabels(
        (data.ResizeShortestEdge(short=(10,)), data.Pad(height=16, width=16)), height=32, width=24
    )
    got = keep(example, rng)
    assert got["image"].shape == (16, 16, 3)
    np.testing.assert_array_equal(got["scale"], [0.5, 0.5])
    np.testing.assert_array_equal(got["segmentation"][:30, :20], labels)
    assert (got["segmentation"][30:] == 255).all() and (got["segmentation"][:, 20:] == 255).all()
    with pytest.raises(ValueError, match="30×20 exceeds 24×24"):
        data.OriginalLabels((), height=24, width=24)(example, rng)
    alone = keep({"image": image, "scale": np.ones(2, np.float32)}, rng)
    assert "segmentation" not in alone
