"""Ends of a run, each said in one line."""

import os
import pathlib

import jax
import pytest

from vision_jax.training import environment, failures, folder


def test_out_of_memory_says_what_to_lower():
    text = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 12.5GiB.\n[tf-allocator-...]"
    with (
        pytest.raises(failures.OutOfMemory) as error,
        failures.explained(batch_size=256, accumulate=1),
    ):
        raise jax.errors.JaxRuntimeError(text)
    assert str(error.value) == (
        "out of device memory (asked for 12.5GiB): batch_size=256 is too large; lower "
        "--config.train.batch_size or set --config.accumulate=2"
    )


def test_other_errors_of_the_device_pass():
    with pytest.raises(jax.errors.JaxRuntimeError), failures.explained(8, 1):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")


def test_not_finite_names_the_step_and_the_way_out():
    measured = {"loss": float("nan"), "lr": 0.1, "grad_norm": 3e4}
    line = str(failures.NotFinite(1230, measured, saved=1000, last=1220))
    assert line.startswith("loss is nan at step 1230 (last seen finite at 1220, lr 0.1, ")
    assert "last good checkpoint: step 1000" in line and "\n" not in line
    assert failures.NotFinite(1, measured, None, 0).code == 3


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143), (None, 143)])
def test_interrupted_exits_like_the_signal(number, code):
    assert failures.Interrupted(5, pathlib.Path("runs/x"), number).code == code


def test_default_folder_names():
    assert folder.name("experiments/quickstart.py") == "quickstart"
    assert (
        folder.name("experiments/resnet_cifar10.py:depth=56,plain")
        == "resnet_cifar10-depth56-plain"
    )
    assert folder.name("experiments/sweeps/a.py:twin") == "sweeps-a-twin"
    own = folder.name("experiments/own.py:train=coco:/data/a b.json,../photos,size=9")
    assert own == "own-traincoco-data-a-b.json-..-photos-size9"
    long = [folder.name(f"experiments/own.py:train=folder:{'x/' * 80}{end}") for end in "ab"]
    assert long[0] != long[1] and all(len(name) < 60 and "/" not in name for name in long)


def test_the_cache_is_the_users_alone(tmp_path, monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    try:
        made = environment.enable_cache()
        assert made == tmp_path / ".cache/vision_jax"
        assert made.stat().st_mode & 0o777 == 0o700
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "own"))
        assert environment.enable_cache() == tmp_path / "own"
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_determinism_is_asked_for_once(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_a=1")
    environment.require_determinism()
    environment.require_determinism()
    assert os.environ["XLA_FLAGS"] == "--xla_a=1 --xla_gpu_deterministic_ops=true"
