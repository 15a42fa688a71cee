"""Every network against what its reference computed, from the stored golden files.

The files are those below the folder named by VISION_JAX_GOLDENS (default tests/golden). A file's
name chooses the network; a file of a network that we do not have is skipped by name. Tolerances:
in float32 ten times the reference's own float32 error, in float64 1e-9 of the largest magnitude.
"""

import dataclasses
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vision_jax import models, weights

sys.path.insert(0, str(Path(__file__).parent / "golden"))
from seeded import Golden, subsample, uniform

FOLDER = Path(os.environ.get("VISION_JAX_GOLDENS", Path(__file__).parent / "golden"))
FILES = sorted(p for p in FOLDER.rglob("*.npz") if p.parent.name not in ("ops", "eval"))


LOGITS = {"out": "logits"}
GOOGLENET = {
    **LOGITS,
    "logits": "logits",
    "aux_logits1": "aux_logits.0",
    "aux_logits2": "aux_logits.1",
}


@dataclasses.dataclass(frozen=True)
class Case:
    """How to run a network like its reference: `outputs` maps the reference's names to ours."""

    model: Callable[[], nn.Module]
    outputs: dict[str, str] = dataclasses.field(default_factory=lambda: LOGITS)


def vgg_cases():
    """torchvision's VGG-11, 13, 16 and 19, each with and without batch norm."""
    networks = {"11": models.VGG11, "13": models.VGG13, "16": models.VGG16, "19": models.VGG19}
    for depth, network in networks.items():
        yield f"vgg{depth}", Case(network)
        yield f"vgg{depth}_bn", Case(functools.partial(network, norm="sync"))


CASES = {
    "alexnet": Case(models.AlexNet2014),
    **dict(vgg_cases()),
    "googlenet": Case(models.GoogLeNet, GOOGLENET),
    "googlenet_transform_input": Case(
        functools.partial(models.GoogLeNet, transform_input=True), GOOGLENET
    ),
    "inception_v3": Case(
        models.InceptionV3, {**LOGITS, "logits": "logits", "aux_logits": "aux_logits.0"}
    ),
    "resnet18": Case(models.ResNet18),
    "resnet34": Case(models.ResNet34),
    "resnet50": Case(models.ResNet50),
    "resnet101": Case(models.ResNet101),
    "resnet152": Case(models.ResNet152),
    **{
        f"cifar_resnet{depth}": Case(functools.partial(models.CifarResNet, depth))
        for depth in (20, 32, 44, 56, 110)
    },
    **{
        f"timm_resnet{depth}d": Case(functools.partial(models.resnet_d, depth))
        for depth in (18, 34, 50, 101, 152)
    },
    **{
        f"timm_resnetv2_{depth}": Case(functools.partial(models.resnet_v2, depth))
        for depth in (50, 101, 152)
    },
    "mobilenet_v2": Case(models.MobileNetV2),
    "timm_mobilenetv1_100": Case(models.MobileNetV1),
}


@pytest.mark.golden
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_network_equals_its_reference(path):
    if path.stem not in CASES:
        pytest.skip(f"no network for {path.name}")
    golden, case = Golden(path), CASES[path.stem]
    assert _parameters(golden, case) == golden.meta["param_count"]
    _check(golden, case)


def _parameters(golden, case):
    shape = golden.meta["eval"]["inputs"]["x"]["shape"]
    image = jax.ShapeDtypeStruct([shape[i] for i in (0, 2, 3, 1)], jnp.float32)
    variables = jax.eval_shape(case.model().init, jax.random.key(0), image)
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def without_dropout(model):
    """The references ran in training mode with dropout off."""
    off = {name: 0.0 for name in ("dropout", "aux_dropout") if hasattr(model.head, name)}
    return model.clone(head=model.head.clone(**off))


