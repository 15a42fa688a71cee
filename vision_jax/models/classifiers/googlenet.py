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
from jaxtyping import Array, Float

from vision_jax.models.classifiers.classifier import Classifier
from vision_jax.models.layers import (
    HEAD_LAYER,
    NO_NORM,
    ConvNorm,
    Dense,
    Dropout,
    Endpoints,
    Images,
    Keys,
    Layers,
    channelwise,
    he_fan_in,
    he_fan_out,
    last_map,
)
from vision_jax.ops.normalize import local_response_norm
from vision_jax.ops.pool import adaptive_avg_pool, global_avg_pool, max_pool

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
BATCH_NORM = Layers(eps=1e-3)  # which torchvision added


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
    """An Inception module: four branches side by side (Figure 2), whose channels are joined.

    Fields:
      widths: channels.
      naive: no 1x1 reductions, and the pooled input joins as it is (Figure 2a).
      kernel: of the branch that the paper calls 5x5; torchvision's is 3.
      layers: how layers normalise and compute.
    """

    widths: Widths
    naive: bool = False
    kernel: int = 3
    layers: Layers = BATCH_NORM

    @nn.compact
    def __call__(self, x: Images, *, train: bool = False) -> Float[Array, "b h w o"]:
        w = self.widths

        def conv(x, name, features, kernel=1):
            layer = _convolution(self.layers)(features, kernel, padding=kernel // 2, name=name)
            return layer(x, train=train)

        def reduced(name, features):
            return x if self.naive else conv(x, name, features)

        branches = [
            conv(x, "conv1x1", w.conv1x1),
            conv(reduced("reduce3x3", w.reduce3x3), "conv3x3", w.conv3x3, 3),
            conv(reduced("reduce5x5", w.reduce5x5), "conv5x5", w.conv5x5, self.kernel),
        ]
        with jax.named_scope("pool"):
            pooled = max_pool(x, 3, 1, 1)
        if not self.naive:
            pooled = conv(pooled, "pool_proj", w.pool_proj)
        return jnp.concatenate([*branches, pooled.astype(branches[0].dtype)], axis=-1)


class GoogLeNetBackbone(nn.Module):
    """GoogLeNet's backbone: two plain convolutions, then the Inception modules of Table 1.

    Fields:
      naive, kernel: see `Inception`.
      lrn: local response normalisation around the second convolution (the paper; not torchvision).
      lrn_k: see `local_response_norm`; the paper gives none, Caffe has 1.
      last_pool: window of the pooling before inception5a; the paper's is 3, torchvision's 2.
      transform_input: the image is normalised by ImageNet's statistics; renormalise it to
        (x - 0.5) / 0.5, as torchvision's published weights need.
      modules: rows of Table 1, in order, for smaller networks; the heads read inception4a and
        inception4d, and pooling comes before inception4a and inception5a.
      layers: how layers normalise and compute.
    """

    naive: bool = False
    kernel: int = 3
    lrn: bool = False
    lrn_k: float = 1.0
    last_pool: int = 2
    transform_input: bool = False
    modules: tuple[str, ...] = tuple(TABLE)
    layers: Layers = BATCH_NORM

    @nn.compact
    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Finds the endpoints (b, h / stride, w / stride, c); see `Classifier` for arguments."""
        conv = _convolution(self.layers)
        x = to_half_range(images) if self.transform_input else images
        x = conv(64, 7, 2, 3, name="conv1")(x, train=train)
        endpoints = {"conv1": x}
        x = _pool(x, "pool1")
        x = local_response_norm(x, k=self.lrn_k) if self.lrn else x
        x = conv(64, name="conv2")(x, train=train)
        x = conv(192, 3, 1, 1, name="conv3")(x, train=train)
        endpoints["conv3"] = x
        x = local_response_norm(x, k=self.lrn_k) if self.lrn else x
        x = _pool(x, "pool2")
        for name in self.modules:
            if name == "inception4a":
                x = _pool(x, "pool3")
            if name == "inception5a":
                x = _pool(x, "pool4", self.last_pool)
            module = Inception(TABLE[name], self.naive, self.kernel, self.layers, name=name)
            x = endpoints[name] = module(x, train=train)
        return endpoints

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        return {"conv1": 2, "conv3": 4} | {
            name: 2 ** int(name[len("inception")]) for name in self.modules
        }


class Auxiliary(nn.Module):
    """An auxiliary head (section 5): 4x4 averages, a 1x1 convolution, two linear layers."""

    num_classes: int
    dropout: float = 0.7
    layer: int = 0
    layers: Layers = BATCH_NORM

    @nn.compact
    def __call__(self, x: Images, *, train: bool = False, keys: Keys = None) -> Float[Array, "b k"]:
        x = adaptive_avg_pool(x, 4)
        x = _convolution(self.layers)(128, name="conv")(x, train=train)
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(Dense(1024, layers=self.layers, name="fc1")(x))
        x = Dropout(self.dropout, self.layer)(x, train=train, keys=keys)
        return Dense(self.num_classes, layers=self.layers, name="fc2")(x)


class GoogLeNetHead(nn.Module):
    """GoogLeNet's head: global average, dropout and the linear layer `fc`.

    With `aux` it also gives `aux_logits`, a tuple of two, from inception4a and inception4d.
    """

    num_classes: int = 1000
    aux: bool = True
    dropout: float = 0.2
    aux_dropout: float = 0.7
    layers: Layers = BATCH_NORM

    @nn.compact
    def __call__(
        self, endpoints: Endpoints, *, train: bool = False, keys: Keys = None
    ) -> Endpoints:
        """Classifies the backbone's last endpoint."""
        features = global_avg_pool(last_map(endpoints))
        x = Dropout(self.dropout, HEAD_LAYER)(features, train=train, keys=keys)
        logits = Dense(self.num_classes, layers=self.layers, name="fc")(x)
        outputs = {"features": features, "logits": logits}
        if not self.aux:
            return outputs
        aux = []
        for i, (name, endpoint) in enumerate(AUXILIARY.items(), start=1):
            drop = self.aux_dropout, HEAD_LAYER + i
            head = Auxiliary(self.num_classes, *drop, self.layers, name=name)
            aux.append(head(endpoints[endpoint], train=train, keys=keys))
        return {**outputs, "aux_logits": tuple(aux)}


def GoogLeNet(
    num_classes: int = 1000,
    aux: bool = True,
    naive: bool = False,
    transform_input: bool = False,
    dropout: float = 0.2,
    layers: Layers = BATCH_NORM,
) -> Classifier:
    """Makes torchvision's form: batch norm, 3x3 for the paper's 5x5, 2x2 for its last pooling.

    The loss is main + 0.3 (aux1 + aux2).
    """
    backbone = GoogLeNetBackbone(naive, transform_input=transform_input, layers=layers)
    return Classifier(backbone, GoogLeNetHead(num_classes, aux, dropout, layers=layers))


def GoogLeNet2014(
    num_classes: int = 1000,
    aux: bool = True,
    naive: bool = False,
    lrn: bool = True,
    dropout: float = 0.4,
    layers: Layers = NO_NORM,
) -> Classifier:
    """Makes the paper's form: real 5x5, response normalisation, 3x3 pooling everywhere, biases."""
    backbone = GoogLeNetBackbone(naive, kernel=5, lrn=lrn, last_pool=3, layers=layers)
    return Classifier(backbone, GoogLeNetHead(num_classes, aux, dropout, layers=layers))


def to_half_range(images: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """Renormalises images from ImageNet's mean and deviation to mean 0.5 and deviation 0.5."""
    mean, deviation = (jnp.asarray(v, images.dtype) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return images * channelwise(deviation / 0.5) + channelwise((mean - 0.5) / 0.5)


def _convolution(layers: Layers) -> functools.partial:
    start = he_fan_in if layers.norm == "none" else he_fan_out
    return functools.partial(ConvNorm, layers=layers, kernel_init=start)


def _pool(x, name, window=3):
    with jax.named_scope(name):
        return max_pool(x, window, 2, ceil_mode=True)
