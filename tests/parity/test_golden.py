"""Every network against what its reference computed, from the stored golden files.

The files are those below the folder named by VISION_JAX_GOLDENS (default tests/golden). A file's
name chooses the network; a file of a network that we do not have is skipped by name. Tolerances:
in float32 ten times the reference's own float32 error, in float64 1e-9 of the largest magnitude.

A gradient in float32 that is further off is held, with the same tolerance, against that in float64
with float32's choices (`golden_choices`): one value that rounding moves across a ReLU's zero, or
one window with another largest pixel, makes a gradient jump, which the recorded run may not have
seen. (VGG-19: one window of 36,864 in pool4, whose two largest values are 9e-6 apart, turns with
oneDNN's convolutions. The norms are off by 6.6e-3 without, by 2.6e-5 with float32's choice.)
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.seeded import Golden, subsample, uniform
from tests.parity import golden_choices
from tests.parity.golden_cases import (
    CASES,
    as_dtype,
    files,
    inputs,
    named,
    parameters,
    without_dropout,
)
from vision_jax import weights

# Members of families, most of them deeper or wider, that other files stand for.
STOOD_FOR = {"cifar_resnet110", "deeplabv3_resnet101", "fcn_resnet101", "fcn_resnet50"}
STOOD_FOR |= {"fcn16s_vgg16", "fcn32s_vgg16", "googlenet_transform_input", "resnet152", "resnet34"}
STOOD_FOR |= {"resnext50_32x4d", "timm_darknet53", "timm_resnet50d", "vgg11", "vgg16_bn", "vgg19"}
STOOD_FOR |= {"vgg19_bn", "wide_resnet50_2"}
MOST_TURNED = 1e-5  # share of all choices that rounding may turn


def tiered():
    """Returns all files as cases; those that `STOOD_FOR` names are slow, too."""
    slow = pytest.mark.slow
    return [pytest.param(p, marks=slow if p.stem in STOOD_FOR else (), id=p.stem) for p in files()]


@pytest.mark.golden
@pytest.mark.parametrize("path", tiered())
def test_network_equals_its_reference(path):
    if path.stem not in CASES:
        pytest.skip(f"no network for {path.name}")
    golden, case = Golden(path), CASES[path.stem]
    assert parameters(golden, case) == golden.meta["param_count"]
    _check(golden, case)


def _check(golden, case):
    model = without_dropout(case.model())
    state = weights.from_reference(golden.state_dict(), model)
    phases = inputs(golden)

    def run(variables):
        # Floats follow the variables' dtype; both phases are one program, compiled once.
        dtype = jax.tree.leaves(variables)[0].dtype
        given = {phase: as_dtype(arrays, dtype) for phase, arrays in phases.items()}
        return _run(model, case, golden.meta, variables, given)

    choices, gradients = {}, {}
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype is np.float64):
            variables = jax.tree.map(lambda a, dtype=dtype: jnp.asarray(a, dtype), state)
            found = jax.jit(functools.partial(golden_choices.record, run))(variables)
            results, choices[dtype] = jax.tree.map(np.asarray, found)
        _check_outputs(golden, case, results, dtype)
        if "train" in phases:
            _check_losses(golden, results["train"]["losses"], dtype)
            gradients[dtype] = weights.to_reference(results["train"]["gradients"], model)
    if "train" not in phases:
        return
    _check_gradients(golden, gradients[np.float64])
    buffers = weights.to_reference({"params": {}, **results["train"]["buffers"]}, model)
    _check_buffers(golden, buffers)
    noise = np.abs(golden["train/grad_norm_float32"] - golden["train/grad_norm"]).max()
    if _difference(golden, gradients[np.float32], gradients[np.float64]) <= 10 * noise:
        return
    # The recorded run need not have made the choices that ours made.
    assert golden_choices.turned(*choices.values()) < MOST_TURNED
    with jax.enable_x64(True):
        again = jax.jit(functools.partial(golden_choices.repeat, run))
        results = jax.tree.map(np.asarray, again(choices[np.float32], variables))
    exact = weights.to_reference(results["train"]["gradients"], model)
    assert _difference(golden, gradients[np.float32], exact) <= 10 * noise


def _difference(golden, some, others):
    """Returns the largest difference of two sets of gradients' norms."""
    return np.abs(_norms(golden, some) - _norms(golden, others)).max()


