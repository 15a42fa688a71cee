"""Files of weights turned into a network's variables, with all that does not fit told."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from flax import linen as nn

from vision_jax.config import UserError, printable
from vision_jax.weights import by_name, darknet, engine, heads, zoo
from vision_jax.weights.engine import Loaded, State
from vision_jax.weights.files import part_of, read_state
from vision_jax.weights.heads import Heads
from vision_jax.weights.restoring import Tree, flatten, put, whole_layers
from vision_jax.weights.tables import tables_for

_LOG = logging.getLogger(__name__)
_MOST_CHANNELS = 64  # of images


def load(path: str | Path, model: nn.Module) -> Tree:
    """Reads the variables of `model`, {'params': …, 'batch_stats': …}, from a reference's file.

    Heads that the file lacks, or has for another number of classes, are left out, which is logged
    in one line; `restore` puts the rest into the network's own variables.

    Args:
      path: a `.safetensors`, `.pth`, `.pt`, `.th`, `.bin` or `.ckpt` file with the reference's own
        parameter names, or the `.index.json` of one in several parts; a `.caffemodel` or
        detectron2's `.pkl` (see `weights.caffe` and `weights.detectron2` for the images that they
        need); or Darknet's `.weights`, which has no names (`darknet.read_weights`). A name instead
        is fetched, see `weights.resolve`.
      model: the network; its class, or that of its backbone, chooses the table.

    Raises:
      UserError: the file is missing, cannot be read, or does not fit, in one line.
    """
    may_be_fresh = Heads(heads.shapes, model)
    loaded = read(path, model, may_be_fresh)
    arrays = flatten(loaded.variables)
    shapes = heads.shapes(model, _channels(arrays))
    ours = flatten(shapes) if shapes is not None else {}
    wrong = {p: v.shape for p, v in arrays.items() if p in ours and v.shape != ours[p].shape}
    told = list(loaded.misfits.values())
    for name, shape in wrong.items():
        line = f"{name} is {shape} in the file, {ours[name].shape} in the network"
        if name.partition("/")[2] not in may_be_fresh:
            raise UserError(f"{path}: {line}")
        told.append(line)
    lost = [name for name in loaded.names if name in ours and name not in arrays]
    left = set(whole_layers([*wrong, *lost], {**arrays, **ours}))
    result: Tree = {}
    for name, value in arrays.items():
        if name not in left:
            put(result, name, value)
    _tell(path, loaded, sorted(left), told)
    return result


def read(path: str | Path, model: nn.Module, may_be_fresh: Heads) -> Loaded:
    """Reads a file for a network, whose shapes are not looked at.

    Args:
      path: see `load`.
      model: the network.
      may_be_fresh: its heads, which the file may lack.

    Raises:
      UserError: see `load`.
    """
    named, path = str(path), by_name.resolve(path)
    try:
        if darknet.is_weights(path):
            loaded = darknet.load(path, model)
        else:
            loaded = engine.read(read_state(path), model, tables_for(model), may_be_fresh)
        for name, value in flatten(loaded.variables).items():
            if value.dtype.kind in "iub":
                raise UserError(
                    f"{loaded.names[name]} has numbers of type {value.dtype}: quantised weights "
                    "are not read"
                )
    except UserError as error:
        index = part_of(path)
        hint = f"; it is a part of {index}, which reads all of them" if index else ""
        raise UserError(f"{path}: {error}{hint}") from None
    entry = zoo.entries().get(named) if path != Path(named) else None
    if entry is not None and entry.reads_bgr:
        _turn_round(loaded.variables, entry.reads_bgr)
    return loaded


def from_reference(state: State, model: nn.Module) -> Tree:
    """Returns the variables of `model` for a state dict in a reference's names and layouts.

    Heads may be missing. Names that wrappers put before all others ('module.') are understood.

    Raises:
      UserError: names do not match; lists both sides. Or there is no table for the network, or an
        array whose shape cannot be of such a layer.
    """
    loaded = engine.read(state, model, tables_for(model), Heads(heads.shapes, model))
    if loaded.misfits and not loaded.is_part:
        raise UserError(next(iter(loaded.misfits.values())))
    return loaded.variables


def to_reference(tree: Tree, model: nn.Module, source: str | None = None) -> dict[str, np.ndarray]:
    """Returns variables, parameters or gradients in a reference's names and layouts.

    Args:
      tree: variables, or what lies under their key 'params'.
      model: the network.
      source: 'torchvision', 'timm', …; None takes the model's first table.

    Raises:
      UserError: an unknown source, arrays that it has no name for, or a network without a table.
    """
    return engine.to_reference(tree, model, tables_for(model), source)


def _turn_round(variables: Tree, kernel: str) -> None:
    """Makes a convolution of blue, green, red one of red, green, blue, in place."""
    *parents, last = f"params/{kernel}".split("/")
    for key in parents:
        variables = variables.get(key, {})
    if last in variables:
        variables[last] = variables[last][:, :, ::-1]


def _channels(arrays: dict[str, np.ndarray]) -> int:
    """Returns the number of channels that the first convolution reads, 3 if there is none."""
    kernels = (value.shape[2] for value in arrays.values() if value.ndim == 4)
    count = next(kernels, 3)
    return count if 0 < count <= _MOST_CHANNELS else 3


def _tell(path: str | Path, loaded: Loaded, left: list[str], told: list[str]) -> None:
    """Logs what a file lacks, has for other classes, and has besides."""
    lines = []
    if left:
        lines.append(f"left out: {listed(left)}")
    if told:
        lines.append("; ".join(told[:2]))
    if loaded.unused:
        lines.append(f"unused: {listed(loaded.unused)}")
    if lines:
        _LOG.warning("%s: %s", path, "; ".join(lines))


def listed(names: Sequence[str], most: int = 40) -> str:
    """Returns names on one line, the first of them where there are many."""
    shown = [printable(name) for name in names[:most]]
    return ", ".join([*shown, f"and {len(names) - most} more"] if len(names) > most else shown)
