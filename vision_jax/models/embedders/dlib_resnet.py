"""dlib's residual network of faces, which reads 150x150 pixels and makes 128 numbers.

No paper: Davis King's `dlib_face_recognition_resnet_model_v1` (2017), a ResNet-34 with half the
channels and few layers less, as face-api repeats it. Blocks of two 3x3 convolutions; those that
halve a map stride without padding, beside the mean of every 2x2 pixels, to whose channels zeros are
added. Where the branch is a row and a column smaller, zeros follow it. Endpoints: `conv1`, `conv2`
to `conv5`, and `conv6`, a last halving. Initialisation: He normal over fan-in.

Its makers compare `features` as they are, not `embedding`, which has length 1: two faces are of one
person below a distance of 0.6.
"""

import functools

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array

from vision_jax.models.embedders.embedder import Embedder, EmbeddingHead
from vision_jax.models.layers import ConvNorm, Endpoints, Images, Keys, Layers, he_fan_in
from vision_jax.ops.pool import avg_pool, max_pool

# Of conv2 to conv6: channels, and blocks, the first of which halves the map but in conv2.
STAGES = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))


class DlibBlock(nn.Module):
    """Two convolutions, `conv1` and `conv2`, beside the input or its means.

    Fields:
      features: channels, no fewer than the input's.
      halved: whether the map is halved.
      layers: how layers normalise and compute.
    """

    features: int
    halved: bool = False
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Images, *, train: bool = False) -> Array:
        """Computes the block's map (b, h', w', features); h' = h or h // 2."""
        conv = functools.partial(
            ConvNorm, self.features, 3, kernel_init=he_fan_in, layers=self.layers
        )
        stride, padding = (2, 0) if self.halved else (1, 1)
        y = conv(stride=stride, padding=padding, name="conv1")(x, train=train)
        y = conv(padding=1, act=None, name="conv2")(y, train=train)
        x = avg_pool(x, 2) if self.halved else x
        rows, columns = (x.shape[axis] - y.shape[axis] for axis in (1, 2))
        y = jnp.pad(y, ((0, 0), (0, rows), (0, columns), (0, 0)))
        return nn.relu(y + jnp.pad(x, ((0, 0),) * 3 + ((0, self.features - x.shape[-1]),)))


class DlibResNetBackbone(nn.Module):
    """The convolutions; parameters `conv1` and `conv{stage}_{block}`.

    Fields:
      stages: channels and blocks of conv2 to conv6.
      layers: how layers normalise and compute.
    """

    stages: tuple[tuple[int, int], ...] = STAGES
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Finds the endpoints; see `Classifier` for arguments."""
        stem = ConvNorm(
            self.stages[0][0], 7, 2, kernel_init=he_fan_in, layers=self.layers, name="conv1"
        )
        x = stem(images, train=train)
        endpoints = {"conv1": x}
        x = max_pool(x, 3, 2)
        for number, (features, blocks) in enumerate(self.stages, start=2):
            for k in range(1, blocks + 1):
                halved = number > 2 and k == 1
                block = DlibBlock(features, halved, self.layers, name=f"conv{number}_{k}")
                x = block(x, train=train)
            endpoints[f"conv{number}"] = x
        return endpoints

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        return {f"conv{number}": 2**number for number in range(1, len(self.stages) + 2)}


def DlibResNet(
    features: int = 128,
    num_classes: int = 0,
    stages: tuple[tuple[int, int], ...] = STAGES,
    layers: Layers = Layers(),
) -> Embedder:
    """Makes dlib's network of faces, with `num_classes` training identities.

    `layers=NO_NORM` takes published weights, whose norms are folded.
    """
    head = EmbeddingHead(features, num_classes, use_bias=False, layers=layers)
    return Embedder(DlibResNetBackbone(stages, layers), head)
