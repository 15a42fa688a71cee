"""Parity of Pix2Seq's network with the authors', which TensorFlow computed in float32."""

import dataclasses
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.seeded import Golden, image
from vision_jax import models
from vision_jax.models.detectors.pix2seq import SETTINGS
from vision_jax.ops import losses
from vision_jax.ops.positions import grid_sines
from vision_jax.training import paths

GOLDEN = Golden(Path(__file__).parents[1] / "golden/models/pix2seq_small.npz")
BOTH = pytest.mark.parametrize("kind", [np.float32, np.float64])
pytestmark = [pytest.mark.golden, pytest.mark.usefixtures("precision")]

# Their names become ours by these substitutions, one after the other.
NAMES = {
    r"^vit/transformer_encoder/transformer_encoder_(\d)": r"encoder/layer_\1",
    r"^vit/transformer_encoder/transformer_encoder": "encoder/layer_0",
    r"^ar_decoder/transformer_decoder/transformer_decoder_layer_(\d)": r"decoder/layer_\1",
    r"^ar_decoder/transformer_decoder/transformer_decoder_layer": "decoder/layer_0",
    "^vit/stem_conv": "backbone/conv",
    "^vit/stem_ln": "input_norm",
    "^vit/ouput_ln": "encoder/norm",
    "^ar_decoder/ouput_ln": "decoder/norm",
    "^ar_decoder/token_embedding": "words/embedding",
    "^ar_decoder/seq_pos_embedding": "positions/embedding",
    "^ar_decoder/outp_bias": "bias",
    "^proj/linear": "memory_proj",
    "^proj/ln": "memory_norm",
    "^proj/mlp/ffn/ln": "memory_branch/norm",
    "^proj/": "memory_branch/",
    "(/|self_)mha/ln": r"/norm1",
    "cross_mha/ln": "norm2",
    "^(encoder.*)mlp/ffn/ln": r"\1norm2",
    "^(decoder.*)mlp/ffn/ln": r"\1norm3",
    "(self|cross)_mha": r"\1_attention",
    "/mha": "/self_attention",
    "mlp/ffn/dense": "fc",
    "attention_output": "output",
    "gamma$": "scale",
    "beta$": "bias",
    "//": "/",
}


def ours(name):
    """Returns our path of a parameter of theirs."""
    for pattern, by in NAMES.items():
        name = re.sub(pattern, by, name)
    return name


def weights_of(state):
    """Returns our parameters by path; attention's heads lie in one axis."""
    shaped = {}
    for name, value in state.items():
        path = ours(name)
        if "attention" in path:
            heads = (32, 32) if path.endswith("kernel") else (32,)
            value = value.reshape(heads)
        shaped[path] = value
    return shaped


def network():
    settings = dataclasses.replace(SETTINGS, features=32, heads=4, hidden=128)
    return models.Pix2Seq(
        models.Patches(32, 8),
        num_classes=8,
        endpoint="patches",
        project=False,
        encoder=models.Encoder(2, settings),
        decoder=models.Decoder(2, settings),
        max_detections=3,
        max_length=16,
        bins=20,
        first_class=41,
        first_coordinate=50,
        vocabulary=70,
        top_k=1,
    )


def given(kind):
    """Returns the network, its parameters, images, sizes and tokens."""
    shaped = {k: jnp.asarray(v.astype(kind)) for k, v in weights_of(GOLDEN.state_dict()).items()}
    of = GOLDEN.meta["eval"]["inputs"]["x"]
    images = image(*(of[k] for k in ("shape", "seed", "name", "low", "high", "block")))
    images = jnp.asarray(images.astype(kind))
    sizes = jnp.tile(jnp.asarray(images.shape[1:3], kind), (len(images), 1))
    tokens = jnp.asarray(GOLDEN.inputs("eval")["tokens"].astype(np.int32))
    return network(), {"params": paths.nest(shaped)}, images, sizes, tokens


def given_logits(kind):
    """Computes the logits after each of the given tokens."""
    model, variables, images, sizes, tokens = given(kind)
    memory = model.apply(variables, images, sizes, method="encode")[1]
    return model.apply(variables, tokens, memory, method="read")


def near(name, got):
    """The reference's own results are in float32: 1e-5 of the greatest value is its noise."""
    expected = GOLDEN[name]
    assert np.shape(got) == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_every_parameter_has_its_place():
    model = network()
    shapes = jax.eval_shape(model.init, jax.random.key(0), *given(np.float32)[2:4])["params"]
    shaped = weights_of(GOLDEN.state_dict())
    assert {k: v.shape for k, v in paths.flatten(shapes).items()} == {
        k: v.shape for k, v in shaped.items()
    }


@BOTH
def test_features_and_logits(kind):
    model, variables, images, sizes, _ = given(kind)
    encoded, memory = model.apply(variables, images, sizes, method="encode")
    near("eval/encoded", encoded)
    near("eval/projected", memory)
    near("eval/logits", given_logits(kind))
    near("constants/vis_pos_emb", grid_sines(4, 3, 32).reshape(12, 32))


@BOTH
def test_loss_and_gradients(kind):
    model, variables, images, sizes, tokens = given(kind)

    def loss(params):
        of = {"params": params}
        memory = model.apply(of, images, sizes, method="encode")[1]
        logits = model.apply(of, tokens, memory, method="read")
        return losses.cross_entropy(logits[:, :-1], tokens[:, 1:]).mean()

    value, gradient = jax.jit(jax.value_and_grad(loss))(variables["params"])
    stored = GOLDEN.meta["train"]
    np.testing.assert_allclose(value, stored["loss"], rtol=1e-6)
    flat = paths.flatten(gradient)
    norms = np.asarray([jnp.linalg.norm(flat[ours(name)]) for name in stored["grad_names"]])
    near("train/grad_norm", norms)


@BOTH
def test_greedy_decoding(kind):
    """Fifteen tokens with cached keys and values are those that the reference wrote."""
    model, variables, images, sizes, tokens = given(kind)

    def run(images, start):
        memory = model.apply(variables, images, sizes, method="encode")[1]
        return model.apply(variables, start, memory, 15, method="write")

    written, logits = jax.jit(run)(images, tokens[:, 0])
    np.testing.assert_array_equal(written, GOLDEN["eval/greedy"])
    near("eval/greedy_logits", logits)
