"""Semantic segmentation against loops over images and pixels."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vision_jax.config import UserError
from vision_jax.evaluation import Segmentation as Scores
from vision_jax.models.layers import Conv, ConvNorm, Layers
from vision_jax.ops import image as image_ops
from vision_jax.structs import Batch, Targets
from vision_jax.tasks import CAFFE_MEAN, CAFFE_STD, Segmentation, augment, median_frequency
from vision_jax.training import Constant, Optimizer, Parallel, Sgd, create, make_train_step

B, H, W, CLASSES = 8, 5, 7, 4
KEY = jax.random.key(1)
VOID = 255


class Network(nn.Module):
    """Two layers at full resolution and an auxiliary head."""

    layers: Layers = Layers()

    @nn.compact
    def __call__(self, images, *, train=False, keys=None):
        x = ConvNorm(4, 3, padding=1, layers=self.layers, name="conv1")(images, train=train)
        heads = [Conv(CLASSES, layers=self.layers, name=name)(x) for name in ("score", "aux")]
        return {"logits": heads[0], "aux_logits": (heads[1],)}


def make_batch(seed=0):
    """Image r has about r / B of its pixels void, the last one only fills the batch."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, (B, H, W)).astype(np.int32)
    share = np.arange(B)[:, None, None] / B
    labels = np.where(rng.uniform(size=labels.shape) < share, VOID, labels)
    batch = Batch(
        image=rng.integers(0, 256, (B, H, W, 3)).astype(np.uint8),
        valid=np.arange(B) < B - 1,
        index=np.arange(B, dtype=np.int32),
        targets=Targets(segmentation=labels),
    )
    return jax.tree.map(jnp.asarray, batch)


def with_labels(batch, labels):
    return batch.replace(targets=Targets(segmentation=labels))


@functools.cache
def variables():
    fresh = Segmentation(Network()).init(jax.random.key(0), make_batch())
    return jax.tree.map(lambda x: x * 3 + 0.1, fresh)


@functools.cache
def compiled(task, train=False):
    return jax.jit(functools.partial(task.loss, train=train))


def slow_loss(logits, batch, weights):
    """Sum of the cross-entropies, number of pixels that count, and of right ones."""
    logits, batch = jax.tree.map(np.asarray, (logits, batch))
    total, count, right = 0.0, 0, 0
    for b in np.flatnonzero(batch.valid):
        for y in range(H):
            for x in range(W):
                label = batch.targets.segmentation[b, y, x]
                if not 0 <= label < CLASSES:
                    continue
                row = logits[b, y, x].astype(np.float64)
                total += weights[label] * (np.log(np.exp(row).sum()) - row[label])
                count += 1
                right += row.argmax() == label
    return total, count, right


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"normalize_loss": "sum", "aux_weight": 0.4},
        {"class_weights": (0.5, 2.0, 0.0, 3.0)},
    ],
)
def test_the_loss_is_the_loops(options):
    task, batch = Segmentation(Network(), **options), make_batch()
    terms, aux = compiled(task)(variables(), batch, KEY)
    outputs = task.model.apply(variables(), task.normalize(batch.image))
    weights = task.class_weights or (1.0,) * CLASSES
    total, count, right = slow_loss(outputs["logits"], batch, weights)
    np.testing.assert_allclose(terms["pixel"][0], total, rtol=1e-5)
    wanted = count if task.normalize_loss == "pixels" else B - 1
    assert int(terms["pixel"][1]) == int(terms["aux1"][1]) == wanted
    total, _, _ = slow_loss(outputs["aux_logits"][0], batch, weights)
    np.testing.assert_allclose(terms["aux1"][0], task.aux_weight * total, rtol=1e-5)
    assert [int(x) for x in aux["metrics"]["pixel_accuracy"]] == [right, count]


def test_caffes_numbers_are_pixels_less_their_mean():
    pixels = jnp.full((1, 1, 1, 3), 200, jnp.uint8)
    found = image_ops.normalize(pixels, CAFFE_MEAN, CAFFE_STD)
    np.testing.assert_allclose(found[0, 0, 0], [77.32108, 83.33123, 95.99301], rtol=1e-5)


