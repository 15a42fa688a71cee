"""Parity of fast style transfer's and super-resolution's networks, gradients and statistics too."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.seeded import Golden, subsample, uniform
from tests.parity import golden_choices
from tests.parity.golden_cases import FOLDER, as_dtype, inputs
from vision_jax import models, weights
from vision_jax.models import Layers
from vision_jax.weights import engine

pytestmark = [pytest.mark.golden, pytest.mark.usefixtures("precision")]
MOST_TURNED = 1e-5  # share of all choices that rounding may turn
BOTH = pytest.mark.parametrize("kind", [np.float32, np.float64])


def units(theirs, ours, kind, conv="conv_bias"):
    """Yields a convolution and its norm; `theirs` are their two names."""
    yield engine.Row(theirs[0], f"{ours}/conv", conv)
    yield engine.Row(theirs[1], f"{ours}/norm", kind)


def blocks(model, kind):
    for i in range(model.blocks):
        for k in (1, 2):
            names = f"res.{i}.conv{k}", f"res.{i}.norm{k}"
            yield from units(names, f"block{i + 1}/conv{k}", kind)


def style_rows(model):
    """Yields the layers of the style network by the golden files' names."""
    kind = "affine" if model.layers.norm == "instance" else "norm"
    for i in (1, 2, 3):
        yield from units((f"conv{i}", f"n{i}"), f"conv{i}", kind)
    yield from blocks(model, kind)
    for i in (1, 2):
        yield from units((f"up{i}", f"n{3 + i}"), f"up{i}", kind, "conv_transpose_bias")
    yield engine.Row("conv4", "conv4/conv", "conv_bias")


def super_rows(model):
    """Yields the layers of the super-resolution network."""
    yield from units(("conv1", "n1"), "conv1", "norm")
    yield from blocks(model, "norm")
    for i in range(model.factor.bit_length() - 1):
        yield from units((f"up.{i}", f"un.{i}"), f"up{i + 1}", "norm", "conv_transpose_bias")
    yield engine.Row("conv2", "conv2/conv", "conv_bias")


NETWORKS = {
    "johnson_style_paper_bn": (models.JohnsonStyle(), style_rows),
    "johnson_style_paper_in": (models.JohnsonStyle(layers=Layers(norm="instance")), style_rows),
    "johnson_super_x4": (models.JohnsonSuperResolution(4), super_rows),
    "johnson_super_x8": (models.JohnsonSuperResolution(8), super_rows),
}


def restored(name):
    """Returns the golden file of a network, the network and its variables."""
    if name == "transformer_net":
        golden, model = (
            Golden(FOLDER / "models_thirdparty" / f"{name}.npz"),
            models.transformer_net(),
        )
        return golden, model, weights.from_reference(golden.state_dict(), model)
    golden, (model, rows) = Golden(FOLDER / "models" / f"{name}.npz"), NETWORKS[name]
    table = engine.Table("golden", rows)
    return golden, model, engine.read(golden.state_dict(), model, [table], heads=()).variables


def answered(golden, model, variables):
    """Returns the image that a network makes in evaluation, (b, c, h, w)."""
    kind = jax.tree.leaves(variables)[0].dtype
    x = as_dtype(inputs(golden)["eval"], kind)["x"]
    return jnp.moveaxis(jax.jit(model.apply)(variables, x)["image"], -1, 1)


def check(golden, name, value, kind):
    """Compares one output with what is stored of it."""
    info, wanted = golden.meta["outputs"][name], golden[name].reshape(-1)
    value = np.asarray(value)
    assert list(value.shape) == info["shape"], name
    rounding = np.finfo(wanted.dtype).eps / 2 * info["absmax"]
    allowed = 10 * info["float32_max_abs_diff"] if kind is np.float32 else 1e-9 * info["absmax"]
    error = np.abs(subsample(value, info["stride"]) - wanted).max()
    assert error <= max(allowed, rounding), f"{name}: {error}"


