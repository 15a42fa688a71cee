"""Variables written for other libraries: a reference's names and layouts, as a safetensors file."""

import os
from pathlib import Path

import numpy as np
from flax import linen as nn
from safetensors import numpy as safetensors

from vision_jax.config import UserError
from vision_jax.weights import heads
from vision_jax.weights.loading import to_reference
from vision_jax.weights.restoring import Tree, flatten
from vision_jax.weights.safe_tensors import SUFFIX


def save(path: str | Path, variables: Tree, model: nn.Module, source: str | None = None) -> None:
    """Writes a network's variables as a `.safetensors` file, which torch's libraries read.

    In PyTorch: `network.load_state_dict(safetensors.torch.load_file(path))`. `weights.load` reads
    it too. The file is there whole or not at all.

    Args:
      path: ends with '.safetensors'.
      variables: {'params': …, 'batch_stats': …} of the network, all of them.
      model: the network.
      source: whose names and layouts, 'torchvision', 'timm', …; None takes the model's first table.

    Raises:
      UserError: another ending, an unknown source, variables that are not the network's, arrays
        that the source has no name for, or a file that cannot be written.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise UserError(f"{path}: weights are written as {SUFFIX} files; give that ending")
    try:
        _check(variables, model)
        state = to_reference(variables, model, source)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    half = path.with_name(f".{path.name}.{os.getpid()}.half")
    try:
        half.write_bytes(safetensors.save(state, {"format": "pt"}))
        half.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        half.unlink(missing_ok=True)


def _check(variables: Tree, model: nn.Module) -> None:
    """Refuses variables that are not all of a network's.

    Raises:
      UserError: names an array that is missing, or has another shape.
    """
    if "params" not in variables:
        raise UserError(f"variables are {{'params': …}}, not {{{', '.join(list(variables)[:3])}}}")
    shapes = heads.shapes(model)
    ours, theirs = flatten(variables), flatten(shapes) if shapes is not None else {}
    for name, shape in theirs.items():
        if name not in ours:
            raise UserError(f"the variables lack {name}, which the network has")
        if np.shape(ours[name]) != shape.shape:
            raise UserError(f"{name} is {np.shape(ours[name])}, {shape.shape} in the network")
