"""Parity of Show and Tell, of its greedy and beam search, and of another program's decoder."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tests.golden.seeded import Golden, subsample
from vision_jax.models import ShowAndTell
from vision_jax.ops.decoding import beam_search, generate
from vision_jax.structs import Batch, Targets
from vision_jax.tasks import Captioning
from vision_jax.words import END, PAD, START

FOLDER = Path(__file__).parents[1] / "golden"
GOLDEN = Golden(FOLDER / "models/caption_show_and_tell.npz")
OTHER = Golden(FOLDER / "models_thirdparty/caption_lstm.npz")
BOTH = pytest.mark.parametrize("kind", [np.float32, np.float64])
pytestmark = [pytest.mark.golden, pytest.mark.usefixtures("precision")]


class Given(nn.Module):
    """A backbone whose features are the pictures themselves."""

    def __call__(self, images, *, train=False, keys=None):
        return {"map": images}


def made(golden, kind, **fields):
    """Makes a captioner with a golden's weights."""
    state = {k.removeprefix("decoder."): v.astype(kind) for k, v in golden.state_dict().items()}
    params = {
        "words": {"embedding": state["embed.weight"]},
        "decoder": {
            "kernel_x": state["lstm.weight_ih_l0"].T,
            "kernel_h": state["lstm.weight_hh_l0"].T,
            "bias": state["lstm.bias_ih_l0"] + state["lstm.bias_hh_l0"],
        },
        "linear": {"kernel": state["linear.weight"].T, "bias": state["linear.bias"]},
    }
    width = state["embed.weight"].shape[1]
    params["project"] = {"kernel": np.eye(width, dtype=kind), "bias": np.zeros(width, kind)}
    if "project.weight" in state:
        params["project"] = {"kernel": state["project.weight"].T, "bias": state["project.bias"]}
    model = ShowAndTell(
        Given(),
        num_classes=len(state["embed.weight"]),
        embed=width,
        hidden=state["lstm.weight_hh_l0"].shape[1],
        dropout=0.0,
        **fields,
    )
    return model, {"params": jax.tree.map(jnp.asarray, params)}


def compare(golden, name, ours, kind):
    """Holds an array against a stored one: in float32 within ten times the reference's own error,
    or 16 units where it is not known; in float64 within 1e-9, or half a unit of what is stored."""
    wanted = golden[name].reshape(-1)
    told = golden.meta.get("outputs", {}).get(name, {})
    largest = np.abs(wanted).max()
    allowed = 1e-9 * largest
    if kind is np.float32:
        allowed = 10 * told.get("float32_max_abs_diff", 1.6 * np.finfo(kind).eps * largest)
    stored = np.finfo(wanted.dtype).eps / 2 * largest
    ours = subsample(np.asarray(ours), told.get("stride", 1))
    np.testing.assert_allclose(ours.reshape(-1), wanted, rtol=0, atol=max(allowed, stored))


def pictures(golden, phase, name, kind):
    return jnp.asarray(golden.inputs(phase)[name][:, None, None].astype(kind))


def given_logits(kind):
    """Computes the logits of captions that are given, as `GOLDEN` stores them."""
    model, variables = made(GOLDEN, kind)
    images = pictures(GOLDEN, "train", "features", kind)
    tokens = jnp.asarray(GOLDEN["train/captions"].astype(np.int32))
    return model.apply(variables, images, tokens)["logits"]


def token_losses(kind):
    """Computes the cross-entropy of each token of captions that are given, 0 on padding."""
    targets = jnp.asarray(GOLDEN["train/captions"].astype(np.int32))[:, 1:]
    log_probs = jax.nn.log_softmax(given_logits(kind))
    losses = -jnp.take_along_axis(log_probs, targets[..., None], axis=-1)[..., 0]
    return jnp.where(targets == PAD, 0, losses)


def packed_logits(kind):
    """Computes the logits of captions that are given, as `OTHER` stores them, step after step."""
    model, variables = made(OTHER, kind)
    images = pictures(OTHER, "eval", "x", kind)
    captions = jnp.asarray(np.arange(18).reshape(3, 6) * 7 % 100, jnp.int32)
    first = model.apply(variables, images, method="first")
    rest = model.apply(variables, images, captions)["logits"]
    return jnp.concatenate([first[:, None], rest], axis=1).swapaxes(0, 1).reshape(18, 100)


