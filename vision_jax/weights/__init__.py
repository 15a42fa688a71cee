"""Foreign checkpoints to variables and back."""

from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from vision_jax.config import UserError
from vision_jax.weights import engine
from vision_jax.weights.engine import Restored, State, Tree, restore
from vision_jax.weights.tables import tables_for

__all__ = ["Restored", "from_reference", "load", "read_state", "restore", "to_reference"]


def load(path: str | Path, model: Any) -> Tree:
    """The variables of `model`, {'params': …, 'batch_stats': …}, from a reference's file.

    Args:
      path: a `.safetensors` file with the reference's own parameter names.
      model: the network; the class of its trunk chooses the table.

    Raises:
      UserError: the file is missing, cannot be read, or does not fit, in one line.
    """
    try:
        return from_reference(read_state(path), model)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def read_state(path: str | Path) -> dict[str, np.ndarray]:
    """The state dict in a file, in the reference's names and layouts.

    Raises:
      UserError: the file is missing or cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError("no such weights file")
    if path.suffix != ".safetensors":
        raise UserError(f"weights in a {path.suffix or 'nameless'} file; .safetensors is read")
    try:
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        raise UserError(f"not a readable safetensors file: {error}") from error


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
