"""FaceNet: a unified embedding for face recognition (Schroff et al. 2015, arXiv:1503.03832).

Its two networks: NN1, Zeiler and Fergus's with 1x1 convolutions between (Table 1), and NN2, with
Inception modules (Table 2). Endpoints carry the tables' names. Initialisation: He normal over
fan-in.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.models.embedders.embedder import Embedder, EmbeddingHead, embedded
from vision_jax.models.layers import (
    NO_NORM,
    ConvNorm,
    Dense,
    Endpoints,
    Images,
    Keys,
    Layers,
    he_fan_in,
    last_map,
)
from vision_jax.ops.normalize import local_response_norm
from vision_jax.ops.pool import avg_pool, max_pool

# Table 1: names, channels, kernel and stride of the convolutions; a pooling follows those named
# below it, and a normalisation comes after pool1 and before pool2.
NN1: tuple[tuple[str, int, int, int], ...] = (
    ("conv1", 64, 7, 2),
    ("conv2a", 64, 1, 1),
    ("conv2", 192, 3, 1),
    ("conv3a", 192, 1, 1),
    ("conv3", 384, 3, 1),
    ("conv4a", 384, 1, 1),
    ("conv4", 256, 3, 1),
    ("conv5a", 256, 1, 1),
    ("conv5", 256, 3, 1),
    ("conv6a", 256, 1, 1),
    ("conv6", 256, 3, 1),
)
POOLS = ("conv1", "conv2", "conv3", "conv6")  # 3x3 at stride 2 follows


class Row(NamedTuple):
    """A row of Table 2: channels of a module's convolutions; 0 for a branch that is not there.

    Fields:
      conv1x1, reduce3x3, conv3x3, reduce5x5, conv5x5, pool_proj: channels; without `pool_proj` the
        pooled input joins as it is.
      pool: 'max' or 'l2'.
      stride: of the last layers of all branches.
    """

    conv1x1: int
    reduce3x3: int
    conv3x3: int
    reduce5x5: int
    conv5x5: int
    pool_proj: int
    pool: str = "l2"
    stride: int = 1


NN2: dict[str, Row] = {
    "inception3a": Row(64, 96, 128, 16, 32, 32, "max"),
    "inception3b": Row(64, 96, 128, 32, 64, 64),
    "inception3c": Row(0, 128, 256, 32, 64, 0, "max", 2),
    "inception4a": Row(256, 96, 192, 32, 64, 128),
    "inception4b": Row(224, 112, 224, 32, 64, 128),
    "inception4c": Row(192, 128, 256, 32, 64, 128),
    "inception4d": Row(160, 144, 288, 32, 64, 128),
    "inception4e": Row(0, 160, 256, 64, 128, 0, "max", 2),
    "inception5a": Row(384, 192, 384, 48, 128, 128),
    "inception5b": Row(384, 192, 384, 48, 128, 128, "max"),
}


class NN1Backbone(nn.Module):
    """The backbone of Table 1, up to pool4.

    Fields:
      multiplier: thins every layer; 1 is the published network.
      layers: how layers normalise (the paper: by neighbouring channels alone) and compute.
    """

    multiplier: float = 1.0
    layers: Layers = NO_NORM

    @nn.compact
    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Finds the endpoints (b, h / stride, w / stride, c); see `Classifier` for arguments."""
        conv = functools.partial(ConvNorm, kernel_init=he_fan_in, layers=self.layers)
        x, endpoints = images, {}
        for name, features, kernel, stride in NN1:
            size = kernel, stride, kernel // 2
            x = conv(round(features * self.multiplier), *size, name=name)(x, train=train)
            endpoints[name] = x
            if name == "conv2":
                x = local_response_norm(x)
            if name in POOLS:
                x = max_pool(x, 3, 2, 1)
            if name == "conv1":
                x = local_response_norm(x)
        return {**endpoints, "pool4": x}

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        strides, stride = {}, 1
        for name, _, _, step in NN1:
            stride *= step
            strides[name] = stride
            stride *= 2 if name in POOLS else 1
        return {**strides, "pool4": stride}