@BOTH
def test_teacher_forcing(kind):
    model, variables = made(GOLDEN, kind)
    images = pictures(GOLDEN, "train", "features", kind)
    tokens = jnp.asarray(GOLDEN["train/captions"].astype(np.int32))
    count = len(tokens)
    batch = Batch(images, jnp.ones(count, bool), jnp.arange(count), Targets(tokens=tokens))
    task = Captioning(model, mean=(0.0,) * 32, std=(1 / 255,) * 32)
    key = jax.random.key(0)
    compare(GOLDEN, "train/logits", given_logits(kind), kind)
    compare(GOLDEN, "train/token_loss", token_losses(kind), kind)

    def loss(variables):
        total, weight = task.loss(variables, batch, key, train=False)[0]["word"]
        return total / weight

    value, gradient = jax.value_and_grad(loss)(variables)
    compare(GOLDEN, "train/loss", value, kind)
    compare(GOLDEN, "train/perplexity", jnp.exp(value), kind)
    outputs = task.predict(variables, batch)
    compare(GOLDEN, "train/sentence_logprob", -outputs["token_loss"], kind)
    assert outputs["token_count"].tolist() == [7, 6, 5, 4]
    own = gradient["params"]
    norms = {
        "project.weight": own["project"]["kernel"],
        "project.bias": own["project"]["bias"],
        "embed.weight": own["words"]["embedding"],
        "lstm.weight_ih_l0": own["decoder"]["kernel_x"],
        "lstm.weight_hh_l0": own["decoder"]["kernel_h"],
        "lstm.bias_ih_l0": own["decoder"]["bias"],
        "lstm.bias_hh_l0": own["decoder"]["bias"],
        "linear.weight": own["linear"]["kernel"],
        "linear.bias": own["linear"]["bias"],
    }
    names = GOLDEN.meta["train"]["grad_names"]
    compare(GOLDEN, "train/grad_norm", jnp.stack([jnp.linalg.norm(norms[n]) for n in names]), kind)


@pytest.mark.parametrize("kind", [np.float64])
def test_greedy(kind):
    model, variables = made(GOLDEN, kind)
    state = begun(model, variables, pictures(GOLDEN, "train", "features", kind))
    step = stepper(model, variables)
    tokens, total = generate(step, state, jnp.full(4, START, jnp.int32), 12, END)
    assert listed(tokens) == GOLDEN.meta["greedy"]["captions"]
    beam = GOLDEN.meta["beam"]["beam1_length12_norm0.0"]["logprobs"]
    np.testing.assert_allclose(total[:3], np.ravel(beam)[:3], rtol=1e-12)


@pytest.mark.parametrize("name", list(GOLDEN.meta["beam"]))
@BOTH
def test_beam_search(name, kind):
    stored = GOLDEN.meta["beam"][name]
    model, variables = made(GOLDEN, kind)
    state = begun(model, variables, pictures(GOLDEN, "train", "features", kind))
    found = jax.jit(
        lambda state: beam_search(
            stepper(model, variables),
            state,
            jnp.full(4, START, jnp.int32),
            stored["max_caption_length"],
            END,
            stored["beam_size"],
            stored["length_normalization_factor"],
        )
    )(state)
    tolerance = 1e-12 if kind is np.float64 else 2e-6
    for row, captions in enumerate(stored["captions"]):
        scores = np.asarray(found.scores[row])
        there = np.isfinite(scores)
        assert there.sum() == len(captions) and there[: len(captions)].all()
        if kind is np.float64 or stored["float32_same_captions"][row]:
            assert [listed(t[None])[0] for t in found.tokens[row][there]] == captions
        np.testing.assert_allclose(scores[there], stored["scores"][row], rtol=tolerance)
        np.testing.assert_allclose(
            np.asarray(found.log_probs[row])[there], stored["logprobs"][row], rtol=tolerance
        )


@BOTH
def test_a_decoder_whose_image_step_predicts_the_start(kind):
    model, variables = made(OTHER, kind)
    images = pictures(OTHER, "eval", "x", kind)
    compare(OTHER, "eval/packed_logits", packed_logits(kind), kind)
    first = model.apply(variables, images, method="first")
    start = jnp.argmax(first, -1).astype(jnp.int32)
    state = begun(model, variables, images)
    tokens, _ = generate(stepper(model, variables), state, start, 19, end=-1)
    np.testing.assert_array_equal(np.c_[start, tokens], OTHER["eval/greedy"])


def begun(model, variables, images):
    return model.apply(variables, images, method="begin")


def stepper(model, variables):
    return lambda state, tokens: model.apply(variables, state, tokens, method="step")


def listed(tokens):
    """Returns rows of tokens without their padding, as lists."""
    return [row[: np.flatnonzero(row)[-1] + 1].tolist() for row in np.asarray(tokens)]
