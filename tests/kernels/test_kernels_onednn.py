import ctypes
import importlib.metadata
import os
import platform

import numpy as np
import pytest

from vision_jax.kernels import dnnl, onednn
from vision_jax.kernels.conv_lax import Geometry

pytestmark = pytest.mark.core


@pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="there is no wheel"
)
def test_it_is_installed_with_the_requirements():
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        pytest.skip("the system lacks libgomp, GCC's run-time library for threads")
    assert onednn.available()


def test_without_it_nothing_is_called(monkeypatch):
    monkeypatch.setenv("VISION_JAX_ONEDNN", "0")
    assert onednn._caller.__wrapped__() is None


@pytest.mark.parametrize("files", [None, [], "not a library"])
def test_a_missing_or_unusable_wheel_is_none(files, monkeypatch, tmp_path):
    class File:
        name = dnnl.FILE

        def locate(self):
            path = tmp_path / dnnl.FILE
            path.write_text(files)
            return path

    def found(package):
        if files is None:
            raise importlib.metadata.PackageNotFoundError(package)
        return [File()] if files else []

    monkeypatch.setattr(importlib.metadata, "files", found)
    assert onednn._caller.__wrapped__() is None


@pytest.mark.parametrize("given", [{}, {"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": ""}])
def test_loading_leaves_the_environment_as_it_was(given, monkeypatch):
    seen = []
    monkeypatch.setattr(dnnl, "Library", lambda path: seen.append(waiting()))
    monkeypatch.setattr(importlib.metadata, "files", lambda package: [Wheel()])

    class Wheel:
        name = dnnl.FILE

        def locate(self):
            return dnnl.FILE

    def waiting():
        return {name: os.environ[name] for name in dnnl._WAITING if name in os.environ}

    for name in dnnl._WAITING:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    dnnl.load()
    assert seen == [given or dnnl._WAITING]
    assert waiting() == given


def test_sizes_survive_as_numbers():
    pairs = ((5, 6), (3, 2), (1, 2), ((0, 1), (2, 0)), (2, 1))
    sizes = onednn.Sizes(2, 4, 8, 6, 10, Geometry(*pairs, 2), 3)
    assert onednn.Sizes.unpack(np.array(sizes.pack(), np.int64).tobytes()) == sizes
    assert sizes.shapes == ((8, 5, 6, 6), (3, 2, 3, 10), (8, 2, 4, 10))