def test_void_pixels_change_nothing():
    """Not by their label, nor by what the network makes of them: loss, gradient, metric."""

    class Given(nn.Module):
        """The image is the logits."""

        @nn.compact
        def __call__(self, image, train=False, keys=None):
            gain = self.param("gain", nn.initializers.ones, (1, 1, 1, CLASSES))
            return {"logits": image * gain}

    task = Segmentation(Given(), mean=(0.0,) * CLASSES, std=(1 / 255,) * CLASSES)
    batch = make_batch()
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(B, H, W, CLASSES)).astype(np.float32)
    labels, rows = np.asarray(batch.targets.segmentation), np.asarray(batch.valid)[:, None, None]
    void = (labels == VOID) | ~rows
    assert 20 < void.sum() < void.size - 20
    other = np.where(void[..., None], rng.choice([np.nan, np.inf, 1e9], logits.shape), logits)
    relabelled = np.where(void, rng.choice([-1, CLASSES, 254], labels.shape), labels)
    relabelled = np.where(rows, relabelled, 0)

    @jax.jit
    def measure(batch):
        def mean(params):
            terms, aux = task.loss({"params": params}, batch, KEY, train=False)
            return terms["pixel"][0] / terms["pixel"][1], aux["metrics"]

        params = {"gain": jnp.full((1, 1, 1, CLASSES), 1.5)}
        value = jax.value_and_grad(mean, has_aux=True)(params)
        outputs = task.predict({"params": params}, batch)
        return value, Scores(CLASSES).update(outputs, batch)

    # The same pixels in the same order: equal bits.
    first = measure(batch.replace(image=logits))
    moved = with_labels(batch, relabelled.astype(np.int32))
    second = measure(moved.replace(image=np.where(void[..., None], 7.0, logits)))
    assert np.isfinite(first[0][0][0])
    jax.tree.map(np.testing.assert_array_equal, first, second)
    (third, _), _ = measure(batch.replace(image=other))[0]
    np.testing.assert_array_equal(first[0][0][0], third)


@functools.cache
def trained(devices, accumulate=1, **options):
    task = Segmentation(Network(), **options)
    parallel = Parallel("shard_map" if devices > 1 else "jit", jax.devices()[:devices])
    update = Optimizer(Sgd(), Constant(0.05)).build(variables()["params"], 10, 5)
    step = parallel.compile(make_train_step(task, update, parallel.axis, accumulate))
    state = parallel.put_state(create(variables(), update))
    reports = []
    for i in range(2):
        batch = parallel.put_batch(make_batch(seed=i))
        state, report = step(state, batch, np.uint32(7))
        reports.append(jax.device_get(report))
    return parallel.get_state(state), reports


@pytest.mark.parametrize("options", [{}, {"normalize_loss": "sum"}])
def test_one_and_eight_devices_with_unequal_void_shares(options):
    """A row per device; a mean of the devices' means would be another number."""
    one, eight = trained(1, **options), trained(8, **options)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(eight), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-6 * max(1, float(np.abs(a).max())))
    task, batch = Segmentation(Network(), **options), make_batch()
    shares = []
    for row in range(B - 1):
        rows = jax.tree.map(lambda x, row=row: x[row : row + 1], batch)
        terms, _ = compiled(task)(variables(), rows, KEY)
        shares.append(sum(float(s) / float(n) for s, n in terms.values()))
    terms, _ = compiled(task)(variables(), batch, KEY)
    whole = sum(float(s) / float(n) for s, n in terms.values())
    if not options:
        assert abs(np.mean(shares) - whole) > 1e-3
    else:  # the sum's mean over images is that of its rows
        np.testing.assert_allclose(np.mean(shares), whole, rtol=1e-5)


