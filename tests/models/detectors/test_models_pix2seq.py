"""Pix2Seq's parts: writing with a cache and without, sequences of objects, answers, devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from tests.models.detectors import tiny_detectors
from tests.models.detectors.tiny_detectors import CLASSES, pix2seq
from vision_jax import models
from vision_jax.ops.pix2seq import END, NOISE, PADDING
from vision_jax.structs import Targets

SIZES = jnp.array([[64.0, 64.0], [40.0, 24.0]])
KEYS = jax.random.split(jax.random.key(5), 2)
BOXES = np.float32([[8, 8, 30, 40], [2, 4, 12, 10], [30, 30, 62, 63], [0, 0, 0, 0], [0, 0, 0, 0]])


def truth(count=2):
    """Targets of three objects in five slots, the same for all images."""
    return Targets(
        boxes=jnp.tile(BOXES, (count, 1, 1)),
        labels=jnp.tile(jnp.array([3, 1, 0, -1, -1]), (count, 1)),
        valid=jnp.tile(jnp.arange(5) < 3, (count, 1)),
    )


@pytest.fixture(scope="module")
def started():
    model = pix2seq()
    images = jnp.asarray(np.random.default_rng(0).normal(0, 1, (2, 64, 64, 3)), jnp.float32)
    return model, tiny_detectors.drawn_variables(model), images


@functools.cache
def compiled(model):
    return jax.jit(model.apply)


def given(model, variables, images):
    """Returns the outputs for given objects."""
    return compiled(model)(variables, images, SIZES, truth(), keys=KEYS)


@functools.cache
def sequencer(model):
    variables = tiny_detectors.drawn_variables(pix2seq())
    return jax.jit(functools.partial(model.apply, variables, method="sequences"))


def sequences(model, keys=KEYS):
    return sequencer(model)(truth(), jnp.array([64.0, 64.0]), keys)


def test_a_cache_changes_nothing(started):
    """Each token is the likeliest after those before it, as if all were read again for it."""
    model, variables, images = started

    def run(variables, images):
        outputs = model.apply(variables, images, SIZES)
        _, memory = model.apply(variables, images, SIZES, method="encode")
        start = jnp.full((2, 1), model.layout.task)
        before = jnp.concatenate([start, outputs["tokens"][:, :-1]], 1)
        return outputs, model.apply(variables, before, memory, method="read")

    outputs, logits = jax.jit(run)(variables, images)
    tokens = outputs["tokens"]
    assert tokens.shape == (2, 20) and outputs["class_logits"].shape == (2, 4, 160)
    np.testing.assert_array_equal(jnp.argmax(logits, -1), tokens)
    np.testing.assert_allclose(logits[:, 4::5], outputs["class_logits"], atol=1e-3)


def test_draws_are_the_images_own(started):
    model, variables, images = started
    run = compiled(model.clone(top_k=0, top_p=0.999))
    together = run(variables, images, SIZES)["tokens"]
    swapped = run(variables, images[::-1], SIZES[::-1])["tokens"]
    np.testing.assert_array_equal(together, swapped[::-1])


def test_a_sequence_in_order_of_area(started):
    got = sequences(started[0])
    bins = [128 + np.round(BOXES[i, [1, 0, 3, 2]] / 64 * 31).astype(int) for i in (2, 0, 1)]
    expected = np.concatenate([[*b, 101 + label] for b, label in zip(bins, (0, 3, 1), strict=True)])
    for row in range(2):
        assert got.targets[row].tolist() == [*expected.tolist(), *[END] * 5]
        assert got.inputs[row].tolist() == [10, *expected.tolist(), *[END] * 4]
    np.testing.assert_allclose(got.weights[0], [1] * 15 + [0.1] * 5)
    with pytest.raises(ValueError, match="a sequence of objects in training needs keys"):
        sequences(started[0], keys=None)


def test_a_sequence_of_more_objects_than_it_holds(started):
    got = sequences(started[0].clone(max_detections=2))
    assert got.targets[0].tolist()[4::5] == [101, 104]


def test_made_up_objects_fill_a_sequence(started):
    got = sequences(started[0].clone(noise_objects=True, order="random"))
    classes, seen = (np.asarray(x)[:, k::5] for x, k in ((got.targets, 4), (got.inputs, 0)))
    assert (classes == 30).sum(1).tolist() == [1, 1] and (classes[:, 3] == 30).all()
    assert sorted(classes[0, :3].tolist()) == [101, 102, 104]
    assert (classes[:, :3] != seen[:, 1:]).any()  # read is another class than is asked for
    weights = np.asarray(got.weights).reshape(2, 4, 5)
    assert (weights[:, :3] == 1).all() and (weights[:, 3] == [0, 0, 0, 0, 1]).all()


@pytest.mark.slow
def test_eight_devices_give_one_devices_sequences_and_loss(started):
    """Sequences follow the example's key, and sums and weights add up over devices."""
    model = started[0].clone(noise_objects=True, order="random")
    keys, valid = jax.random.split(jax.random.key(1), 8), jnp.arange(8) < 7
    logits = jnp.asarray(np.random.default_rng(3).normal(0, 1, (8, 20, 160)), jnp.float32)

    def made(targets, keys, logits, valid):
        of = model.apply(started[1], targets, jnp.array([64.0, 64.0]), keys, method="sequences")
        told = {"token_logits": logits, "token_targets": of.targets, "token_weights": of.weights}
        return of, model.loss(told, targets, valid)["token"]

    def spread(*inputs):
        of, sums = made(*inputs)
        return of, jax.lax.psum(sums, "data")

    each = PartitionSpec("data")
    over = jax.shard_map(
        spread,
        mesh=Mesh(jax.devices(), ("data",)),
        in_specs=each,
        out_specs=(each, PartitionSpec()),
        check_vma=False,
    )
    inputs = truth(8), keys, logits, valid
    (of, sums), (wanted, total) = jax.jit(over)(*inputs), jax.jit(made)(*inputs)
    jax.tree.map(np.testing.assert_array_equal, of, wanted)
    np.testing.assert_allclose(sums, total, rtol=1e-6)