class MaxoutHead(nn.Module):
    """NN1's head: two fully connected layers of the maximum of two, and the embedding's `fc`.

    See `EmbeddingHead` for what it returns.

    Fields:
      features: of the embedding.
      hidden: widths of `fc1` and `fc2`.
      num_classes: see `EmbeddingHead`.
      layers: settings; the head has no norm.
    """

    features: int = 128
    hidden: tuple[int, ...] = (4096, 4096)
    num_classes: int = 0
    layers: Layers = NO_NORM

    @nn.compact
    def __call__(
        self, endpoints: Endpoints, *, train: bool = False, keys: Keys = None
    ) -> dict[str, Float[Array, "b _"]]:
        """Embeds the backbone's last endpoint."""
        x = last_map(endpoints)
        x = x.reshape(len(x), -1)
        settings = {"kernel_init": he_fan_in, "layers": self.layers}
        for i, width in enumerate(self.hidden, start=1):
            pieces = Dense(2 * width, **settings, name=f"fc{i}")(x)
            x = pieces.reshape(len(x), width, 2).max(-1)
        features = Dense(self.features, layers=self.layers, name="fc")(x)
        return embedded(features, self.num_classes, self.layers)


class NN2Backbone(nn.Module):
    """The backbone of Table 2, up to inception5b.

    Fields:
      multiplier: thins every layer; 1 is the published network.
      layers: how layers normalise and compute; with norm 'none' there is the paper's normalisation
        by neighbouring channels alone.
    """

    multiplier: float = 1.0
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Finds the endpoints (b, h / stride, w / stride, c); see `Classifier` for arguments."""
        conv = functools.partial(ConvNorm, kernel_init=he_fan_in, layers=self.layers)
        widths = [round(n * self.multiplier) for n in (64, 64, 192)]
        x = conv(widths[0], 7, 2, 3, name="conv1")(images, train=train)
        endpoints = {"conv1": x}
        x = local_response_norm(max_pool(x, 3, 2, 1))
        x = conv(widths[1], name="conv2a")(x, train=train)
        x = conv(widths[2], 3, 1, 1, name="conv2")(x, train=train)
        endpoints["conv2"] = x
        x = max_pool(local_response_norm(x), 3, 2, 1)
        for name, row in NN2.items():
            x = Inception(row, self.multiplier, self.layers, name=name)(x, train=train)
            endpoints[name] = x
        return endpoints

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        strides, stride = {"conv1": 2, "conv2": 4}, 8
        for name, row in NN2.items():
            stride *= row.stride
            strides[name] = stride
        return strides


class Inception(nn.Module):
    """A module of Table 2: up to four branches side by side, whose channels are joined.

    Fields:
      row: of the table.
      multiplier, layers: see `NN2Backbone`.
    """

    row: Row
    multiplier: float = 1.0
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Images, *, train: bool = False) -> Float[Array, "b ho wo o"]:
        row = self.row

        def conv(x, name, kernel=1, stride=1):
            features = round(row._asdict()[name] * self.multiplier)
            size = kernel, stride, kernel // 2
            settings = {"kernel_init": he_fan_in, "layers": self.layers, "name": name}
            return ConvNorm(features, *size, **settings)(x, train=train)

        branches = [conv(x, "conv1x1")] if row.conv1x1 else []
        for kernel in (3, 5):
            y = conv(x, f"reduce{kernel}x{kernel}")
            branches.append(conv(y, f"conv{kernel}x{kernel}", kernel, row.stride))
        if row.pool == "max":
            pooled = max_pool(x, 3, row.stride, 1)
        else:
            # The root of the sum of squares in the window; its slope at 0 is infinite.
            pooled = jnp.sqrt(9 * avg_pool(x * x, 3, row.stride, 1) + 1e-12)
        branches.append(conv(pooled, "pool_proj") if row.pool_proj else pooled)
        return jnp.concatenate(branches, -1)


def FaceNetNN1(
    features: int = 128,
    multiplier: float = 1.0,
    hidden: tuple[int, ...] = (4096, 4096),
    num_classes: int = 0,
    layers: Layers = NO_NORM,
) -> Embedder:
    """Makes NN1, for 220x220 images: 140 million parameters; see `NN1Backbone`, `MaxoutHead`."""
    head = MaxoutHead(features, hidden, num_classes, layers)
    return Embedder(NN1Backbone(multiplier, layers), head)


def FaceNetNN2(
    features: int = 128,
    multiplier: float = 1.0,
    num_classes: int = 0,
    layers: Layers = Layers(),
) -> Embedder:
    """Makes NN2, for 224x224 images: 7.5 million parameters; see `NN2Backbone`."""
    head = EmbeddingHead(features, num_classes, layers=layers)
    return Embedder(NN2Backbone(multiplier, layers), head)
