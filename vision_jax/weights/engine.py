"""The engine that turns foreign state dicts into variables and back, by tables of rows.

A table lists, for one kind of network and one source of weights, which of the reference's layers
is which of ours. The engine does the rest: layouts, buffers, and one error for all that does not
match.
"""

import dataclasses
import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from flax import linen as nn

from vision_jax.config import UserError, printable
from vision_jax.weights import matching
from vision_jax.weights.restoring import Tree, flatten, put

State = Mapping[str, np.ndarray]  # the reference's names and layouts


@dataclasses.dataclass(frozen=True)
class Pick:
    """A choice among the outputs of a reference's layer, such as 80 classes of 91 numbers.

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
        """Returns the part of `value`, whose first axis is the layer's outputs, that is ours."""
        if value.shape[0] != math.prod(self.shape):
            return value
        rest = value.shape[1:]
        value = value.reshape(*self.shape, *rest)
        nothing = np.zeros_like(value.take((0,), self.axis))  # what -1 then takes
        value = np.concatenate([value, nothing], self.axis).take(self.index, self.axis)
        return value.reshape(-1, *rest)

    def back(self, value: np.ndarray) -> np.ndarray:
        """Returns all of the reference's outputs; `value` itself where some are unknown."""
        count = self.shape[self.axis]
        if not set(range(count)) <= set(self.index):
            return value
        rest, ours = value.shape[1:], [*self.shape]
        ours[self.axis] = len(self.index)
        positions = [self.index.index(i) for i in range(count)]
        return value.reshape(*ours, *rest).take(positions, self.axis).reshape(-1, *rest)


