"""Foreign state dicts to variables and back, by tables of rows.

A table lists, for one kind of network and one source of weights, which of the reference's layers
is which of ours. The engine does the rest: layouts, buffers, and one error for all that does not
match.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from vision_jax.config import UserError

State = Mapping[str, np.ndarray]  # the reference's names and layouts
Tree = dict[str, Any]  # nested dicts of arrays


@dataclasses.dataclass(frozen=True)
class Pick:
    """Which outputs of a reference's layer are ours, such as 80 classes among 91 numbers.

    A layer that has another number of outputs than the reference is taken as it is. Where some of
    the reference's outputs are not ours, a layer is written with ours alone.

    Fields:
      shape: the reference's outputs as an array: (91, 4) where each class has four.
      axis: of the classes.
      index: those that are ours, in our order; -1 where only we have one, which becomes 0.
    """

    shape: tuple[int, ...]
    axis: int
    index: tuple[int, ...]

    def __call__(self, value: np.ndarray) -> np.ndarray:
        """`value`, whose first axis is the layer's outputs, with ours alone."""
        if value.shape[0] != math.prod(self.shape):
            return value
        rest = value.shape[1:]
        value = value.reshape(*self.shape, *rest)
        nothing = np.zeros_like(value.take((0,), self.axis))  # what -1 then takes
        value = np.concatenate([value, nothing], self.axis).take(self.index, self.axis)
        return value.reshape(-1, *rest)

    def back(self, value: np.ndarray) -> np.ndarray:
        """The inverse, where it is known."""
        count = self.shape[self.axis]
        if not set(range(count)) <= set(self.index):
            return value
        rest, ours = value.shape[1:], [*self.shape]
        ours[self.axis] = len(self.index)
        places = [self.index.index(i) for i in range(count)]
        return value.reshape(*ours, *rest).take(places, self.axis).reshape(-1, *rest)


@dataclasses.dataclass(frozen=True)
class Row:
    """One layer.

    Fields:
      reference: its name in the reference, 'layer1.0.conv1'.
      path: its place among our parameters, 'backbone/conv2_1/conv1/conv'.
      kind: a key of `KINDS`.
      flat: (c, h, w) where a linear layer reads a flattened map: the reference flattens it in that
        order, we in (h, w, c), or have a convolution with that window ('dense_window').
      pick: where the reference's outputs include some that we have not.
    """

    reference: str
    path: str
    kind: str
    flat: tuple[int, int, int] | None = None
    pick: Pick | None = None


@dataclasses.dataclass(frozen=True)
class Table:
    """`rows(model)` for one source; `model` is read for its fields only.

    `applies` says which variants of the network the source has.
    """

    source: str
    rows: Callable[[Any], Iterator[Row]]
    applies: Callable[[Any], bool] = lambda model: True


@dataclasses.dataclass(frozen=True)
class _Part:
    """One array of a kind of layer; `axes` is the transposition from the reference to ours."""

    reference: str
    collection: str
    name: str
    axes: tuple[int, ...] | None = None
    pointwise: bool = False  # the reference has a 1x1 convolution where we have a linear layer
    window: bool = False  # it has a linear layer over a map where we have a convolution


_BIAS = _Part("bias", "params", "bias")
_SCALE = _Part("weight", "params", "scale")
_OIHW = _Part("weight", "params", "kernel", (2, 3, 1, 0))
KINDS: dict[str, tuple[_Part, ...]] = {
    "conv": (_OIHW,),
    "conv_bias": (_OIHW, _BIAS),
    "conv_transpose": (_Part("weight", "params", "kernel", (2, 3, 0, 1)),),
    "conv_transpose_bias": (_Part("weight", "params", "kernel", (2, 3, 0, 1)), _BIAS),
    "dense": (_Part("weight", "params", "kernel", (1, 0)),),
    "dense_bias": (_Part("weight", "params", "kernel", (1, 0)), _BIAS),
    "dense_pointwise": (_Part("weight", "params", "kernel", (1, 0), pointwise=True), _BIAS),
    "dense_window": (_Part("weight", "params", "kernel", (1, 0), window=True), _BIAS),
    "norm": (
        _SCALE,
        _BIAS,
        _Part("running_mean", "batch_stats", "mean"),
        _Part("running_var", "batch_stats", "var"),
    ),
    "affine": (_SCALE, _BIAS),  # layer, group and instance norms
    "scale": (_SCALE,),
    "scale_weight": (_Part("scale_weight", "params", "scale"),),
    "norm_darknet": (
        _BIAS,
        _Part("norm.weight", "params", "scale"),
        _Part("running_mean", "batch_stats", "mean"),
        _Part("running_var", "batch_stats", "var"),
    ),
    "local": (  # (h, w, features, what is read) and (features, h, w)
        _Part("weight", "params", "kernel", (0, 1, 3, 2)),
        _Part("bias", "params", "bias", (1, 2, 0)),
    ),
}
_IGNORED = "num_batches_tracked"  # a counter that only a cumulative average would need


