"""Where segmentation starts in the lectures, to show what it costs: every pixel for itself.

`PatchSegmenter` classifies the window around each pixel (Ciresan et al. 2012; Farabet et al. 2013)
and computes what neighbouring windows share again and again. `FullResolution` shares it, but keeps
all its channels at the image's resolution, for want of pooling.
"""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.models.layers import Conv, ConvNorm, Endpoints, Images, Keys, Layers, last_map
from vision_jax.models.segmenters.segmenter import Segmenter
from vision_jax.ops.upsample import nearest


class PatchSegmenter(nn.Module):
    """A classifier of windows, applied at every pixel.

    `backbone` and `head` are those of a `Classifier`, whose weights fit. Returns `logits`
    (b, h, w, k) and nothing else. All windows are in memory at once: step⁻² window² times the
    image.

    Fields:
      backbone, head: of the classifier.
      window: side of the window around a pixel, which is odd; beyond the border are zeros.
      step: every step-th pixel of every step-th row is classified, and stands for its
        neighbours below and on the right.
    """

    backbone: nn.Module
    head: nn.Module
    window: int = 33
    step: int = 1

    def __call__(
        self, images: Images, *, train: bool = False, keys: Keys = None
    ) -> dict[str, Float[Array, "b h w k"]]:
        """Scores every pixel; see `Classifier` for the arguments. Windows share an image's key."""
        b, h, w, _ = images.shape
        patches = windows(images, self.window, self.step)
        rows, columns = patches.shape[1:3]
        if keys is not None:
            keys = jnp.repeat(keys, rows * columns)
        flat = patches.reshape(-1, *patches.shape[3:])
        endpoints = self.backbone(flat, train=train, keys=keys)
        logits = self.head(endpoints, train=train, keys=keys)["logits"]
        logits = logits.reshape(b, rows, columns, -1)
        return {"logits": nearest(logits, self.step)[:, :h, :w]}

    @property
    def strides(self) -> dict[str, int]:
        """No endpoints: the backbone's maps are those of windows."""
        return {}


def windows(images: Images, size: int, step: int = 1) -> Float[Array, "b ho wo size size c"]:
    """Cuts out the size × size pixels around every step-th pixel, with zeros beyond the border."""
    half = size // 2
    padded = jnp.pad(images, ((0, 0), (half, half), (half, half), (0, 0)))
    rows = jnp.arange(0, images.shape[1], step)[:, None] + jnp.arange(size)[None, :]
    columns = jnp.arange(0, images.shape[2], step)[:, None] + jnp.arange(size)[None, :]
    strips = padded[:, rows]  # b, rows, size, columns and border, c
    return strips[:, :, :, columns].transpose(0, 1, 3, 2, 4, 5)


class FullResolutionBackbone(nn.Module):
    """3x3 convolutions at stride 1, endpoints conv1, conv2, …, each with norm and ReLU.

    Fields:
      widths: channels of each.
      dilations: distance between the taps of each, () for 1.
      layers: how layers normalise and compute.
    """

    widths: tuple[int, ...] = (64,) * 8
    dilations: tuple[int, ...] = ()
    layers: Layers = Layers()

    @nn.compact
    def __call__(
        self, images: Images, *, train: bool = False, keys: Keys = None
    ) -> dict[str, Array]:
        """Finds the endpoints (b, h, w, c); see `Classifier` for the arguments."""
        x, endpoints = images, {}
        dilations = self.dilations or (1,) * len(self.widths)
        for i, (width, dilation) in enumerate(zip(self.widths, dilations, strict=True), start=1):
            name = f"conv{i}"
            conv = ConvNorm(width, 3, 1, dilation, dilation, layers=self.layers, name=name)
            endpoints[name] = x = conv(x, train=train)
        return endpoints

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        return {f"conv{i + 1}": 1 for i in range(len(self.widths))}


class PixelHead(nn.Module):
    """Scores of a last map that has the image's size, by a 1x1 convolution `score`."""

    num_classes: int = 21
    layers: Layers = Layers()

    @nn.compact
    def __call__(
        self, endpoints: Endpoints, size: tuple[int, int], *, train: bool = False, keys: Keys = None
    ) -> dict[str, Float[Array, "b h w k"]]:
        """Scores the backbone's last endpoint."""
        score = Conv(self.num_classes, layers=self.layers, name="score")
        return {"logits": score(last_map(endpoints))}


def full_resolution(
    num_classes: int = 21,
    widths: tuple[int, ...] = (64,) * 8,
    dilations: tuple[int, ...] = (),
    layers: Layers = Layers(),
) -> Segmenter:
    """Makes a segmenter whose maps all have the image's size; see `FullResolutionBackbone`."""
    backbone = FullResolutionBackbone(widths, dilations, layers)
    return Segmenter(backbone, PixelHead(num_classes, layers))
