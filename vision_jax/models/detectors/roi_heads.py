"""The common parts of mask and keypoint heads: convolutions on regions, training on positives.

Parameters of the layers: `<name>1`, `<name>2` … (3x3), with `conv` and `norm` where normalised.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from vision_jax.models.detectors.region_pool import Levels
from vision_jax.models.layers import Conv, ConvNorm, Layers

RegionMaps = Float[Array, "b r n n c"]  # features of each image's regions
RegionLogits = Float[Array, "b r s s k"]  # a head's answer for each region
Boxes = Float[Array, "b r 4"]  # xyxy, pixels of the network's input
MatchedIdxs = Int[Array, "b r"]  # each region's object, see `ops.assign`


def conv_stack(
    x: RegionMaps,
    widths: tuple[int, ...],
    name: str,
    layers: Layers,
    *,
    normalized: bool = False,
    train: bool = False,
) -> Float[Array, "m n n d"]:
    """Applies 3x3 convolutions with ReLU, named `name`1 …, to the regions of all images.

    Those that are `normalized` have the norm of `layers` in place of biases.
    """
    x = x.reshape(-1, *x.shape[2:])
    for i, width in enumerate(widths, start=1):
        settings = {"padding": 1, "layers": layers, "name": f"{name}{i}"}
        if normalized:
            x = ConvNorm(width, 3, **settings)(x, train=train)
        else:
            x = nn.relu(Conv(width, 3, **settings)(x))
    return x


def run_on_positives(
    head: nn.Module,
    counts: Sequence[int],
    inputs: Levels | RegionMaps,
    rois: Boxes,
    matched_idxs: MatchedIdxs,
    run: Callable[[nn.Module, Any, Array], RegionLogits],
) -> RegionLogits:
    """Runs `head` on an image's first k regions, k being the least that includes every positive.

    Samples have their positives first and often few of them, while shapes are fixed: so there is a
    branch for each of some numbers of regions, and every step takes the cheapest one that serves
    all of its images. Runs that are vmapped take the same branch. The answer for regions beyond k
    is zero.

    Args:
      head: of which `run` makes use.
      counts: numbers of regions per image, rising, that k may be beside all of them.
      inputs: what the head reads, maps or all regions.
      rois: the regions.
      matched_idxs: their objects; those without (negative) do not count.
      run: `run(head, inputs, rois)` → the head's answer for these regions.
    """
    regions = rois.shape[1]
    counts = [count for count in counts if count < regions] + [regions]
    number_from_one = jnp.arange(1, regions + 1)[None]
    needed = _largest_of_all(jnp.where(matched_idxs >= 0, number_from_one, 0).max())
    branch = sum((needed > count).astype(jnp.int32) for count in counts[:-1])

    def first(count: int) -> Callable[[nn.Module, Any, Array], Array]:
        def run_on_first(head: nn.Module, inputs: Any, rois: Array) -> Array:
            logits = run(head, inputs, rois[:, :count])
            return jnp.pad(logits, [(0, 0), (0, regions - count), (0, 0), (0, 0), (0, 0)])

        return run_on_first

    return nn.switch(branch, [first(count) for count in counts], head, inputs, rois)


@jax.custom_batching.custom_vmap
def _largest_of_all(count: Int[Array, ""]) -> Int[Array, ""]:
    """Returns the number; of vmapped runs the largest, so that a branch on it stays a branch."""
    return count


@_largest_of_all.def_vmap
def _largest_of_batch(
    size: int, batched: list[bool], counts: Int[Array, "n"]
) -> tuple[Int[Array, ""], bool]:
    return _largest_of_all(counts.max()), False