def run(model, golden, variables):
    """Returns the outputs by the golden file's names, the gradients and the statistics."""
    kind = jax.tree.leaves(variables)[0].dtype
    given = {phase: as_dtype(arrays, kind)["x"] for phase, arrays in inputs(golden).items()}
    shape, seed = golden.meta["outputs"]["train/out"]["shape"], golden.meta["seed"]
    probe = jnp.asarray(uniform(shape, seed, "train/weight"), kind)

    def loss(params):
        outputs, updates = model.apply(
            {**variables, "params": params}, given["train"], train=True, mutable=["batch_stats"]
        )
        image = jnp.moveaxis(outputs["image"], -1, 1)
        return (image * probe).mean(), (image, updates)

    (value, (image, updates)), gradients = jax.value_and_grad(loss, has_aux=True)(
        variables["params"]
    )
    out = jnp.moveaxis(model.apply(variables, given["eval"])["image"], -1, 1)
    outputs = {"eval/out": out, "train/out": image, "train/loss": value}
    return outputs, gradients, updates


def tiered():
    """Returns all networks as cases; those that the others stand for are slow."""
    slow = {"johnson_style_paper_in", "johnson_super_x8"}
    return [pytest.param(n, marks=pytest.mark.slow if n in slow else ()) for n in NETWORKS]


@pytest.mark.parametrize("name", tiered())
def test_johnsons_networks(name):
    golden, model, state = restored(name)
    table = engine.Table("golden", NETWORKS[name][1])
    assert sum(a.size for a in jax.tree.leaves(state["params"])) == golden.meta["param_count"]
    choices, norms = {}, {}
    for kind in (np.float32, np.float64):
        with jax.enable_x64(kind is np.float64):
            variables = jax.tree.map(lambda a, kind=kind: jnp.asarray(a, kind), state)
            record = functools.partial(golden_choices.record, functools.partial(run, model, golden))
            (outputs, gradients, updates), choices[kind] = jax.jit(record)(variables)
            for key, value in outputs.items():
                check(golden, key, value, kind)
            gradients = engine.to_reference(gradients, model, [table], None)
            norms[kind], dots = of_gradients(golden, gradients)
            buffers = {"params": {}, **updates}
            buffers = engine.to_reference(buffers, model, [table], None)
            check_statistics(golden, buffers, kind)
    check(golden, "train/grad_norm", norms[np.float64], np.float64)
    check(golden, "train/grad_dot", dots, np.float64)
    noise = golden.meta["outputs"]["train/grad_norm"]["float32_max_abs_diff"]
    if np.abs(norms[np.float32] - norms[np.float64]).max() <= 10 * noise:
        return
    # One value that rounding moves across a ReLU's zero makes a gradient jump; see `test_golden`.
    assert golden_choices.turned(*choices.values()) < MOST_TURNED
    with jax.enable_x64(True):
        again = functools.partial(golden_choices.repeat, functools.partial(run, model, golden))
        _, gradients, _ = jax.jit(again)(choices[np.float32], variables)
    exact, _ = of_gradients(golden, engine.to_reference(gradients, model, [table], None))
    assert np.abs(norms[np.float32] - exact).max() <= 10 * noise


def check_statistics(golden, buffers, kind):
    """Compares the norms of the running statistics, where there are any."""
    if "train/buffer_norm" in golden.meta["outputs"]:
        # The reference counts its batches, ours does not.
        names = golden.meta["train"]["buffer_names"]
        norms = [np.linalg.norm(buffers[n]) if n in buffers else 1.0 for n in names]
        check(golden, "train/buffer_norm", norms, kind)


def of_gradients(golden, gradients):
    """Returns every gradient's norm, and its dot product with a seeded array."""
    norms, dots = [], []
    for name in golden.meta["train"]["grad_names"]:
        gradient = gradients[name].astype(np.float64)
        probe = uniform(gradient.shape, golden.meta["seed"], "grad/" + name)
        norms.append(np.linalg.norm(gradient))
        dots.append((gradient * probe.astype(np.float64)).sum())
    return np.array(norms), np.array(dots)


@BOTH
def test_pytorchs_example(kind):
    golden, model, state = restored("transformer_net")
    assert sum(a.size for a in jax.tree.leaves(state["params"])) == golden.meta["param_count"]
    variables = jax.tree.map(lambda a: jnp.asarray(a, kind), state)
    check(golden, "eval/out", answered(golden, model, variables), kind)
