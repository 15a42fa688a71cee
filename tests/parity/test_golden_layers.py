"""Layers, pooling, convolutions and resizing against stored outputs and gradients of torch.

As near as `golden_compare` says. Every case of the files is run.
"""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tests.golden.seeded import Golden
from tests.parity.golden_compare import compare
from vision_jax import ops
from vision_jax.models.layers import BatchNorm, GroupNorm, Layers, channelwise

FOLDER = Path(os.environ.get("VISION_JAX_GOLDENS", Path(__file__).parents[1] / "golden")) / "ops"
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
    y = ops.conv2d(
        x["x"],
        _weight(x["weight"]),
        a.get("stride", 1),
        a.get("padding", 0),
        a.get("dilation", 1),
        a.get("groups", 1),
    )
    return {"y": y + channelwise(x["bias"]) if "bias" in x else y}


def conv_transpose2d(x, a):
    y = ops.conv_transpose2d(
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
    y = ops.max_pool(
        x["x"], a["kernel_size"], a["stride"], a.get("padding", 0), a.get("ceil_mode", False)
    )
    return {"y": y}


def avg_pool2d(x, a):
    y = ops.avg_pool(
        x["x"],
        a["kernel_size"],
        a["stride"],
        a.get("padding", 0),
        a.get("ceil_mode", False),
        a.get("count_include_pad", True),
    )
    return {"y": y}


def max_unpool2d(x, a):
    y, indices = ops.max_pool_indices(x["x"], a["kernel"], a["stride"], a["padding"])
    return {"unpooled": ops.upsample.max_unpool(y, indices, x["x"].shape[1:3]), "indices": indices}


def batch_norm_train(x, a):
    variables = {
        "params": {"scale": x["weight"], "bias": x["bias"]},
        "batch_stats": {"mean": x["mean"], "var": x["var"]},
    }
    layer = BatchNorm(layers=Layers(momentum=1 - a["momentum"], eps=a["eps"]))
    y, new = layer.apply(variables, x["x"], train=True, mutable=["batch_stats"])
    return {
        "y": y,
        "running_mean": new["batch_stats"]["mean"],
        "running_var": new["batch_stats"]["var"],
    }


def group_norm(x, a):
    """Computes group norm; instance norm is that with as many groups as channels."""
    layer = GroupNorm(a.get("groups", x["x"].shape[-1]), layers=Layers(eps=a["eps"]))
    variables = {"params": {"scale": x["weight"], "bias": x["bias"]}}
    return {"y": layer.apply(variables, x["x"])}


def interpolate(x, a):
    n, m = x["x"].shape[1:3]
    scale = a.get("scale_factor")
    size = a.get("size") or (int(n * scale), int(m * scale))
    y = ops.resize(
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


def layer_norm(x, a):
    """Normalises, as torch, the last axis of NCHW, which is the columns."""
    y = ops.layer_norm(jnp.swapaxes(x["x"], 2, 3), x["weight"], x["bias"], a["eps"])
    return {"y": jnp.swapaxes(y, 2, 3)}


def lstm(x, a):
    bias = x["bias_ih_l0"] + x["bias_hh_l0"]
    y, (h, c) = ops.lstm(x["x"], x["weight_ih_l0"].T, x["weight_hh_l0"].T, bias)
    return {"y": y, "h": h[None], "c": c[None]}


def gru(x, a):
    kernels = x["weight_ih_l0"].T, x["weight_hh_l0"].T
    y, h = ops.gru(x["x"], *kernels, x["bias_ih_l0"], x["bias_hh_l0"])
    return {"y": y, "h": h[None]}


def multihead_attention(x, a):
    size = x["query"].shape[-1]
    kernels = [*x["in_proj_weight"].reshape(3, size, size), x["out_weight"]]
    biases = jnp.stack([*x["in_proj_bias"].reshape(3, size), x["out_bias"]])
    y, weights = ops.multi_head_attention(
        x["query"],
        x["key"],
        x["value"],
        2,
        jnp.stack([kernel.T for kernel in kernels]),
        biases,
        x["mask"] == 0,
    )
    return {"y": y, "attention": weights}


# By the beginning of the case's name, the longest first.
OPS = {
    "adaptive_avg_pool2d": lambda x, a: {"y": ops.adaptive_avg_pool(x["x"], a["output_size"])},
    "adaptive_max_pool2d": lambda x, a: {"y": ops.adaptive_max_pool(x["x"], a["output_size"])},
    "avg_pool2d": avg_pool2d,
    "batch_norm_train": batch_norm_train,
    "conv2d": conv2d,
    "conv_transpose2d": conv_transpose2d,
    "gram_matrix": lambda x, a: {"y": ops.gram_matrix(x["x"])},
    "group_norm": group_norm,
    "gru": gru,
    "instance_norm": group_norm,
    "interpolate": interpolate,
    "l2_normalize": lambda x, a: {"y": ops.l2_normalize(x["x"], a["eps"])},
    "layer_norm": layer_norm,
    "leaky_relu": lambda x, a: {"y": nn.leaky_relu(x["x"], a["negative_slope"])},
    "local_response_norm": lambda x, a: {
        "y": ops.local_response_norm(x["x"], a["size"], a["alpha"], a["beta"], a["k"])
    },
    "lstm": lstm,
    "max_pool2d": max_pool2d,
    "max_unpool2d": max_unpool2d,
    "multihead_attention": multihead_attention,
    "pixel_shuffle": lambda x, a: {"y": ops.pixel_shuffle(x["x"], a["upscale_factor"])},
    "prelu": lambda x, a: {"y": ops.prelu(x["x"], x["weight"])},
    "reflection_pad": reflection_pad,
    "relu6": lambda x, a: {"y": nn.relu6(x["x"])},
    "total_variation": lambda x, a: {"y": ops.total_variation(x["x"]).mean()},
}


@pytest.mark.golden
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("file, case", CASES)
def test_layer_equals_torch(file, case, dtype):
    golden = FILES[file]
    meta = golden.meta["cases"][case]
    op = next(op for name, op in OPS.items() if case.startswith(name))
    args = {k: tuple(v) if isinstance(v, list) else v for k, v in meta["args"].items()}
    with jax.enable_x64(dtype is np.float64):
        inputs = {k: _given(golden[array], k, dtype) for k, array in meta["inputs"].items()}
        rank = inputs["x"].ndim if "x" in inputs else 0
        seed = inputs.pop("grad_weight", 1)  # a number is differentiated itself
        outputs = op(inputs, args)
        found = {k: _back(v, rank) for k, v in outputs.items()}
        if any(name.startswith("grad_") for name in meta["outputs"]):
            first = next(iter(outputs))
            gradients = jax.grad(
                lambda inputs: (op(inputs, args)[first] * seed).sum(), allow_int=True
            )(inputs)
            for k, v in gradients.items():
                found[f"grad_{k}"] = _back(v, rank) if k == "x" else np.asarray(v)
    for name in meta["outputs"]:
        compare(found[name], golden, case, name, dtype)


def _given(value, name, dtype):
    """Returns images and arrays like them as NHWC; everything else as it is."""
    if value.dtype.kind == "f":
        value = value.astype(dtype)
    is_image = value.ndim == 4 and name in ("x", "grad_weight")
    return jnp.asarray(value.transpose(IMAGE) if is_image else value)


def _back(value, ndim):
    value = np.asarray(value)
    return value.transpose(0, 3, 1, 2) if value.ndim == ndim == 4 else value
