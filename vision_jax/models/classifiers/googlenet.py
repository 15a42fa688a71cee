"""Going Deeper with Convolutions (Szegedy et al. 2014, arXiv:1409.4842).

Endpoints: conv1, conv3 (the paper's "convolution" rows), inception3a to inception5b (Table 1).
Initialisation: He normal over fan-out; without norm over fan-in, since the reductions' few outputs
would make activations grow from module to module.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from vision_jax.models.classifiers.classifier import HEAD_LAYER, Classifier, last_map
from vision_jax.models.layers.blocks import (
    ConvNorm,
    Dense,
    Dropout,
    Norm,
    channelwise,
    he_fan_in,
    he_fan_out,
)
from vision_jax.ops.normalize import local_response_norm
from vision_jax.ops.pool import adaptive_avg_pool, global_avg_pool, max_pool

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
EPS = 1e-3  # of batch normalisation, which torchvision added


class Widths(NamedTuple):
    """One row of Table 1: the channels of a module's convolutions."""

    conv1x1: int
    reduce3x3: int
    conv3x3: int
    reduce5x5: int
    conv5x5: int
    pool_proj: int


TABLE = {
    "inception3a": Widths(64, 96, 128, 16, 32, 32),
    "inception3b": Widths(128, 128, 192, 32, 96, 64),
    "inception4a": Widths(192, 96, 208, 16, 48, 64),
    "inception4b": Widths(160, 112, 224, 24, 64, 64),
    "inception4c": Widths(128, 128, 256, 24, 64, 64),
    "inception4d": Widths(112, 144, 288, 32, 64, 64),
    "inception4e": Widths(256, 160, 320, 32, 128, 128),
    "inception5a": Widths(256, 160, 320, 32, 128, 128),
    "inception5b": Widths(384, 192, 384, 48, 128, 128),
}
AUXILIARY = {"aux1": "inception4a", "aux2": "inception4d"}


