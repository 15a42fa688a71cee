"""Networks as Caffe's `.prototxt` files describe them, run by our operations.

Only the kinds of layers of the one network that is tested; maps are (b, h, w, c).
"""

import re

import jax.numpy as jnp
from flax import linen as nn

from vision_jax.ops.conv import conv2d
from vision_jax.ops.normalize import l2_normalize
from vision_jax.ops.pool import max_pool

_TOKEN = re.compile(r'(\w+)\s*(?::\s*("[^"]*"|[^\s{}]+)|(\{))|(\})')


def parse(text):
    """Returns the fields of a message: lists by name, of texts and of messages."""
    stack = [{}]
    for name, value, opens, closes in _TOKEN.findall(text):
        if closes:
            stack.pop()
        elif opens:
            message = {}
            stack[-1].setdefault(name, []).append(message)
            stack.append(message)
        else:
            stack[-1].setdefault(name, []).append(value.strip('"'))
    return stack[0]


class Network:
    """A function of arrays by name, as the file of weights has them, and of images."""

    def __init__(self, text):
        self.layers = parse(text)["layer"]

    def __call__(self, state, images):
        maps = {"data": images}
        for layer in self.layers:
            inputs = [maps[name] for name in layer["bottom"] if name in maps]
            run = _KINDS.get(layer["type"][0])
            if run is not None and inputs:  # the boxes' layers are left out
                maps[layer["top"][0]] = run(layer, state, *inputs)
        return maps


def _number(layer, part, field, default):
    return int(layer.get(part, [{}])[0].get(field, [default])[0])


def _each(values):
    """Returns one value per channel, or one for all, so that maps can be multiplied by them."""
    return jnp.reshape(jnp.asarray(values), (1, 1, 1, -1))


def _convolution(layer, state, x):
    name = layer["name"][0]
    options = {
        field: _number(layer, "convolution_param", field, default)
        for field, default in (("stride", 1), ("pad", 0), ("dilation", 1))
    }
    kernel = state[f"{name}.weight"].transpose(2, 3, 1, 0)
    y = conv2d(x, jnp.asarray(kernel), options["stride"], options["pad"], options["dilation"])
    return y + _each(state[f"{name}.bias"]) if f"{name}.bias" in state else y


def _batch_norm(layer, state, x):
    name = layer["name"][0]
    mean, var, count = (_each(state[f"{name}.{part}"]) for part in ("weight", "bias", "2"))
    return (x - mean / count) / jnp.sqrt(var / count + 1e-5)


def _scale(layer, state, x):
    name = layer["name"][0]
    return x * _each(state[f"{name}.weight"]) + _each(state[f"{name}.bias"])


def _pooling(layer, state, x):
    sizes = (_number(layer, "pooling_param", field, 0) for field in ("kernel_size", "stride"))
    return max_pool(x, *sizes, ceil_mode=True)


def _normalize(layer, state, x):
    return l2_normalize(x) * _each(state[f"{layer['name'][0]}.weight"])


def _reshape(layer, state, x):
    dims = [int(n) for n in layer["reshape_param"][0]["shape"][0]["dim"]]
    return x.reshape([n or x.shape[axis] for axis, n in enumerate(dims)])


_KINDS = {
    "Convolution": _convolution,
    "BatchNorm": _batch_norm,
    "Scale": _scale,
    "ReLU": lambda layer, state, x: nn.relu(x),
    "Pooling": _pooling,
    "Eltwise": lambda layer, state, x, y: x + y,
    "Normalize": _normalize,
    "Permute": lambda layer, state, x: x,  # to where our channels are
    "Flatten": lambda layer, state, x: x.reshape(len(x), -1),
    "Reshape": _reshape,
    "Softmax": lambda layer, state, x: nn.softmax(x),
    "Concat": lambda layer, state, *maps: jnp.concatenate(maps, -1),
}
