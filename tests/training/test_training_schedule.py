"""Learning rates at chosen steps, by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.config import UserError
from vision_jax.training import (
    Constant,
    Cosine,
    Exponential,
    PlateauState,
    Polynomial,
    ReduceOnPlateau,
    Step,
    WarmUp,
)

TOTAL, EPOCH = 100, 10


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        (Constant(0.3), {0: 0.3, 99: 0.3}),
        (Step(1.0, (3, 6), 0.1), {0: 1, 29: 1, 30: 0.1, 59: 0.1, 60: 0.01, 99: 0.01}),
        (Step(1.0, (5,), 0.5, "steps"), {4: 1, 5: 0.5}),
        (Step(1.0, (0.5, 0.75), 0.1, "fraction"), {49: 1, 50: 0.1, 74: 0.1, 75: 0.01}),
        (Cosine(2.0, 1.0), {0: 2, 50: 1.5, 25: 1.5 + math.cos(math.pi / 4) / 2, 100: 1, 150: 1}),
        (Polynomial(1.0, 0.9), {0: 1, 50: 0.5**0.9, 100: 0}),
        (Polynomial(1.0, 1.0, 0.2), {0: 1, 50: 0.6, 100: 0.2}),
        (Exponential(1.0, 0.94, 2), {0: 1, 19: 1, 20: 0.94, 40: 0.94**2}),
        (Exponential(1.0, 0.5, 10, "steps", False), {0: 1, 5: math.sqrt(0.5), 10: 0.5}),
        (WarmUp(Constant(1.0), 5, "steps"), {0: 0, 1: 0.2, 4: 0.8, 5: 1, 99: 1}),
        (WarmUp(Constant(1.0), 1, start=0.5), {0: 0.5, 5: 0.75, 10: 1}),
        # Times count from step 0 ...
        (WarmUp(Step(1.0, (2,), 0.1), 1), {5: 0.5, 10: 1, 19: 1, 20: 0.1}),
        # ... or from the end of the warm-up, which then has the rest of the run.
        (WarmUp(Step(1.0, (2,), 0.1), 1, shift=True), {5: 0.5, 10: 1, 29: 1, 30: 0.1}),
        (WarmUp(Cosine(1.0), 2, shift=True), {10: 0.5, 20: 1, 60: 0.5, 100: 0}),
        (WarmUp(Constant(1.0), 0), {0: 1}),
    ],
)
def test_rates(schedule, wanted):
    rate = jax.jit(schedule.build(TOTAL, EPOCH))
    for step, value in wanted.items():
        found = rate(jnp.int32(step))
        assert found.shape == () and found.dtype == jnp.float32
        np.testing.assert_allclose(found, value, rtol=1e-6, atol=1e-7)


def test_a_warmed_up_cosine_has_no_jump():
    rate = WarmUp(Cosine(1.0), 2).build(TOTAL, EPOCH)
    rates = [float(rate(jnp.int32(step))) for step in range(TOTAL)]
    assert np.abs(np.diff(rates)).max() < 0.06


def test_epochs_may_be_fractional():
    rate = Step(1.0, (1,), 0.1).build(1000, 390.625)
    assert rate(jnp.int32(390)) == 1 and rate(jnp.int32(391)) == np.float32(0.1)


def test_unknown_unit():
    with pytest.raises(UserError, match="unit='epoch' - did you mean epochs"):
        Step(unit="epoch").build(TOTAL, EPOCH)


def scales(plateau, values):
    state, found = PlateauState.create(), []
    for value in values:
        state = plateau.update(state, value)
        found.append(float(state.scale))
    return found, state


def test_plateau_waits_then_falls():
    plateau = ReduceOnPlateau(factor=0.5, patience=1)
    found, state = scales(plateau, [0.5, 0.6, 0.6, 0.6, 0.7, 0.6, 0.6, 0.6, 0.6])
    assert found == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]
    assert float(state.best) == np.float32(0.7)
    assert [x.dtype for x in jax.tree.leaves(state)] == [np.float32, np.int32, np.float32]


def test_plateau_of_a_loss_with_a_floor_and_a_threshold():
    plateau = ReduceOnPlateau("eval/loss", "min", 0.1, 0, threshold=0.1, minimum=0.05)
    assert scales(plateau, [2.0, 1.9, 1.7, 3.0])[0] == pytest.approx([1, 0.1, 0.1, 0.05])


def test_nan_is_no_improvement_and_never_the_best():
    plateau = ReduceOnPlateau(factor=0.5, patience=0)
    found, state = scales(plateau, [math.nan, 0.1, math.nan])
    assert found == [0.5, 0.5, 0.25]
    assert float(state.best) == np.float32(0.1)


def test_plateau_mode_is_checked():
    with pytest.raises(UserError, match="mode='higher' - known: max, min"):
        ReduceOnPlateau(mode="higher")
