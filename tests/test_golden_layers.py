"""Layers, pooling, convolutions and resizing against stored outputs and gradients of torch.

In float32 within ten times the reference's own error, in float64 within 1e-9 of the largest value,
or half a unit of the float32 in which the file stores what it stores in float32. A case for which
there is no op here is skipped by name.
"""

import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vision_jax.models.blocks import BatchNorm, GroupNorm, channelwise
from vision_jax.ops import conv, normalize, pool, resize, upsample

sys.path.insert(0, str(Path(__file__).parent / "golden"))
from seeded import Golden, subsample

FOLDER = Path(os.environ.get("VISION_JAX_GOLDENS", Path(__file__).parent / "golden")) / "ops"
FILES = {
    name: Golden(FOLDER / f"{name}.npz")
    for name in ("conv", "layers", "pool", "resize")
    if (FOLDER / f"{name}.npz").exists()
}
CASES = [(file, case) for file, golden in FILES.items() for case in golden.meta["cases"]]
IMAGE, OIHW = (0, 2, 3, 1), (2, 3, 1, 0)


def _weight(w):
    return jnp.transpose(w, OIHW)


def conv2d(x, a):
    y = conv.conv2d(
        x["x"],
        _weight(x["weight"]),
        a.get("stride", 1),
        a.get("padding", 0),
        a.get("dilation", 1),
        a.get("groups", 1),
    )
    return {"y": y + channelwise(x["bias"]) if "bias" in x else y}


def conv_transpose2d(x, a):
    y = conv.conv_transpose2d(
        x["x"],
        jnp.transpose(x["weight"], (2, 3, 0, 1)),
        a.get("stride", 1),
        a.get("padding", 0),
        a.get("output_padding", 0),
        a.get("dilation", 1),
        a.get("groups", 1),
    )
    return {"y": y + channelwise(x["bias"]) if "bias" in x else y}


def max_pool2d(x, a):
    y = pool.max_pool(
        x["x"], a["kernel_size"], a["stride"], a.get("padding", 0), a.get("ceil_mode", False)
    )
    return {"y": y}


def avg_pool2d(x, a):
    y = pool.avg_pool(
        x["x"],
        a["kernel_size"],
        a["stride"],
        a.get("padding", 0),
        a.get("ceil_mode", False),
        a.get("count_include_pad", True),
    )
    return {"y": y}


def max_unpool2d(x, a):
    y, indices = pool.max_pool_indices(x["x"], a["kernel"], a["stride"], a["padding"])
    return {"unpooled": upsample.max_unpool(y, indices, x["x"].shape[1:3]), "indices": indices}


def batch_norm_train(x, a):
    variables = {
        "params": {"scale": x["weight"], "bias": x["bias"]},
        "batch_stats": {"mean": x["mean"], "var": x["var"]},
    }
    layer = BatchNorm(momentum=1 - a["momentum"], eps=a["eps"])
    y, new = layer.apply(variables, x["x"], train=True, mutable=["batch_stats"])
    return {
        "y": y,
        "running_mean": new["batch_stats"]["mean"],
        "running_var": new["batch_stats"]["var"],
    }


def group_norm(x, a):
    """Instance norm is group norm with as many groups as channels."""
    layer = GroupNorm(groups=a.get("groups", x["x"].shape[-1]), eps=a["eps"])
    variables = {"params": {"scale": x["weight"], "bias": x["bias"]}}
    return {"y": layer.apply(variables, x["x"])}


def interpolate(x, a):
    n, m = x["x"].shape[1:3]
    scale = a.get("scale_factor")
    size = a.get("size") or (int(n * scale), int(m * scale))
    y = resize.resize(
        x["x"],
        tuple(size),
        a["mode"],
        bool(a["align_corners"]),
        a.get("antialias", False),
        scale if a.get("recompute_scale_factor") is False else None,
    )
    return {"y": y}


def reflection_pad(x, a):
    left, right, top, bottom = a["pad"]
    widths = ((0, 0), (top, bottom), (left, right), (0, 0))
    return {"y": jnp.pad(x["x"], widths, mode="reflect")}


# By the beginning of the case's name, the longest first.
OPS = {
    "adaptive_avg_pool2d": lambda x, a: {"y": pool.adaptive_avg_pool(x["x"], a["output_size"])},
    "adaptive_max_pool2d": lambda x, a: {"y": pool.adaptive_max_pool(x["x"], a["output_size"])},
    "avg_pool2d": avg_pool2d,
    "batch_norm_train": batch_norm_train,
    "conv2d": conv2d,
    "conv_transpose2d": conv_transpose2d,
    "group_norm": group_norm,
    "instance_norm": group_norm,
    "interpolate": interpolate,
    "l2_normalize": lambda x, a: {"y": normalize.l2_normalize(x["x"], a["eps"])},
    "leaky_relu": lambda x, a: {"y": nn.leaky_relu(x["x"], a["negative_slope"])},
    "local_response_norm": lambda x, a: {
        "y": normalize.local_response_norm(x["x"], a["size"], a["alpha"], a["beta"], a["k"])
    },
    "max_pool2d": max_pool2d,
    "max_unpool2d": max_unpool2d,
    "reflection_pad": reflection_pad,
    "relu6": lambda x, a: {"y": nn.relu6(x["x"])},
}


@pytest.mark.golden
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("file, case", CASES)
def test_layer_equals_torch(file, case, dtype):
    golden = FILES[file]
    meta = golden.meta["cases"][case]
    op = next((op for name, op in OPS.items() if case.startswith(name)), None)
    if op is None:
        pytest.skip(f"no op for {file}.npz's case {case}")
    args = {k: tuple(v) if isinstance(v, list) else v for k, v in meta["args"].items()}
    with jax.enable_x64(dtype is np.float64):
        inputs = {k: _given(golden[array], k, dtype) for k, array in meta["inputs"].items()}
        seed = inputs.pop("grad_weight", None)
        outputs = op(inputs, args)
        found = {k: _back(v, inputs["x"].ndim) for k, v in outputs.items()}
        if seed is not None:
            first = next(iter(outputs))
            gradients = jax.grad(
                lambda inputs: (op(inputs, args)[first] * seed).sum(), allow_int=True
            )(inputs)
            for k, v in gradients.items():
                found[f"grad_{k}"] = _back(v, inputs["x"].ndim) if k == "x" else np.asarray(v)
    for name, info in meta["outputs"].items():
        ours, wanted = found[name], golden[f"{case}/out/{name}"]
        assert list(ours.shape) == info["shape"], name
        ours = subsample(ours, info["stride"])
        wanted = wanted.reshape(-1)
        if wanted.dtype.kind != "f":
            np.testing.assert_array_equal(ours, wanted)
            continue
        largest = np.abs(wanted).max(initial=0)
        coarser = np.float32 if dtype is np.float32 else wanted.dtype
        stored = np.finfo(coarser).eps / 2 * largest
        allowed = 10 * info["float32_max_abs_diff"] if dtype is np.float32 else 1e-9 * largest
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=max(allowed, stored), err_msg=name)


def _given(value, name, dtype):
    """Images and what is like them as NHWC; everything else as it is."""
    if value.dtype.kind == "f":
        value = value.astype(dtype)
    is_image = value.ndim == 4 and name in ("x", "grad_weight")
    return jnp.asarray(value.transpose(IMAGE) if is_image else value)


def _back(value, ndim):
    value = np.asarray(value)
    return value.transpose(0, 3, 1, 2) if value.ndim == ndim == 4 else value
