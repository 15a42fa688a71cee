"""The masks of DETR (Carion et al. 2020, section 4.4): where each query looks, made finer.

Parameters: `attention` (`query`, `key`) and `head`: convolutions `lay1` … `lay5` with group norms
`gn1` … `gn5`, `adapter1` … for the finer maps, and `out_lay`. Initialisation as the authors' code:
uniform by fan-in for convolutions, Xavier uniform for the attention, zero biases.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from vision_jax.models.layers import (
    NO_NORM,
    Conv,
    Dense,
    GroupNorm,
    Images,
    Layers,
    at_least_float32,
)
from vision_jax.ops import initializers, losses
from vision_jax.ops.masks import crop_masks
from vision_jax.ops.resize import resize
from vision_jax.ops.set_prediction import mask_dice_loss
from vision_jax.structs import Targets, Terms

MaskLogits = Float[Array, "b q h w"]

_uniform = initializers.Distribution("symmetric", 1.0, "in")
_GROUPS = 8


class AttentionMaps(nn.Module):
    """Where queries look, in several subspaces: softmax over subspaces and places together.

    Fields:
      heads: subspaces.
      layers: settings; there is no norm.
    """

    heads: int = 8
    layers: Layers = NO_NORM

    @nn.compact
    def __call__(
        self,
        queries: Float[Array, "b q d"],
        memory: Images,
        valid: Bool[Array, "b h w"],
    ) -> Float[Array, "b q h w {self.heads}"]:
        """Returns the shares, which sum to 1 over an image's places and the subspaces.

        Args:
          queries: the decoder's answers.
          memory: the encoded map.
          valid: False on padding, which gets 0.
        """
        b, q, d = queries.shape
        h, w = memory.shape[1:3]
        project = {"kernel_init": initializers.xavier, "layers": self.layers}
        query = Dense(d, name="query", **project)(queries).reshape(b, q, self.heads, -1)
        key = Dense(d, name="key", **project)(memory).reshape(b, h * w, self.heads, -1)
        scores = jnp.einsum("bqne,bpne->bqpn", query * query.shape[-1] ** -0.5, key)
        here = valid.reshape(b, 1, h * w, 1)
        scores = jnp.where(here, at_least_float32(scores), -jnp.inf)
        shares = jax.nn.softmax(scores.reshape(b, q, -1), -1)
        return shares.reshape(b, q, h, w, self.heads).astype(query.dtype)


class MaskConvs(nn.Module):
    """Convolutions over each query's maps, which grow to the size of finer maps on the way.

    Fields:
      width: of the transformer; layers have 1/2, 1/4, 1/8 and 1/16 of it.
      layers: eps of the group norms, and the precision.
    """

    width: int = 256
    layers: Layers = NO_NORM

    @nn.compact
    def __call__(
        self, x: Images, maps: Float[Array, "b q h w n"], finer: Sequence[Float[Array, "b _ _ _"]]
    ) -> Float[Array, "b q _ _"]:
        """Finds the logits of every query's mask, of the size of the last finer map.

        Args:
          x: the map that was encoded, as the transformer was given it.
          maps: where the queries look.
          finer: the backbone's maps, at most three, the coarsest first.
        """
        b, q = maps.shape[:2]
        shared = jnp.broadcast_to(x[:, None], (b, q, *x.shape[1:])).astype(maps.dtype)
        y = jnp.concatenate([shared, maps], -1).reshape(b * q, *x.shape[1:3], -1)
        y = self._layer(y, y.shape[-1], 1)
        y = self._layer(y, self.width // 2, 2)
        for i, (fine, share) in enumerate(zip(finer, (4, 8, 16), strict=False), start=1):
            adapter = self._conv(y.shape[-1], 1, f"adapter{i}")(fine)
            y = resize(y, fine.shape[1:3], "nearest").reshape(b, q, *adapter.shape[1:])
            y = (y + adapter[:, None]).reshape(b * q, *adapter.shape[1:])
            y = self._layer(y, self.width // share, i + 2)
        y = at_least_float32(self._conv(1, 3, "out_lay")(y))
        return y.reshape(b, q, *y.shape[1:3])

    def _layer(self, x, features, number):
        x = self._conv(features, 3, f"lay{number}")(x)
        return nn.relu(GroupNorm(_GROUPS, layers=self.layers, name=f"gn{number}")(x))

    def _conv(self, features, kernel, name):
        settings = {"kernel_init": _uniform, "layers": self.layers}
        return Conv(features, kernel, padding=kernel // 2, name=name, **settings)


class QueryMasks(nn.Module):
    """The head that draws a mask for every query.

    Fields:
      heads: subspaces of the attention maps.
      size: side of the masks of detections, within their boxes.
      mask_loss_weight, dice_loss_weight: factors of the losses.
      layers: settings.
    """

    heads: int = 8
    size: int = 28
    mask_loss_weight: float = 1.0
    dice_loss_weight: float = 1.0
    layers: Layers = NO_NORM

    @nn.compact
    def __call__(
        self,
        queries: Float[Array, "b q d"],
        projected: Images,
        memory: Images,
        valid: Bool[Array, "b h w"],
        finer: Sequence[Float[Array, "b _ _ _"]],
    ) -> Float[Array, "b q _ _"]:
        """Finds the logits of every query's mask over the whole input; see its parts."""
        maps = AttentionMaps(self.heads, self.layers, name="attention")(queries, memory, valid)
        return MaskConvs(queries.shape[-1], self.layers, name="head")(projected, maps, finer)

    def loss(
        self,
        mask_logits: MaskLogits,
        matched_idxs: Int[Array, "b q"],
        targets: Targets,
        objects: Float[Array, ""],
    ) -> Terms:
        """Computes `mask`, the focal loss, and `dice`: means over the batch's objects.

        Args:
          mask_logits: of all queries.
          matched_idxs: each query's object.
          targets: with masks.
          objects: their number.

        Raises:
          ValueError: targets without masks.
        """
        if targets.masks is None:
            raise ValueError("a mask head needs batches with targets.masks")
        masks = jnp.asarray(targets.masks).astype(mask_logits.dtype)
        owned = matched_idxs[:, None] == jnp.arange(masks.shape[1])[None, :, None]  # (b, m, q)
        logits = jnp.take_along_axis(mask_logits, jnp.argmax(owned, 2)[:, :, None, None], 1)
        logits = jnp.moveaxis(resize(jnp.moveaxis(logits, 1, 3), masks.shape[2:]), 3, 1)
        pairs = owned.any(2)
        focal = losses.sigmoid_focal(logits, masks, 0.25, 2.0).mean((2, 3))
        dice = mask_dice_loss(logits, masks)
        return {
            "mask": (self.mask_loss_weight * jnp.sum(jnp.where(pairs, focal, 0)), objects),
            "dice": (self.dice_loss_weight * jnp.sum(jnp.where(pairs, dice, 0)), objects),
        }

    def crop(
        self, mask_logits: Float[Array, "n h w"], boxes: Float[Array, "n 4"]
    ) -> Float[Array, "n {self.size} {self.size}"]:
        """Returns one image's masks within boxes, in the masks' pixels: probabilities."""
        masks = jax.nn.sigmoid(mask_logits)
        return crop_masks(masks, boxes, jnp.arange(len(masks)), (self.size, self.size))
