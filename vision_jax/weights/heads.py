"""The parts of a network that fine-tuning to other classes replaces, known by their shapes."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vision_jax.models.detectors.detector import DetectorModule
from vision_jax.models.detectors.yolo_v1 import YOLOv1
from vision_jax.models.layers import norms
from vision_jax.weights.restoring import Tree, flatten

_COUNTS = ("num_classes", "keypoints")  # fields of networks that count what a data set has
_HEAD = "head"  # the name of a head whatever it answers, such as an embedding
_SIDES = (299, 300, 512, 64, 32)  # of images to try: no parameter depends on it


class Heads:
    """The heads of a network: parts with a layer whose shape follows the number of classes.

    Args:
      shapes_of: returns the shapes of a network's variables.
      model: the network.
      others: says which other parameters may stay fresh.
    """

    def __init__(
        self,
        shapes_of: Callable[[nn.Module], Tree | None],
        model: nn.Module,
        others: Callable[[str], bool] = lambda path: False,
    ) -> None:
        self._shapes_of, self._model, self._others = shapes_of, model, others

    @functools.cached_property
    def parts(self) -> frozenset[str]:
        """The names of heads among the network's parts, 'head', 'class_subnet', 'aux', …."""
        other = with_counts(self._model, lambda count: count + 1)
        try:
            ours, theirs = self._shapes_of(self._model), self._shapes_of(other)
        except (ValueError, TypeError):  # a network of exactly so many classes
            ours = theirs = None
        if ours is None or theirs is None:
            return frozenset({_HEAD})
        here, there = flatten(ours["params"]), flatten(theirs["params"])
        changed = {p.partition("/")[0] for p in here if there[p].shape != here[p].shape}
        return frozenset({_HEAD, *changed})

    def __contains__(self, path: object) -> bool:
        """Returns whether a parameter, 'head/fc/kernel', is in a head, or may else stay fresh."""
        return isinstance(path, str) and self._may_stay_fresh(path)

    def _may_stay_fresh(self, path: str) -> bool:
        return path.partition("/")[0] in self.parts or self._others(path)


def shapes(model: nn.Module, channels: int = 3) -> Tree | None:
    """Returns the shapes of a network's variables, whatever the size of its images.

    Args:
      model: the network.
      channels: of its images.

    Returns:
      A tree of `jax.ShapeDtypeStruct`s; None where the image's size decides on them.
    """
    if "position" in norms(model):
        return None
    sides = (model.side * model.stride,) if isinstance(model, YOLOv1) else _SIDES
    for side in sides:
        inputs = [jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)]
        if isinstance(model, DetectorModule):
            inputs.append(jax.ShapeDtypeStruct((1, 2), jnp.float32))
        try:
            return jax.eval_shape(model.init, jax.random.key(0), *inputs)
        except Exception:  # networks refuse images that are too small in many ways
            continue
    return None


def with_counts(part: nn.Module, change: Callable[[int], int]) -> nn.Module:
    """Returns a network with other numbers of classes and keypoints, in all of its parts."""
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(part):
        if field.name in ("parent", "name"):
            continue
        value = getattr(part, field.name)
        if field.name in _COUNTS and type(value) is int and value > 0:
            changes[field.name] = change(value)
        elif isinstance(value, nn.Module):
            changes[field.name] = with_counts(value, change)
    return part.clone(**changes)