def _check(golden, case):
    model = without_dropout(case.model())
    state = weights.from_reference(golden.state_dict(), model)
    phases = [phase for phase in ("eval", "train") if phase in golden.meta]
    inputs = {phase: golden.inputs(phase) for phase in phases}
    for arrays in inputs.values():
        arrays["x"] = arrays["x"].transpose(0, 2, 3, 1)

    @jax.jit
    def run(variables):
        # Floats follow the variables' dtype; both phases are one program, compiled once.
        dtype = jax.tree.leaves(variables)[0].dtype
        given = {
            phase: {k: jnp.asarray(a, None if k == "y" else dtype) for k, a in arrays.items()}
            for phase, arrays in inputs.items()
        }
        return _run(model, case, golden.meta, variables, given)

    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype is np.float64):
            results = run(jax.tree.map(lambda a, dtype=dtype: jnp.asarray(a, dtype), state))
            results = jax.tree.map(np.asarray, results)
        _check_outputs(golden, case, results, dtype)
        if "train" not in phases:
            continue
        _check_losses(golden, results["train"]["losses"], dtype)
        gradients = weights.to_reference(results["train"]["gradients"], model)
        if dtype is np.float32:
            double = jax.tree.map(np.float64, state)
            exact = functools.partial(_exact_gradients, run)
            _check_float32_gradients(golden, gradients, model, double, exact)
        else:
            _check_gradients(golden, gradients)
            buffers = weights.to_reference({"params": {}, **results["train"]["buffers"]}, model)
            _check_buffers(golden, buffers)


def _exact_gradients(run, variables):
    return jax.tree.map(np.asarray, run(variables)["train"]["gradients"])


def _check_outputs(golden, case, results, dtype):
    for name, info in golden.meta["outputs"].items():
        phase, _, key = name.partition("/")
        ours = _named(results[phase]["outputs"], case, key)
        assert list(ours.shape) == info["shape"], name
        error = np.abs(subsample(ours, info["stride"]) - golden[name]).max()
        tolerance = 1e-9 * info["absmax"]
        if dtype is np.float32:
            tolerance = 10 * info["float32_max_abs_diff"]
        assert error <= tolerance, f"{name}: {error}"


def _run(model, case, meta, variables, inputs):
    results = {"eval": {"outputs": model.apply(variables, inputs["eval"]["x"])}}
    if "train" not in inputs:
        return results
    x, y = inputs["train"]["x"], inputs["train"]["y"]

    def total(params):
        outputs, buffers = model.apply(
            {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
        )
        names = [k.removeprefix("train/") for k in meta["outputs"] if k.startswith("train/")]
        parts = {k: _cross_entropy(_named(outputs, case, k), y) for k in names}
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


def _named(outputs, case, name):
    """Our output for the reference's name; 'aux_logits.1' is an item of a tuple."""
    key, _, item = case.outputs[name].partition(".")
    return outputs[key][int(item)] if item else outputs[key]


def _cross_entropy(logits, labels):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()


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
    """Norms and dot products with seeded arrays, each relative to its gradient's norm.

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


def _check_float32_gradients(golden, gradients, model, variables, run):
    """The array of norms; its recorded error is the largest of its entries'.

    A value that rounding moves across a ReLU's zero makes the gradient jump, and the recorded run
    may have seen no such jump. So a larger error counts only against ten times the jumps that the
    exact gradient makes when the weights move within float32's rounding.
    """
    norms = golden["train/grad_norm"]
    error = np.abs(_norms(golden, gradients) - norms).max()
    noise = np.abs(golden["train/grad_norm_float32"] - norms).max()
    if error <= 10 * noise:
        return
    with jax.enable_x64(True):
        for seed in range(3):
            rng = np.random.default_rng(seed)
            moved = jax.tree.map(
                lambda a, rng=rng: a * (1 + 2.0**-24 * rng.uniform(-1, 1, a.shape)), variables
            )
            exact = weights.to_reference(run(moved), model)
            noise = max(noise, np.abs(_norms(golden, exact) - norms).max())
    assert error <= 10 * noise


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
