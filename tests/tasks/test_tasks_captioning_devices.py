"""Captioning on one device and on eight, with the same weights."""

import jax
import numpy as np
import pytest

from tests.tasks.test_tasks_captioning import KINDS, batch_of
from vision_jax.tasks import Captioning
from vision_jax.training import AdamW, Constant, Optimizer, Parallel, create, make_train_step


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gru", "attention"])
def test_one_device_and_eight_train_alike(kind):
    """With dropout, captions of several lengths, and rows that only fill the batch."""
    task = Captioning(KINDS[kind](dropout=0.3), attention_weight=float(kind == "attention"))
    batch = jax.tree.map(np.asarray, batch_of(16))
    tokens = batch.targets.tokens.copy()
    tokens[::3, 3:] = [2, 0, 0]
    batch = batch.replace(
        targets=batch.targets.replace(tokens=tokens), valid=np.arange(16) % 8 != 5
    )
    fresh = jax.tree.map(np.asarray, task.init(jax.random.key(0), batch))
    ends = []
    for devices in (1, 8):
        parallel = Parallel("shard_map", jax.devices()[:devices])
        update = Optimizer(AdamW(), Constant(1e-3)).build(fresh["params"], 10, 5)
        state = parallel.put_state(create(fresh, update))
        step = parallel.compile(make_train_step(task, update, parallel.axis))
        losses = []
        for _ in range(3):
            state, metrics = step(state, parallel.put_batch(batch), np.uint32(0))
            losses.append(float(metrics["loss"]))
        ends.append((losses, parallel.get_state(state).params))
    (one, params), (eight, others) = ends
    np.testing.assert_allclose(one, eight, rtol=1e-5)
    assert one[0] != one[2]
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(others), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)
