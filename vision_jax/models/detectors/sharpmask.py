"""SharpMask's refinement (Pinheiro et al. 2016, arXiv:1603.08695): masks sharpened top-down.

A mask is encoded at the backbone's coarsest resolution. Stage by stage it meets the backbone's map
of that resolution within the window, is added to it, and doubles, until it has the window's size.
It is trained after DeepMask, whose backbone and score then stay as they are.

Parameters: `start` (transposed, the whole coarsest map), `skip{i}_1..3` and `top{i}_1..2` of stage
i, `logits`; all 3x3, whose maps continue as their mirror images. Initialisation: He normal over
fan-in, since each stage has half the channels of the one before; zero biases.
"""

import functools

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.models.detectors.deepmask import DeepMask, deepmask_resnet
from vision_jax.models.layers import Conv, ConvTranspose, Layers, he_fan_in, variant
from vision_jax.ops.upsample import nearest


class Refinement(nn.Module):
    """The way from a window's features to its mask, over the maps of the backbone.

    Fields:
      width: channels k of the first stage, halved from stage to stage; horizontal and vertical
        layers have as many (the paper's k_m = k_s).
      hidden: channels of a stage's first horizontal layer.
      layers: settings; there is no norm.
    """

    width: int = 32
    hidden: int = 64
    layers: Layers = Layers()

    @nn.compact
    def __call__(
        self, features: Float[Array, "n d"], skips: list[Float[Array, "n _ _ _"]]
    ) -> Float[Array, "n s s"]:
        """Computes the logits of windows' masks, at twice the last map's size.

        Args:
          features: of the windows.
          skips: the backbone's maps within them, each twice as large as the one before.
        """
        conv = functools.partial(
            Conv, kernel=3, padding=1, kernel_init=he_fan_in, border="reflect", layers=self.layers
        )
        side = skips[0].shape[1]
        start = ConvTranspose(self.width, side, layers=self.layers, name="start")
        x = start(features[:, None, None])
        for i, skip in enumerate(skips, start=1):
            width = max(self.width >> (i - 1), 1)
            after = max(width // 2, 1)
            y = nn.relu(conv(self.hidden, name=f"skip{i}_1")(skip))
            y = nn.relu(conv(width, name=f"skip{i}_2")(y))
            y = conv(after, name=f"skip{i}_3")(y)
            x = nn.relu(conv(width, name=f"top{i}_1")(x))
            x = conv(after, name=f"top{i}_2")(x)
            x = nearest(nn.relu(x + y), 2)
        return jnp.squeeze(conv(1, name="logits")(x), -1)


def sharpmask_resnet(depth: int, layers: Layers = Layers()) -> DeepMask:
    """Makes SharpMask on the first three stages of a ResNet; see `deepmask_resnet`."""
    return deepmask_resnet(depth, Refinement(layers=layers), layers)


SharpMaskResNet50 = variant(
    "SharpMaskResNet50",
    sharpmask_resnet,
    "Makes SharpMask on ResNet-50; see `sharpmask_resnet`.",
    depth=50,
)
