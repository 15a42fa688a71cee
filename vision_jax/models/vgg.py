"""Very Deep Convolutional Networks (Simonyan & Zisserman 2014, arXiv:1409.1556).

Endpoints carry the released models' names: pool1 to pool5, and of conv1_1 to conv5_4 (after their
ReLU) those that `keep` names. Initialisation: He normal over fan-out with zero biases (the paper
started deep nets from trained shallow ones), N(0, 0.01) for the fully connected layers.
"""

import functools
from typing import Literal

import jax
from flax import linen as nn
from jaxtyping import Array, Float, Key

from vision_jax.models.blocks import ConvNorm, Norm
from vision_jax.models.classifier import Classifier, FcHead
from vision_jax.ops.normalize import local_response_norm
from vision_jax.ops.pool import avg_pool, max_pool

# Table 1: kernel sizes of the convolutions in each of the five stages.
CONFIGURATIONS = {
    "A": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "B": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
    "C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
    "D": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    "E": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}


class VGG(nn.Module):
    """The trunk.

    Fields:
      kernels: kernel sizes of each stage's convolutions, see `CONFIGURATIONS`.
      width: channels of the first stage; they double up to the fourth.
      lrn: local response normalisation after conv1_1 (configuration A-LRN).
      pool: 'max', or 'avg' as in neural style transfer.
      keep: further endpoints, such as ('conv4_3',).
      norm: 'none' (the paper), or see `blocks.norm`; convolutions always have a bias.
      dtype: compute dtype.
      ceil_mode: pooling keeps a last window that reaches over the border, as Caffe does.
    """

    kernels: tuple[tuple[int, ...], ...] = CONFIGURATIONS["D"]
    width: int = 64
    lrn: bool = False
    pool: Literal["max", "avg"] = "max"
    keep: tuple[str, ...] = ()
    norm: Norm = "none"
    dtype: str = "float32"
    ceil_mode: bool = False

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b h w c"],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> dict[str, Array]:
        """Endpoints (b, h / stride, w / stride, c); see `Classifier` for the arguments."""
        pool = {"max": max_pool, "avg": avg_pool}[self.pool]
        pool = functools.partial(pool, ceil_mode=self.ceil_mode)
        x, endpoints = image, {}
        for stage, kernels in enumerate(self.kernels, start=1):
            for i, kernel in enumerate(kernels, start=1):
                name = f"conv{stage}_{i}"
                x = ConvNorm(
                    self.width * 2 ** min(stage - 1, 3),
                    kernel,
                    padding=kernel // 2,
                    norm=self.norm,
                    use_bias=True,
                    dtype=self.dtype,
                    name=name,
                )(x, train)
                if name in self.keep:
                    endpoints[name] = x
                if self.lrn and name == "conv1_1":
                    x = local_response_norm(x)
            with jax.named_scope(f"pool{stage}"):
                x = pool(x, 2)
            endpoints[f"pool{stage}"] = x
        return endpoints

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        found = {}
        for stage, kernels in enumerate(self.kernels, start=1):
            names = [f"conv{stage}_{i}" for i in range(1, len(kernels) + 1)]
            found |= {name: 2 ** (stage - 1) for name in names if name in self.keep}
            found[f"pool{stage}"] = 2**stage
        return found


def vgg(
    configuration: Literal["A", "A-LRN", "B", "C", "D", "E"] = "D",
    num_classes: int = 1000,
    width: int = 64,
    hidden: tuple[int, ...] = (4096, 4096),
    grid: int = 7,
    dropout: float = 0.5,
    norm: Norm = "none",
    dtype: str = "float32",
) -> Classifier:
    """The classifier of one of Table 1's columns; see `VGG` and `FcHead` for the arguments."""
    letter, _, lrn = configuration.partition("-")
    trunk = VGG(CONFIGURATIONS[letter], width, bool(lrn), norm=norm, dtype=dtype)
    return Classifier(trunk, FcHead(num_classes, hidden, grid, dropout, dtype=dtype))


def VGG11(num_classes: int = 1000, norm: Norm = "none", dtype: str = "float32") -> Classifier:
    """Configuration A; `norm='sync'` is the form with batch normalisation."""
    return vgg("A", num_classes, norm=norm, dtype=dtype)


def VGG13(num_classes: int = 1000, norm: Norm = "none", dtype: str = "float32") -> Classifier:
    """Configuration B; `norm='sync'` is the form with batch normalisation."""
    return vgg("B", num_classes, norm=norm, dtype=dtype)


def VGG16(num_classes: int = 1000, norm: Norm = "none", dtype: str = "float32") -> Classifier:
    """Configuration D; `norm='sync'` is the form with batch normalisation."""
    return vgg("D", num_classes, norm=norm, dtype=dtype)


def VGG19(num_classes: int = 1000, norm: Norm = "none", dtype: str = "float32") -> Classifier:
    """Configuration E; `norm='sync'` is the form with batch normalisation."""
    return vgg("E", num_classes, norm=norm, dtype=dtype)
