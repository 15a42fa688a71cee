"""Pix2Seq's sequences: there and back, made-up objects, and the rules of drawing tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.ops import pix2seq
from vision_jax.ops.pix2seq import NOISE, PADDING, Layout

BOXES = jnp.asarray([[0.1, 0.2, 0.5, 0.9], [0.3, 0.3, 0.4, 0.4], [0.0, 0.0, 1.0, 1.0], [0.0] * 4])
LABELS = jnp.asarray([2, 0, 1, PADDING])
LAYOUT = Layout(bins=64, coordinates=200)


def logits_of(tokens, vocabulary=300):
    """Logits at the classes' places that are sure of the tokens there."""
    return 20.0 * jax.nn.one_hot(tokens[4::5], vocabulary)


def test_there_and_back():
    tokens = pix2seq.object_tokens(BOXES, LABELS, LAYOUT)
    assert tokens.shape == (20,) and tokens[15:].tolist() == [0] * 5
    assert tokens[:5].tolist() == [200 + 13, 200 + 6, 200 + 57, 200 + 32, 101 + 2]
    got = pix2seq.decode_objects(tokens, logits_of(tokens), 3, LAYOUT)
    assert got.labels[:3].tolist() == LABELS[:3].tolist() and got.boxes.shape == (4, 4)
    np.testing.assert_allclose(got.boxes[:3], BOXES[:3], atol=0.5 / 63 + 1e-6)
    assert (got.scores[:3] > 0.99).all() and got.scores[3] < 0.01  # the end is no class


def test_what_tokens_tell():
    labels = jnp.asarray([2, NOISE, 0, PADDING])
    tokens = pix2seq.object_tokens(BOXES, labels, LAYOUT).at[0].set(7)
    told = pix2seq.tell_objects(jnp.append(tokens, 200), 3, LAYOUT)
    assert told[:, 4].tolist() == [2, NOISE, 0, PADDING] and told.shape == (4, 5)
    assert told[0].tolist() == [-1, 6, 57, 32, 2] and told[3].tolist() == [-1] * 4 + [PADDING]
    assert pix2seq.tell_objects(tokens, 2, LAYOUT)[0, 4] == PADDING


def test_a_sequence_that_ends_within_an_object():
    tokens = pix2seq.object_tokens(BOXES, LABELS, LAYOUT)[:13]
    got = pix2seq.decode_objects(tokens, logits_of(tokens), 3, LAYOUT)
    assert got.labels.tolist() == [2, 0]


@pytest.mark.parametrize("bins", [2, 10, 1000])
def test_quantization_errs_by_half_a_bin(bins):
    x = jnp.linspace(0, 1, 4001)
    number = pix2seq.quantize(x, bins)
    assert number.min() == 0 and number.max() == bins - 1
    error = jnp.abs(pix2seq.dequantize(number, bins) - x).max()
    assert error <= 0.5 / (bins - 1) + 1e-6
    assert pix2seq.quantize(jnp.asarray([-1.0, 2.0]), bins).tolist() == [0, bins - 1]


def test_targets_and_weights():
    labels = jnp.asarray([2, NOISE, PADDING])
    tokens = pix2seq.object_tokens(BOXES[:3], labels, LAYOUT)
    got = pix2seq.sequence_targets(tokens, labels, 17, noise_weight=0.5, layout=LAYOUT)
    assert got.targets.tolist() == [*tokens.tolist(), 0, 0] and tokens[9] == LAYOUT.noise
    assert got.inputs.tolist() == [LAYOUT.task, *got.targets[:-1].tolist()]
    expected = [1] * 5 + [0] * 4 + [0.5] + [0.1] * 7
    np.testing.assert_allclose(got.weights, expected)
    with pytest.raises(ValueError, match="15 tokens do not fit into 14"):
        pix2seq.sequence_targets(tokens, labels, 14)


def test_orders_keep_objects_and_put_padding_last():
    labels = jnp.asarray([PADDING, 5, 6, 7])
    seen = set()
    for seed in range(20):
        boxes, shuffled = pix2seq.shuffle_objects(jax.random.key(seed), BOXES, labels)
        assert shuffled[-1] == PADDING
        for box, label in zip(boxes[:3], shuffled[:3].tolist(), strict=True):
            np.testing.assert_array_equal(box, BOXES[label - 4])
        seen.add(tuple(shuffled.tolist()))
    assert len(seen) == 6
    assert pix2seq.sort_objects(BOXES, LABELS)[1].tolist() == [1, 2, 0, PADDING]


def noisy(count, slots=200):
    boxes = jnp.zeros((slots, 4)).at[:count].set(BOXES[:count])
    labels = jnp.full(slots, PADDING).at[:count].set(LABELS[:count])
    make = jax.jit(jax.vmap(lambda key: pix2seq.add_noise_objects(key, boxes, labels)))
    return make(jax.random.split(jax.random.key(0), 60))


def test_made_up_objects():
    boxes, labels = noisy(2)
    assert (labels[:, :2] == LABELS[None, :2]).all() and (labels[:, 2:] == NOISE).all()
    np.testing.assert_array_equal(boxes[:, :2], jnp.broadcast_to(BOXES[None, :2], (60, 2, 4)))
    made = np.asarray(boxes[:, 2:])
    assert (made >= 0).all() and (made <= 1).all()
    sides = np.asarray(BOXES[:2, 2:] - BOXES[:2, :2])
    limit = 0.1 * np.concatenate([sides, sides], 1) + 1e-6
    close = (np.abs(made[:, :, None] - np.asarray(BOXES[:2])) <= limit).all(-1).any(-1)
    share = close.mean(1)  # the number of copies is uniform from image to image
    assert 0.3 < share.mean() < 0.7 and share.min() < 0.15 and share.max() > 0.85
    assert len(np.unique(made.reshape(-1, 4), axis=0)) > 0.95 * made[..., 0].size


def test_made_up_objects_without_a_model_and_without_room():
    boxes, labels = noisy(0)
    assert (labels == NOISE).all() and float(boxes.std()) > 0.1
    full = pix2seq.add_noise_objects(jax.random.key(0), BOXES[:3], LABELS[:3])
    np.testing.assert_array_equal(full[0], BOXES[:3])
    assert full[1].tolist() == LABELS[:3].tolist()


def test_likeliest_tokens_against_a_loop():
    logits = 3 * jax.random.normal(jax.random.key(0), (20, 9))
    for top_k, top_p in ((0, 0.4), (0, 0.95), (3, 1.0), (4, 0.7), (0, 1.0)):
        got = np.asarray(pix2seq.top_logits(logits, top_k, top_p))
        for row, values in zip(got, np.asarray(logits, np.float64), strict=True):
            ranked = np.argsort(-values)[: top_k or None]
            mass = np.cumsum(np.exp(values[ranked]) / np.exp(values[ranked]).sum())
            count = max(1, int((mass <= top_p + (top_p == 1)).sum()))
            assert {*np.flatnonzero(row > -1e9)} == {*ranked[:count]}


def test_focal_cross_entropy_of_gamma_0_is_the_cross_entropy():
    logits = jax.random.normal(jax.random.key(0), (4, 7))
    targets = jnp.asarray([0, 3, 6, 1])
    plain = -jax.nn.log_softmax(logits)[jnp.arange(4), targets]
    np.testing.assert_allclose(pix2seq.focal_cross_entropy(logits, targets, 0.0), plain, rtol=1e-5)
    assert (pix2seq.focal_cross_entropy(logits, targets) < plain).all()
