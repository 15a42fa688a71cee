"""Foreign checkpoints to variables and back."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from vision_jax.config import UserError
from vision_jax.weights import caffe, darknet, detectron2, engine
from vision_jax.weights.caffe import read_caffemodel
from vision_jax.weights.engine import Restored, State, Tree, restore
from vision_jax.weights.pth import read_pth
from vision_jax.weights.tables import tables_for

__all__ = ["Restored", "from_reference", "load", "read_state", "restore", "to_reference"]

TORCH_SUFFIXES = (".pth", ".pt", ".th")


def load(path: str | Path, model: Any) -> Tree:
    """The variables of `model`, {'params': …, 'batch_stats': …}, from a reference's file.

    Args:
      path: a `.safetensors`, `.pth`, `.pt` or `.th` file with the reference's own parameter names,
        a `.caffemodel` or detectron2's `.pkl` (see `weights.caffe` and `weights.detectron2` for
        the images that they need), or Darknet's `.weights`, which has none
        (`darknet.read_weights`).
      model: the network; the class of its backbone chooses the table.

    Raises:
      UserError: the file is missing, cannot be read, or does not fit, in one line.
    """
    try:
        if darknet.is_weights(Path(path)):
            return darknet.load(Path(path), model)
        return from_reference(read_state(path), model)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def read_state(path: str | Path) -> dict[str, np.ndarray]:
    """The state dict in a file, in the reference's names and layouts.

    Values of less than 32 bits (float16, bfloat16) come as float32.

    Raises:
      UserError: the file is missing or cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError("no such weights file")
    if path.suffix == ".safetensors":
        state = _read_safetensors(path)
    elif path.suffix in TORCH_SUFFIXES:
        state = read_pth(path)
    elif path.suffix == caffe.SUFFIX:
        state = read_caffemodel(path)
    elif path.suffix == detectron2.SUFFIX:
        state = detectron2.read_pkl(path)
    else:
        suffixes = (caffe.SUFFIX, detectron2.SUFFIX, darknet.SUFFIX)
        known = ", ".join((".safetensors", *TORCH_SUFFIXES, *suffixes))
        raise UserError(f"weights in a {path.suffix or 'nameless'} file - known: {known}")
    half = (np.dtype("float16"), np.dtype(ml_dtypes.bfloat16))
    return {k: v.astype(np.float32) if v.dtype in half else v for k, v in state.items()}


def from_reference(state: State, model: Any) -> Tree:
    """The variables of `model` from a state dict in the reference's names and layouts.

    Raises:
      UserError: names do not match; lists both sides.
    """
    return engine.from_reference(state, model, tables_for(model))


def to_reference(tree: Tree, model: Any, source: str | None = None) -> dict[str, np.ndarray]:
    """Variables, parameters or gradients in a reference's names and layouts.

    Args:
      tree: variables, or what lies under their key 'params'.
      model: the network.
      source: 'torchvision', 'timm', …; None takes the model's first table.
    """
    return engine.to_reference(tree, model, tables_for(model), source)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        raise UserError(f"not a readable safetensors file: {error}") from error