@dataclasses.dataclass(frozen=True)
class Row:
    """One layer: its name in the reference and its place among our parameters.

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
    """The names of one source for one kind of network.

    Fields:
      source: 'torchvision', 'timm', ….
      rows: yields the layers of a network, which is read for its fields only.
      applies: whether the source has this variant of the network.
      is_part: the source has a part of the network only, such as its backbone's classifier.
    """

    source: str
    rows: Callable[[Any], Iterator[Row]]
    applies: Callable[[Any], bool] = lambda model: True
    is_part: bool = False


@dataclasses.dataclass(frozen=True)
class _Part:
    """One array of a kind of layer; `axes` is the transposition from the reference to ours."""

    reference: str
    collection: str
    name: str
    axes: tuple[int, ...] | None = None
    pointwise: bool = False  # the reference has a 1x1 convolution where we have a linear layer
    window: bool = False  # it has a linear layer over a map where we have a convolution
    over_map: bool = False  # it has a convolution over a whole map where we have a linear layer
    third: int | None = None  # it has three of our arrays in one, one below the other: which


_BIAS = _Part("bias", "params", "bias")
_SCALE = _Part("weight", "params", "scale")
_OIHW = _Part("weight", "params", "kernel", (2, 3, 1, 0))
# Query, key and value of torch's attention.
_THIRDS = tuple(
    part
    for third, name in enumerate(("query", "key", "value"))
    for part in (
        _Part("in_proj_weight", "params", f"{name}/kernel", (1, 0), third=third),
        _Part("in_proj_bias", "params", f"{name}/bias", third=third),
    )
)
KINDS: dict[str, tuple[_Part, ...]] = {
    "conv": (_OIHW,),
    "conv_bias": (_OIHW, _BIAS),
    "conv_transpose": (_Part("weight", "params", "kernel", (2, 3, 0, 1)),),
    "conv_transpose_bias": (_Part("weight", "params", "kernel", (2, 3, 0, 1)), _BIAS),
    "dense": (_Part("weight", "params", "kernel", (1, 0)),),
    "dense_bias": (_Part("weight", "params", "kernel", (1, 0)), _BIAS),
    "dense_pointwise": (_Part("weight", "params", "kernel", (1, 0), pointwise=True), _BIAS),
    "dense_map": (_Part("weight", "params", "kernel", (1, 0), over_map=True), _BIAS),
    "dense_window": (_Part("weight", "params", "kernel", (1, 0), window=True), _BIAS),
    "norm": (
        _SCALE,
        _BIAS,
        _Part("running_mean", "batch_stats", "mean"),
        _Part("running_var", "batch_stats", "var"),
    ),
    "affine": (_SCALE, _BIAS),  # layer, group and instance norms
    "prelu": (_Part("weight", "params", "slope"),),
    "scale": (_SCALE,),
    "embedding": (_Part("weight", "params", "embedding", (0, 1)),),
    "attention": (
        *_THIRDS,
        _Part("out_proj.weight", "params", "output/kernel", (1, 0)),
        _Part("out_proj.bias", "params", "output/bias"),
    ),
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
_SMALLEST = 2  # bytes of a number: smaller floats need scales that lie elsewhere in a file


class Misfit(UserError):
    """An array of a layer that reads a map of another size."""


@dataclasses.dataclass(frozen=True)
class Loaded:
    """What a reference's state dict gives a network.

    Fields:
      variables: ours, {'params': …, 'batch_stats': …}; some may be missing.
      source: whose names they had.
      names: of all that the source has: our paths, and its names for them.
      misfits: paths of arrays in heads that read maps of another size; each with both shapes.
      unused: the state's names that nothing was made of.
      is_part: the source has a part of the network only.
    """

    variables: Tree
    source: str
    names: Mapping[str, str]
    misfits: Mapping[str, str]
    unused: tuple[str, ...]
    is_part: bool


def read(state: State, model: nn.Module, tables: Iterable[Table], heads: Container[str]) -> Loaded:
    """Finds what a reference's state dict gives a network; heads may be missing or others.

    Args:
      state: arrays by the reference's names, in its layouts (OIHW, ...).
      model: the network that they are for.
      tables: the sources to try; the one that names most of the arrays is taken.
      heads: paths in the network's heads, 'head/fc/kernel'.

    Raises:
      UserError: no table fits; names what is missing and what is unknown for the closest one. Or
        an array has an impossible layout.
    """
    tables = list(tables)
    leaves = [list(_leaves(table.rows(model))) for table in tables]
    names = [dict.fromkeys(leaf.reference for leaf in each) for each in leaves]
    match = matching.exact(state, names)
    unused: list[str] = []
    if match is None:
        in_heads = [{leaf.reference for leaf in each if leaf.parameter in heads} for each in leaves]
        match = matching.nearest(state, names, in_heads)
        ours, theirs = names[match.table], in_heads[match.table]
        unused = matching.unknown(match, state, ours)
        strange = matching.in_body(match, unused, ours, theirs)
        missing = match.missing - theirs
        if missing or strange:
            under = f" under {printable(match.prefix)!r}" if match.prefix else ""
            raise UserError(
                f"weights do not fit {type(model).__name__} as {tables[match.table].source} names "
                f"it{under}: missing {_some(missing)}; unknown {_some(strange or unused)}"
            )
    table, misfits = tables[match.table], {}
    variables: Tree = {}
    for leaf in leaves[match.table]:
        if leaf.reference in match.missing:
            continue
        try:
            value = leaf.to_ours(np.asarray(state[match.prefix + leaf.reference]))
            put(variables, leaf.path, value)
        except Misfit as error:
            if leaf.parameter not in heads:
                raise
            misfits[leaf.path] = str(error)
    paths = {leaf.path: leaf.reference for leaf in leaves[match.table]}
    return Loaded(variables, table.source, paths, misfits, tuple(unused), table.is_part)


def to_reference(
    tree: Tree, model: nn.Module, tables: Iterable[Table], source: str | None
) -> dict[str, np.ndarray]:
    """Returns variables, or parameters or gradients alone, in a reference's names and layouts.

    Args:
      tree: variables (with the key 'params'), or what lies under 'params'.
      model: the network that they are of.
      tables: the sources known.
      source: which of them to write as; None takes the first.

    Raises:
      UserError: an unknown source, or arrays that the table does not know.
    """
    tables = list(tables)
    sources = [table.source for table in tables]
    if source is not None and source not in sources:
        raise UserError(f"no weights table of {source!r} - known: {', '.join(sources)}")
    table = tables[sources.index(source) if source else 0]
    ours = flatten(tree if "params" in tree else {"params": tree})
    left = set(ours)
    state: dict[str, np.ndarray] = {}
    for leaf in _leaves(table.rows(model)):
        if leaf.path in ours:
            left.discard(leaf.path)
            value = leaf.to_reference(np.asarray(ours[leaf.path]))
            if leaf.part.third:  # below those before it
                value = np.concatenate([state[leaf.reference], value])
            # Writers of files take the memory as it lies; a transposed view would be scrambled.
            state[leaf.reference] = np.ascontiguousarray(value)
    if left:
        raise UserError(f"{table.source} has no name for {_some(left)}")
    return state


@dataclasses.dataclass(frozen=True)
class _Leaf:
    """One array on both sides."""

    reference: str
    path: str  # 'params/backbone/conv1/kernel'
    part: _Part
    flat: tuple[int, int, int] | None
    pick: Pick | None

    @property
    def parameter(self) -> str:
        """The path without the collection, 'backbone/conv1/kernel'."""
        return self.path.partition("/")[2]

    def to_ours(self, value: np.ndarray) -> np.ndarray:
        """Returns the reference's array in our layout.

        Raises:
          UserError: it has no real numbers, or its shape cannot be of such a layer.
        """
        part, shape = self.part, value.shape
        if value.dtype.kind in "cOSUM" or (value.dtype.kind in "fV" and value.itemsize < _SMALLEST):
            name = printable(self.reference)
            raise UserError(f"{name} is of type {value.dtype}, which weights are not read in")
        if self.pick and value.ndim:
            value = self.pick(value)
        if part.third is not None and value.ndim:
            share = len(value) // 3
            value = value[part.third * share : (part.third + 1) * share]
        axes = len(part.axes) if part.axes else 1
        if part.over_map and value.ndim == 4:
            value = value.reshape(len(value), -1)
        value = _of_axes(value, axes + 2 if part.pointwise else axes)
        if part.pointwise and value.shape[2:] == (1, 1):
            value = value.reshape(value.shape[:2])
        of = f"{printable(self.reference)} has the shape {_shape(shape)} in the file, the network's"
        if value.ndim != axes:
            raise UserError(f"{of} has {axes} axes")
        if self.flat and value.shape[1] != math.prod(self.flat):
            raise Misfit(f"{of} is (…, {math.prod(self.flat)})")
        c, h, w = self.flat or (0, 0, 0)
        if self.flat:
            value = value.reshape(-1, c, h, w).transpose(0, 2, 3, 1).reshape(value.shape)
        if part.axes is not None:
            value = value.transpose(part.axes)
        if part.window and self.flat:
            value = value.reshape(h, w, c, -1)
        return value

    def to_reference(self, value: np.ndarray) -> np.ndarray:
        """Returns our array in the reference's layout."""
        part = self.part
        if part.window:
            value = value.reshape(-1, value.shape[-1])
        if part.axes is not None:
            value = value.transpose(np.argsort(part.axes))
        if self.flat:
            c, h, w = self.flat
            value = value.reshape(-1, h, w, c).transpose(0, 3, 1, 2).reshape(value.shape)
            value = value.reshape(-1, c, h, w) if part.over_map else value
        if self.pick:
            value = self.pick.back(value)
        return value[:, :, None, None] if part.pointwise else value