class Inception(nn.Module):
    """Four branches side by side (Figure 2), whose channels are joined.

    Fields:
      widths: channels.
      naive: no 1x1 reductions, and the pooled input joins as it is (Figure 2a).
      kernel: of the branch that the paper calls 5x5; torchvision's is 3.
      norm: see `blocks.norm`.
      dtype: compute dtype.
    """

    widths: Widths
    naive: bool = False
    kernel: int = 3
    norm: Norm = "sync"
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b h w o"]:
        conv = _convolution(self.norm, self.dtype)
        w, k = self.widths, self.kernel

        def reduced(width, name):
            return x if self.naive else conv(width, name=name)(x, train)

        branches = [
            conv(w.conv1x1, name="conv1x1")(x, train),
            conv(w.conv3x3, 3, 1, 1, name="conv3x3")(reduced(w.reduce3x3, "reduce3x3"), train),
            conv(w.conv5x5, k, 1, k // 2, name="conv5x5")(reduced(w.reduce5x5, "reduce5x5"), train),
        ]
        with jax.named_scope("pool"):
            pooled = max_pool(x, 3, 1, 1)
        if not self.naive:
            pooled = conv(w.pool_proj, name="pool_proj")(pooled, train)
        return jnp.concatenate([*branches, pooled.astype(branches[0].dtype)], axis=-1)


class GoogLeNetBackbone(nn.Module):
    """Up to inception5b.

    Fields:
      naive, kernel: see `Inception`.
      lrn: local response normalisation around the second convolution (the paper; not torchvision).
      lrn_k: see `local_response_norm`; the paper gives none, Caffe has 1.
      last_pool: window of the pooling before inception5a; the paper's is 3, torchvision's 2.
      transform_input: the image is normalised by ImageNet's statistics; renormalise it to
        (x - 0.5) / 0.5, as torchvision's published weights need.
      norm: see `blocks.norm`.
      dtype: compute dtype.
      modules: rows of Table 1, in order, for smaller networks; the heads read inception4a and
        inception4d, and pooling comes before inception4a and inception5a.
    """

    naive: bool = False
    kernel: int = 3
    lrn: bool = False
    lrn_k: float = 1.0
    last_pool: int = 2
    transform_input: bool = False
    norm: Norm = "sync"
    dtype: str = "float32"
    modules: tuple[str, ...] = tuple(TABLE)

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b h w c"],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> dict[str, Array]:
        """Endpoints; see `Classifier` for the arguments."""
        conv = _convolution(self.norm, self.dtype)
        x = to_half_range(image) if self.transform_input else image
        x = conv(64, 7, 2, 3, name="conv1")(x, train)
        endpoints = {"conv1": x}
        x = _pool(x, "pool1")
        x = local_response_norm(x, k=self.lrn_k) if self.lrn else x
        x = conv(64, name="conv2")(x, train)
        x = conv(192, 3, 1, 1, name="conv3")(x, train)
        endpoints["conv3"] = x
        x = local_response_norm(x, k=self.lrn_k) if self.lrn else x
        x = _pool(x, "pool2")
        for name in self.modules:
            if name == "inception4a":
                x = _pool(x, "pool3")
            if name == "inception5a":
                x = _pool(x, "pool4", self.last_pool)
            module = Inception(
                TABLE[name], self.naive, self.kernel, self.norm, self.dtype, name=name
            )
            x = module(x, train)
            endpoints[name] = x
        return endpoints

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        return {"conv1": 2, "conv3": 4} | {
            name: 2 ** int(name[len("inception")]) for name in self.modules
        }


class Auxiliary(nn.Module):
    """An auxiliary classifier (section 5): 4x4 averages, a 1x1 convolution, two linear layers."""

    num_classes: int
    dropout: float = 0.7
    layer: int = 0
    norm: Norm = "sync"
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> Float[Array, "b k"]:
        x = adaptive_avg_pool(x, 4)
        x = _convolution(self.norm, self.dtype)(128, name="conv")(x, train)
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(Dense(1024, dtype=self.dtype, name="fc1")(x))
        x = Dropout(self.dropout, self.layer)(x, train, keys)
        return Dense(self.num_classes, dtype=self.dtype, name="fc2")(x)


class GoogLeNetHead(nn.Module):
    """Global average, dropout, `fc`; `aux_logits` from inception4a and inception4d with `aux`."""

    num_classes: int = 1000
    aux: bool = True
    dropout: float = 0.2
    aux_dropout: float = 0.7
    norm: Norm = "sync"
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        endpoints: dict[str, Array | tuple[Array, ...]],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> dict[str, Array | tuple[Array, ...]]:
        features = global_avg_pool(last_map(endpoints))
        x = Dropout(self.dropout, HEAD_LAYER)(features, train, keys)
        logits = Dense(self.num_classes, dtype=self.dtype, name="fc")(x)
        outputs = {"features": features, "logits": logits}
        if not self.aux:
            return outputs
        aux = []
        for i, (name, endpoint) in enumerate(AUXILIARY.items(), start=1):
            head = Auxiliary(
                self.num_classes,
                self.aux_dropout,
                HEAD_LAYER + i,
                self.norm,
                self.dtype,
                name=name,
            )
            aux.append(head(endpoints[endpoint], train, keys))
        return {**outputs, "aux_logits": tuple(aux)}


def GoogLeNet(
    num_classes: int = 1000,
    aux: bool = True,
    naive: bool = False,
    transform_input: bool = False,
    dropout: float = 0.2,
    norm: Norm = "sync",
    dtype: str = "float32",
) -> Classifier:
    """torchvision's form: batch normalisation, 3x3 for the paper's 5x5, 2x2 for its last pooling.

    The loss is main + 0.3 (aux1 + aux2).
    """
    backbone = GoogLeNetBackbone(
        naive=naive, transform_input=transform_input, norm=norm, dtype=dtype
    )
    return Classifier(backbone, GoogLeNetHead(num_classes, aux, dropout, norm=norm, dtype=dtype))


def GoogLeNet2014(
    num_classes: int = 1000,
    aux: bool = True,
    naive: bool = False,
    lrn: bool = True,
    dropout: float = 0.4,
    norm: Norm = "none",
    dtype: str = "float32",
) -> Classifier:
    """The paper's form: real 5x5, response normalisation, 3x3 pooling everywhere, biases."""
    backbone = GoogLeNetBackbone(naive, kernel=5, lrn=lrn, last_pool=3, norm=norm, dtype=dtype)
    return Classifier(backbone, GoogLeNetHead(num_classes, aux, dropout, norm=norm, dtype=dtype))


def to_half_range(image: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """From ImageNet's mean and deviation to mean 0.5 and deviation 0.5."""
    mean, deviation = (jnp.asarray(v, image.dtype) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return image * channelwise(deviation / 0.5) + channelwise((mean - 0.5) / 0.5)


def _convolution(norm: Norm, dtype: str) -> functools.partial:
    start = he_fan_in if norm == "none" else he_fan_out
    return functools.partial(ConvNorm, norm=norm, eps=EPS, dtype=dtype, kernel_init=start)


def _pool(x, name, window=3):
    with jax.named_scope(name):
        return max_pool(x, window, 2, ceil_mode=True)