def from_reference(state: State, model: Any, tables: Iterable[Table]) -> Tree:
    """Our variables, {'params': …, 'batch_stats': …}, from a reference's state dict.

    Args:
      state: arrays by the reference's names, in its layouts (OIHW, ...).
      model: the network that they are for.
      tables: the sources to try; the one whose names fit is taken.

    Raises:
      UserError: no table fits; names what is missing and what is unknown for the closest one.
    """
    given = {name for name in state if name.rpartition(".")[2] != _IGNORED}
    fits = []
    for table in tables:
        leaves = list(_leaves(table.rows(model)))
        wanted = {leaf.reference for leaf in leaves}
        if wanted == given:
            variables: Tree = {}
            for leaf in leaves:
                _put(variables, leaf.path, leaf.to_ours(np.asarray(state[leaf.reference])))
            return variables
        fits.append((len(wanted ^ given), table.source, wanted))
    _, source, wanted = min(fits)
    raise UserError(
        f"weights do not fit {type(model).__name__} as {source} names it: "
        f"missing {_some(wanted - given)}; unknown {_some(given - wanted)}"
    )


def to_reference(tree: Tree, model: Any, tables: Iterable[Table], source: str | None) -> dict:
    """The reference's names and layouts for variables, or for parameters or gradients alone.

    Args:
      tree: variables (with the key 'params'), or what lies under 'params'.
      model: the network that they are of.
      tables: the sources known.
      source: which of them to write as; None takes the first.

    Raises:
      UserError: an unknown source, or arrays that the table does not know.
    """
    tables = list(tables)
    names = [table.source for table in tables]
    if source is not None and source not in names:
        raise UserError(f"no weights table of {source!r} - known: {', '.join(names)}")
    table = tables[names.index(source) if source else 0]
    left = _flatten(tree if "params" in tree else {"params": tree})
    state = {}
    for leaf in _leaves(table.rows(model)):
        if leaf.path in left:
            value = leaf.to_reference(np.asarray(left.pop(leaf.path)))
            # Writers of files take the memory as it lies; a transposed view would be scrambled.
            state[leaf.reference] = np.ascontiguousarray(value)
    if left:
        raise UserError(f"{table.source} has no name for {_some('/'.join(p) for p in left)}")
    return state


@dataclasses.dataclass(frozen=True)
class Restored:
    """What `restore` did: paths of arrays, 'params/head/fc/kernel'."""

    restored: tuple[str, ...]
    reshaped: tuple[str, ...]  # in both, with different shapes: kept as initialised
    missing: tuple[str, ...]  # not in the weights: kept as initialised
    unused: tuple[str, ...]  # in the weights only

    def __str__(self) -> str:
        parts = [f"restored {len(self.restored)} arrays"]
        for name in ("reshaped", "missing", "unused"):
            if getattr(self, name):
                parts.append(f"{name}: {', '.join(getattr(self, name))}")
        return "; ".join(parts)


def restore(variables: Tree, weights: Tree) -> tuple[Tree, Restored]:
    """`variables` with every array that `weights` has in the same place and shape.

    For a pretrained backbone under a new head: what could not be restored keeps its initial value and
    is listed.
    """
    ours, theirs = _flatten(variables), _flatten(weights)
    result: Tree = {}
    restored, reshaped, missing = [], [], []
    for path, value in ours.items():
        name = "/".join(path)
        if path not in theirs:
            missing.append(name)
        elif np.shape(theirs[path]) != np.shape(value):
            reshaped.append(name)
        else:
            restored.append(name)
            value = np.asarray(theirs[path]).astype(value.dtype)
        _put(result, path, value)
    unused = ["/".join(path) for path in theirs if path not in ours]
    return result, Restored(*map(tuple, (restored, reshaped, missing, unused)))


@dataclasses.dataclass(frozen=True)
class _Leaf:
    """One array on both sides."""

    reference: str
    path: tuple[str, ...]
    axes: tuple[int, ...] | None
    flat: tuple[int, int, int] | None
    pointwise: bool
    window: bool
    pick: Pick | None

    def to_ours(self, value: np.ndarray) -> np.ndarray:
        if self.pick:
            value = self.pick(value)
        if self.pointwise:
            value = value.reshape(value.shape[:2])
        if self.flat:
            value = value.reshape(-1, *self.flat).transpose(0, 2, 3, 1).reshape(value.shape)
        value = value if self.axes is None else value.transpose(self.axes)
        if not self.window:
            return value
        c, h, w = self.flat
        return value.reshape(h, w, c, -1)

    def to_reference(self, value: np.ndarray) -> np.ndarray:
        if self.window:
            value = value.reshape(-1, value.shape[-1])
        if self.axes is not None:
            value = value.transpose(np.argsort(self.axes))
        if self.flat:
            c, h, w = self.flat
            value = value.reshape(-1, h, w, c).transpose(0, 3, 1, 2).reshape(value.shape)
        if self.pick:
            value = self.pick.back(value)
        return value[:, :, None, None] if self.pointwise else value


def _leaves(rows: Iterable[Row]) -> Iterator[_Leaf]:
    for row in rows:
        for part in KINDS[row.kind]:
            path = (part.collection, *row.path.split("/"), part.name)
            flat = row.flat if part.axes == (1, 0) else None
            reference = f"{row.reference}.{part.reference}"
            yield _Leaf(reference, path, part.axes, flat, part.pointwise, part.window, row.pick)


def _flatten(tree: Tree, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if not isinstance(tree, Mapping):
        return {path: tree}
    return {p: v for key in tree for p, v in _flatten(tree[key], (*path, key)).items()}


def _put(tree: Tree, path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = value


def _some(names: Iterable[str], most: int = 12) -> str:
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} ({', '.join(names[:most])}{more})" if names else "nothing"