def test_a_row_that_fills_the_batch_changes_nothing():
    task, batch = Segmentation(Network()), make_batch()
    short = jax.tree.map(lambda x: x[: B - 1], batch)
    full, _ = compiled(task)(variables(), batch, KEY)
    rest, _ = compiled(task)(variables(), short, KEY)
    for name, (total, weight) in full.items():
        np.testing.assert_allclose(total, rest[name][0], rtol=1e-6)
        assert int(weight) == int(rest[name][1])


def test_nothing_but_void_trains_nothing():
    task, batch = Segmentation(Network()), make_batch()
    batch = with_labels(batch, np.full((B, H, W), VOID, np.int32))
    update = Optimizer(Sgd(), Constant(0.05)).build(variables()["params"], 10, 5)
    state, report = jax.jit(make_train_step(task, update))(create(variables(), update), batch, 0)
    assert report["loss"] == 0 and report["grad_norm"] == 0
    jax.tree.map(np.testing.assert_array_equal, state.params, variables()["params"])


def test_half_precision_sums_in_single():
    task = Segmentation(Network(Layers(dtype="bfloat16")))
    terms, _ = compiled(task)(variables(), make_batch(), KEY)
    exact, _ = compiled(Segmentation(Network()))(variables(), make_batch(), KEY)
    assert {x.dtype.name for x, _ in terms.values()} == {"float32"}
    for name, (total, _) in exact.items():
        np.testing.assert_allclose(terms[name][0], total, rtol=0.02)


def test_prediction_and_its_description():
    task, batch = Segmentation(Network()), make_batch()
    outputs = jax.tree.map(np.asarray, jax.jit(task.predict)(variables(), batch))
    assert outputs["segmentation"].dtype == np.int32
    np.testing.assert_array_equal(outputs["segmentation"], outputs["logits"].argmax(-1))
    answers = task.describe({"segmentation": np.array([[[0, 1, 1], [1, 3, 0]]])}, ("a", "b"))
    assert answers[0]["text"] == "b 50%, a 33%, 3 17%"
    assert answers[0]["classes"][1] == {"class": "a", "label": 0, "share": 0.333333}


def test_augmentation_is_seen_in_training_alone():
    plain = Segmentation(Network())
    loud = dataclasses.replace(plain, augment=(augment.ColorJitter(),))
    batch = make_batch()
    np.testing.assert_array_equal(plain.prepare(batch, KEY)[0], plain.normalize(batch.image))
    assert np.any(loud.prepare(batch, KEY)[0] != plain.prepare(batch, KEY)[0])
    totals = [compiled(task)(variables(), batch, KEY)[0]["pixel"][0] for task in (plain, loud)]
    assert totals[0] == totals[1]


def test_median_frequency():
    maps = [np.array([[0, 0, 0, 1]]), np.array([[0, VOID, 0, 2]]), np.full((1, 4), VOID)]
    # Frequencies 5/7, 1/4, 1/3 of the pixels of the images that have the class; class 3 is nowhere.
    found = median_frequency(maps, 4)
    np.testing.assert_allclose(found, [1 / 3 / (5 / 7), 4 / 3, 1, 0])
    assert median_frequency([], 2) == (0.0, 0.0)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"normalize_loss": "mean"}, "use 'pixels' or 'sum'"),
        ({"augment": (augment.Flip(),)}, "moves pixels but not labels"),
    ],
)
def test_a_mistake_is_one_line(options, message):
    with pytest.raises(UserError, match=message):
        Segmentation(Network(), **options)


def test_targets_that_do_not_fit_say_so():
    task, batch = Segmentation(Network()), make_batch()
    with pytest.raises(ValueError, match=r"targets\.segmentation"):
        task.loss(variables(), batch.replace(targets=Targets()), KEY, train=False)
    small = with_labels(batch, batch.targets.segmentation[:, 1:])
    with pytest.raises(ValueError, match="do not fit labels"):
        task.loss(variables(), small, KEY, train=False)
    with pytest.raises(ValueError, match="3 class_weights for 4 classes"):
        weighted = dataclasses.replace(task, class_weights=(1.0, 1.0, 1.0))
        weighted.loss(variables(), batch, KEY, train=False)
