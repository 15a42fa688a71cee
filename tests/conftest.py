"""The strict world that every test runs in.

Shapes in signatures are checked, arrays of different rank do not silently broadcast, and there are
eight virtual devices. (Warnings become errors in pyproject.toml.)
"""

import os
import pathlib

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
# Tests run side by side; threads that wait for each other crawl.
os.environ["OMP_NUM_THREADS"] = "1"

import jax
import jaxtyping
import pytest

ROOT = pathlib.Path(__file__).parent.parent
CHECKED = [
    f"vision_jax.{room}"
    for room in (
        "kernels",
        "ops",
        "proposals",
        "models",
        "tasks",
        "evaluation",
        "inspect",
        "export",
    )
]
jaxtyping.install_import_hook(CHECKED, "beartype.beartype")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True)
def _strict_dtypes_in_ops(request):
    """Ops are also held to explicit dtypes; rooms above may mix a float with an int."""
    if not {"ops", "kernels"} & {*request.node.path.parts}:
        yield
        return
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture(scope="module")
def embedded_data(tmp_path_factory):
    """The embedded data sets lie in one folder for all tests, which makes them once."""
    with pytest.MonkeyPatch.context() as patch:
        shared = tmp_path_factory.getbasetemp().parent / "datasets"
        patch.setenv("TFDS_DATA_DIR", str(shared))
        yield


@pytest.fixture(scope="module")
def at_the_root(embedded_data):
    """As users work: experiments are named from the repository's root."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        yield


@pytest.fixture
def train_until_saved(monkeypatch):
    """Trains a config in a folder as `run.train`, but dies when the first checkpoint is written."""
    from vision_jax import run

    class Died(Exception):
        pass

    def save_and_die(self):
        save(self)
        self.checkpoints.wait()
        raise Died

    save = run.Run._save

    def train(config, folder):
        with monkeypatch.context() as patch, pytest.raises(Died):
            patch.setattr(run.Run, "_save", save_and_die)
            run.train(config, folder)

    return train