def _leaves(rows: Iterable[Row]) -> Iterator[_Leaf]:
    """Yields the arrays of all rows."""
    for row in rows:
        for part in KINDS[row.kind]:
            path = f"{part.collection}/{row.path}/{part.name}"
            flat = row.flat if part.axes == (1, 0) else None
            yield _Leaf(f"{row.reference}.{part.reference}", path, part, flat, row.pick)


def _of_axes(value: np.ndarray, axes: int) -> np.ndarray:
    """Adds or takes off dimensions of size 1 at the end, or around a vector, if that is enough."""
    if axes == 1 and value.ndim > 1 and max(value.shape) == value.size:
        return value.reshape(-1)
    if axes in (2, 4) and value.ndim in (2, 4) and set(value.shape[2:]) <= {1}:
        return value.reshape(*value.shape[:2], *((1,) * (axes - 2)))
    return value


def _shape(shape: tuple[int, ...]) -> str:
    """Shows a shape, the first axes alone of an endless one."""
    return str(shape) if len(shape) <= 8 else f"{str(shape[:8])[:-1]}, …)"


def _some(names: Iterable[str], most: int = 8) -> str:
    """Returns the number of names and the first of them, for a message."""
    names = sorted(names)
    shown = ", ".join(printable(name) for name in names[:most])
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} ({shown}{more})" if names else "nothing"
