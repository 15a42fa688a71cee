"""Parity of Pix2Seq's sequences with the authors' code, which computes in float32.

Its two orders of objects are no cases here: that by distance sorts coordinates in place of
distances, and that by area sorts nothing.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity.golden_ops import Case, cases
from vision_jax.ops import boxes, losses, pix2seq
from vision_jax.ops.pix2seq import Layout

pytestmark = pytest.mark.golden


def near(case, key, got, scale=1.0):
    """TensorFlow's own results are in float32: 1e-5 of the greatest value is its noise."""
    expected = case.file[f"{case.name}/out/{key}"]
    got = np.asarray(got)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * scale * np.abs(expected).max())


def layout_of(case):
    return Layout(
        bins=case.args.get("bins", case.args.get("quantization_bins")),
        coordinates=case.args["coord_vocab_shift"],
        classes=case.args["base_vocab_shift"] + 1,  # label 0 is padding there
        task=case.args.get("task_vocab_id", 10),
        noise=case.args.get("fake_class_token", 30),
    )


def test_quantization():
    case = Case("pix2seq", "quantize")
    case.check("y", pix2seq.quantize(case["x"], case.args["bins"]))
    case = Case("pix2seq", "dequantize")
    near(case, "y", pix2seq.dequantize(case["x"], case.args["bins"]), 0.01)


@pytest.mark.parametrize("name", cases("pix2seq", "sequence"))
def test_sequences(name):
    case = Case("pix2seq", name)
    layout, theirs = layout_of(case), case["label"]
    labels = jnp.where(theirs == 0, pix2seq.PADDING, theirs - 1)
    fake = theirs == case.args["fake_class_token"] - case.args["base_vocab_shift"]
    labels = jnp.where(fake, pix2seq.NOISE, labels)
    corners = boxes.convert(case["boxes_yxyx"], "yxyx", "xyxy")
    tokens = jax.vmap(lambda b, k: pix2seq.object_tokens(b, k, layout))(corners, labels)
    case.check("response", tokens)
    seen = jnp.asarray(case.file[f"{name}/out/response_corrupted"])
    got = jax.vmap(
        lambda *of: pix2seq.sequence_targets(
            *of[:2],
            case.args["max_seq_len"],
            of[2],
            case.args["noise_bbox_weight"],
            case.args["eos_token_weight"],
            layout,
        )
    )(tokens, labels, seen.astype(tokens.dtype))
    case.check("input_seq", got.inputs)
    case.check("target_seq", got.targets)
    near(case, "token_weights", got.weights, 0.01)
    # Our own corruption touches what theirs touches, and nothing else.
    ours = jax.vmap(lambda k, t: pix2seq.corrupt_classes(k, t, layout))(
        jax.random.split(jax.random.key(0), 2), tokens
    )
    if case.args["class_label_corruption"] == "rand_n_fake_cls":
        place = np.arange(tokens.shape[1]) % 5 == 4
        for those in (np.asarray(ours), np.asarray(seen)):
            assert (those[:, ~place] == np.asarray(tokens)[:, ~place]).all()
            inside = those[:, place][np.asarray(labels) != pix2seq.PADDING]
            assert ((inside == layout.noise) | ((inside >= 100) & (inside < 1000))).all()
            assert (inside == layout.noise).any() and (inside != layout.noise).any()


@pytest.mark.parametrize("name", cases("pix2seq", "loss"))
def test_losses(name):
    case = Case("pix2seq", name)
    kind, _, number = case.args["loss_type"].partition("@")
    weights, targets = case["token_weights"], case["target"]

    def per_token(logits):
        if kind == "focal":
            return pix2seq.focal_cross_entropy(logits, targets, float(number))
        return losses.cross_entropy(logits, targets, float(number or 0))

    def loss(logits):
        return (per_token(logits) * weights).sum() / (weights.sum() + 1e-9)

    near(case, "per_token", per_token(case["logits"]))
    near(case, "loss", loss(case["logits"]))
    near(case, "grad_logits", jax.grad(loss)(case["logits"]))


@pytest.mark.parametrize("name", cases("pix2seq", "filter"))
def test_likeliest_tokens(name):
    case = Case("pix2seq", name)
    got = pix2seq.top_logits(case["logits"], case.args["top_k"], case.args["top_p"])
    case.check("y", got)


def test_decoding():
    case = Case("pix2seq", "decode")
    layout, logits = layout_of(case), case["logits_class_steps"]
    classes = layout.coordinates - layout.classes
    got = jax.vmap(lambda t, x: pix2seq.decode_objects(t, x, classes, layout))(
        case["pred_seq"], logits
    )
    case.check("classes", got.labels + 1)
    near(case, "boxes_yxyx", boxes.convert(got.boxes, "xyxy", "yxyx"), 0.1)
    near(case, "scores", got.scores)


def test_scaling():
    case = Case("pix2seq", "scale_points")
    corners = boxes.convert(case["boxes"], "yxyx", "xyxy")
    got = jax.vmap(lambda b, size: boxes.resize(b, size[0], size[1]))(corners, case["scale_hw"])
    near(case, "y", boxes.convert(got, "xyxy", "yxyx"), 0.1)