def _check_outputs(golden, case, results, dtype):
    for name, info in golden.meta["outputs"].items():
        phase, _, key = name.partition("/")
        ours = named(results[phase]["outputs"], case, key)
        assert list(ours.shape) == info["shape"], name
        error = np.abs(subsample(ours, info["stride"]) - golden[name]).max()
        tolerance = 1e-9 * info["absmax"]
        if dtype is np.float32:
            tolerance = 10 * info["float32_max_abs_diff"]
        assert error <= tolerance, f"{name}: {error}"


def _run(model, case, meta, variables, given):
    results = {"eval": {"outputs": model.apply(variables, given["eval"]["x"])}}
    if "train" not in given:
        return results
    x, y = given["train"]["x"], given["train"]["y"]

    def total(params):
        outputs, buffers = model.apply(
            {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
        )
        names = [k.removeprefix("train/") for k in meta["outputs"] if k.startswith("train/")]
        parts = {k: _cross_entropy(named(outputs, case, k), y) for k in names}
        shares = meta["train"].get("loss_weights") or dict.fromkeys(parts, 1.0)
        loss = sum(shares[k] * parts[k] for k in parts)
        return loss, (outputs, buffers, {**parts, "total": loss})

    gradients, (outputs, buffers, losses) = jax.grad(total, has_aux=True)(variables["params"])
    results["train"] = {
        "outputs": outputs,
        "losses": losses,
        "gradients": gradients,
        "buffers": buffers,
    }
    return results


def _cross_entropy(logits, labels):
    """Averages the cross-entropy over images, or over their pixels; classes are axis 1."""
    return -jnp.take_along_axis(jax.nn.log_softmax(logits, 1), labels[:, None], axis=1).mean()


def _check_losses(golden, losses, dtype):
    train = golden.meta["train"]
    for name, value in train["losses"].items():
        tolerance = 1e-9 * abs(value)
        if dtype is np.float32:
            # A loss moves by at most twice what its logits move; its own recorded error may be
            # zero by luck.
            noise = max(
                info["float32_max_abs_diff"]
                for key, info in golden.meta["outputs"].items()
                if key.startswith("train/")
            )
            tolerance = 10 * max(abs(train["losses_float32"][name] - value), noise)
        assert abs(float(losses[name]) - value) <= tolerance, name


def _check_gradients(golden, gradients):
    """Compares norms, and dot products with seeded arrays, each relative to its gradient's norm.

    Gradients that are nothing but rounding (a bias under a batch norm) count as no smaller than
    1e-4 of the largest.
    """
    norms, dots = golden["train/grad_norm"], golden["train/grad_dot"]
    scale = np.maximum(norms, 1e-4 * norms.max())
    for i, name in enumerate(golden.meta["train"]["grad_names"]):
        g = gradients[name]
        probe = uniform(g.shape, golden.meta["seed"], "grad/" + name).astype(np.float64)
        assert abs(np.linalg.norm(g) - norms[i]) <= 1e-9 * scale[i], name
        assert abs((g * probe).sum() - dots[i]) <= 1e-9 * scale[i], name


def _norms(golden, gradients):
    names = golden.meta["train"]["grad_names"]
    return np.array([np.linalg.norm(gradients[name].astype(np.float64)) for name in names])


def _check_buffers(golden, buffers):
    names = golden.meta["train"].get("buffer_names", ())
    for i, name in enumerate(names):
        value = buffers[name]
        norm, total = golden["train/buffer_norm"][i], golden["train/buffer_sum"][i]
        assert abs(np.sqrt((value * value).sum()) - norm) <= 1e-9 * norm, name
        assert abs(value.sum() - total) <= 1e-9 * max(abs(total), norm), name
