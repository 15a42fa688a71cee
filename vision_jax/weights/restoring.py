"""Weights put into a network's own variables, as far as they fit."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

Tree = dict[str, Any]
Shapes = tuple[tuple[int, ...], tuple[int, ...]]  # in the weights, and in the network


@dataclasses.dataclass(frozen=True)
class Restored:
    """The report of `restore`: paths of arrays, 'params/head/fc/kernel'."""

    restored: tuple[str, ...]
    reshaped: dict[str, Shapes]  # in both, with different shapes: kept as initialised
    missing: tuple[str, ...]  # not in the weights: kept as initialised
    unused: tuple[str, ...]  # in the weights only

    def __str__(self) -> str:
        parts = [f"restored {len(self.restored)} arrays"]
        others = {"reshaped": self.reshaped, "missing": self.missing, "unused": self.unused}
        parts += [f"{name}: {', '.join(paths)}" for name, paths in others.items() if paths]
        return "; ".join(parts)


def restore(variables: Tree, weights: Tree) -> tuple[Tree, Restored]:
    """Replaces every array of `variables` that `weights` has in the same place and shape.

    A layer is replaced as a whole or not at all: a kernel of another shape leaves its bias too.

    For a pretrained backbone under a new head: what could not be restored keeps its initial value
    and is listed in the report, which comes second.
    """
    ours, theirs = flatten(variables), flatten(weights)
    shapes = {p: (np.shape(theirs[p]), np.shape(v)) for p, v in ours.items() if p in theirs}
    missing = [path for path in ours if path not in theirs]
    wrong = [path for path, (there, here) in shapes.items() if there != here]
    left = whole_layers([*missing, *wrong], ours)
    result: Tree = {}
    for path, value in ours.items():
        if path not in left:
            value = np.asarray(theirs[path]).astype(value.dtype)
        put(result, path, value)
    return result, Restored(
        restored=tuple(path for path in ours if path not in left),
        reshaped={path: shapes[path] for path in left if path in shapes},
        missing=tuple(missing),
        unused=tuple(path for path in theirs if path not in ours),
    )


def whole_layers(paths: Iterable[str], known: Iterable[str]) -> list[str]:
    """Returns those of the known paths that are in a layer with any of `paths`, in their order."""
    layers = {path.rpartition("/")[0] for path in paths}
    return [path for path in known if path.rpartition("/")[0] in layers]


def adapt_input(weights: Tree, variables: Tree, channels: int) -> tuple[Tree, list[str]]:
    """Adapts convolutions that read images to another number of channels, as timm does.

    For one channel the kernel is summed over its own; otherwise its channels are repeated in order
    and scaled so that a grey image gives the same sums.

    Args:
      weights: as read.
      variables: of the network.
      channels: of its images.

    Returns:
      The weights, and the paths of what was adapted.
    """
    ours, adapted = flatten(variables), []
    result: Tree = {}
    for path, value in flatten(weights).items():
        there, here = np.shape(value), np.shape(ours.get(path, ()))
        if differs_in_input(there, here, channels):
            adapted.append(path)
            if channels == 1:
                value = value.sum(axis=2, keepdims=True)
            else:
                repeats = math.ceil(channels / there[2])
                value = np.tile(value, (1, 1, repeats, 1))[:, :, :channels]
                value = value * np.float32(there[2] / channels)
        put(result, path, value)
    return result, adapted


def differs_in_input(there: tuple[int, ...], here: tuple[int, ...], channels: int) -> bool:
    """Returns whether kernels (h, w, in, out) differ only in that `here` reads the images."""
    if len(there) != 4 or len(here) != 4 or not 0 < there[2] != here[2] == channels:
        return False
    return (there[:2], there[3]) == (here[:2], here[3])


def flatten(tree: Any, path: str = "") -> dict[str, Any]:
    """Returns the leaves of nested dicts by their paths, 'params/head/fc/kernel'."""
    if not isinstance(tree, Mapping):
        return {path: tree}
    return {p: v for k in tree for p, v in flatten(tree[k], f"{path}/{k}" if path else k).items()}


def put(tree: Tree, path: str, value: Any) -> None:
    """Puts a leaf into nested dicts, which are made where they are missing."""
    *parents, last = path.split("/")
    for key in parents:
        tree = tree.setdefault(key, {})
    tree[last] = value
