"""Every network against what its reference computed, from the stored golden files.

The files are those below the folder named by VISION_JAX_GOLDENS (default tests/golden). A file's
name chooses the network; a file of a network that we do not have is skipped by name. Tolerances:
in float32 ten times the reference's own float32 error, in float64 1e-9 of the largest magnitude.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.seeded import Golden, subsample, uniform
from tests.golden_cases import CASES, as_dtype, files, inputs, named, parameters, without_dropout
from vision_jax import weights


@pytest.mark.golden
@pytest.mark.parametrize("path", files(), ids=lambda p: p.stem)
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

    @jax.jit
    def run(variables):
        # Floats follow the variables' dtype; both phases are one program, compiled once.
        dtype = jax.tree.leaves(variables)[0].dtype
        given = {phase: as_dtype(arrays, dtype) for phase, arrays in phases.items()}
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
            exact = functools.partial(_exact, run, model, case, golden)
            outputs = _outputs(results, case, golden)
            _check_float32_gradients(golden, gradients, outputs, double, exact)
        else:
            _check_gradients(golden, gradients)
            buffers = weights.to_reference({"params": {}, **results["train"]["buffers"]}, model)
            _check_buffers(golden, buffers)


def _exact(run, model, case, golden, variables):
    """Outputs and gradients of training."""
    results = jax.tree.map(np.asarray, run(variables))
    gradients = weights.to_reference(results["train"]["gradients"], model)
    return _outputs(results, case, golden), gradients


def _outputs(results, case, golden):
    """Those of training that the file has, as one vector."""
    names = [name for name in golden.meta["outputs"] if name.startswith("train/")]
    found = results["train"]["outputs"]
    parts = [named(found, case, name.removeprefix("train/")) for name in names]
    return np.concatenate([np.ravel(part) for part in parts]).astype(np.float64)


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
    """The mean over images, or over their pixels; classes are axis 1."""
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


def _check_float32_gradients(golden, gradients, outputs, variables, run):
    """The array of norms; its recorded error is the largest of its entries'.

    A value that rounding moves across a ReLU's zero makes the gradient jump, and the recorded run
    may have seen no such jump. So a larger error counts only against ten times the jumps that the
    exact gradient makes when the weights move, all of them by chance, within float32's rounding or
    as far as it takes to move the outputs as rounding did.
    """
    norms = golden["train/grad_norm"]
    error = np.abs(_norms(golden, gradients) - norms).max()
    noise = np.abs(golden["train/grad_norm_float32"] - norms).max()
    if error <= 10 * noise:
        return

    def moved(seed, scale):
        rng = np.random.default_rng(seed)
        shift = lambda a: a * (1 + scale * rng.uniform(-1, 1, a.shape))  # noqa: E731
        return run(jax.tree.map(shift, variables))

    with jax.enable_x64(True):
        exact, _ = run(variables)
        scale = 2.0**-24
        reached = np.abs(moved(0, scale)[0] - exact).max()
        scale *= max(1, np.abs(outputs - exact).max() / reached)
        for seed in range(3):
            jumps = np.abs(_norms(golden, moved(seed, scale)[1]) - norms).max()
            noise = max(noise, jumps)
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