def test_loss_and_metrics_of_given_objects(started):
    model, variables, images = started
    outputs = given(model, variables, images)
    total, weight = model.loss(outputs, truth(), jnp.array([True, False]))["token"]
    assert float(weight) == pytest.approx(15.5)
    log = jax.nn.log_softmax(outputs["token_logits"][0])
    picked = log[jnp.arange(20), outputs["token_targets"][0]]
    np.testing.assert_allclose(total, -(picked * outputs["token_weights"][0]).sum(), rtol=1e-5)
    right, count = model.metrics(outputs, truth(), jnp.ones(2, bool))["top1"]
    assert float(count) == 40 and 0 <= float(right) <= 40


def test_detections_are_read_from_tokens(started):
    model = started[0]
    tokens = sequences(model).targets
    logits = 30.0 * jax.nn.one_hot(tokens[:, 4::5], 160)
    outputs = {"tokens": tokens, "class_logits": logits, "canvas_sizes": jnp.full((2, 2), 64.0)}
    detect = jax.jit(model.detect)
    found = detect(outputs, jnp.full((2, 2), 64.0))
    assert found.valid.sum(1).tolist() == [3, 3] and (found.scores[:, :3] > 0.99).all()
    for box, label in zip(found.boxes[0, :3], found.labels[0, :3].tolist(), strict=True):
        np.testing.assert_allclose(box, BOXES[{3: 0, 1: 1, 0: 2}[label]], atol=64 / 62 + 1e-3)
    cut = detect(outputs, SIZES)
    assert float(cut.boxes[1, :, 2].max()) <= 24 and float(cut.boxes[1, :, 3].max()) <= 40


def test_what_is_written_is_told(started):
    outputs = given(*started)
    written = np.asarray(outputs["written"])
    assert written.shape == (2, 4, 5) and written[..., :4].max() < 32
    assert set(np.unique(written[..., 4])) <= {PADDING, NOISE, *range(CLASSES)}


def test_half_precision_is_near(started):
    model, variables, images = started
    half = models.Layers(norm="none", dtype="bfloat16", eps=1e-6)
    settings = models.TransformerSettings(
        features=32,
        heads=4,
        hidden=64,
        dropout=0.0,
        attention_dropout=0.0,
        norm_first=True,
        layers=half,
    )
    encoder, decoder = models.Encoder(1, settings), models.Decoder(2, settings)
    narrow = model.clone(encoder=encoder, decoder=decoder, layers=half)
    wide, got = (given(m, variables, images)["token_logits"] for m in (model, narrow))
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, wide, atol=0.05 * float(jnp.abs(wide).max()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_detections": 5}, "25 tokens do not fit into max_length=20"),
        ({"first_coordinate": 105}, "their tokens reach up to first_coordinate=105"),
        ({"bins": 33}, "do not fit into vocabulary=160"),
        ({"encoder": models.Encoder(1)}, "norm_first=True"),
    ],
)
def test_fields_that_do_not_fit_are_refused(changes, message):
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(pix2seq(**changes).init, jax.random.key(0), image, SIZES[:1])
