"""Programs for GPUs and TPUs, looked at without having one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import programs
from vision_jax.config import build, load
from vision_jax.structs import Batch, Targets

SHAPE = jax.ShapeDtypeStruct((8,), jnp.float32)


def small_detector():
    """Returns the task of a demo's smoke, and a batch's shapes."""
    task = build(load("experiments/quickstart_detection.py:smoke").task)
    targets = Targets(
        boxes=np.zeros((2, 4, 4), np.float32),
        labels=np.zeros((2, 4), np.int32),
        valid=np.ones((2, 4), bool),
    )
    image, there = np.zeros((2, 64, 64, 3), np.uint8), np.ones(2, bool)
    return task, Batch(
        image=image, valid=there, index=np.arange(2, dtype=np.int32), targets=targets
    )


@pytest.mark.usefixtures("at_the_root")
def test_a_detectors_programs_are_the_same_everywhere_and_explained():
    task, batch = small_detector()
    for program in (programs.step_of(task, batch), programs.prediction_of(task, batch)):
        cuda, tpu = (programs.places(program, platform) for platform in programs.PLATFORMS)
        assert cuda == tpu
        assert cuda[programs.Place("while", "ops/nms.py `_greedy`")] > 0
        assert not [place for place in cuda if place.kind.startswith("custom_call")]
        assert {place.where for place in cuda} <= {*programs.WHY}


def test_what_is_slow_is_counted_and_a_custom_call_named():
    def function(x):
        x = jax.lax.fori_loop(0, 3, lambda i, x: x.at[i].add(1.0), x)
        x = jax.ffi.ffi_call("somebodys_own", jax.ShapeDtypeStruct(x.shape, x.dtype))(x)
        return jnp.sort(x)

    found = programs.places(programs.Program(function, (SHAPE,)), "cuda")
    kinds = {place.kind: count for place, count in found.items()}
    assert kinds == {"while": 1, "scatter": 1, "sort": 1, "custom_call somebodys_own": 1}


def test_a_program_that_calls_the_host_is_refused():
    program = programs.Program(lambda x: jax.debug.callback(print, x), (SHAPE,))
    with pytest.raises(ValueError, match="cpu is different from the lowering platform cuda"):
        programs.places(program, "cuda")


@pytest.mark.slow
def test_the_page_is_that_of_today():
    assert programs.PAGE.read_text() == programs.page()
