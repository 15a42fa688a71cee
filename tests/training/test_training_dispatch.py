"""Several updates in one program: when, and that nothing else changes."""

import itertools
import json

import jax
import numpy as np
import pytest
from tiny_net import experiment

from vision_jax import run
from vision_jax.config import UserError, build, override
from vision_jax.training import Checkpoints, Parallel, failures, make_parts


def config(**changes):
    """13 steps: programs of four end at 4, 10 and, after single steps, at 6, 12 and 13."""
    tree = experiment(steps=13, eval_every=6, checkpoint_every=8, log_every=2)
    tree.task.model.backbone.dropout = 0.2
    for path, value in changes.items():
        override(tree, path.replace("__", "."), value)
    return tree


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def state(folder, tree, step=13):
    """A checkpoint's arrays."""
    checkpoints = Checkpoints(folder / "checkpoints", read_only=True)
    found, _ = checkpoints.restore(make_parts(build(tree), Parallel()).start[0], step)
    checkpoints.close()
    assert found.step == step
    return jax.tree.leaves(found)


def close(one, other):
    """Another program may round its sums otherwise."""
    for a, b in zip(one, other, strict=True):
        a, b = np.nan_to_num(a), np.nan_to_num(b)
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * max(1, np.abs(b).max()))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 20])
@pytest.mark.parametrize(("every", "saved"), [(6, 5), (7, 0), (12, 1), (50, 4), (0, 2)])
def test_programs_end_where_something_is_due(count, every, saved):
    tree = experiment(steps=29, eval_every=every, checkpoint_every=saved, steps_per_dispatch=count)
    parts, ends = build(tree), [0]
    while ends[-1] < 29:
        ends.append(ends[-1] + parts.dispatched(ends[-1]))
    every = every or 3  # three batches are the training set
    assert ends[-1] == 29 and {*range(every, 29, every)} < {*ends}
    assert {b - a for a, b in itertools.pairwise(ends)} <= {1, count}
    for begin in range(0, 29, every):  # as many programs as fit, then single steps
        length = min(every, 29 - begin)
        inside = [end for end in ends if begin < end <= begin + length]
        assert len(inside) == length // count + length % count
    due = {*range(saved or every, 29, saved or every), 29}
    expected = sorted({next(end for end in ends if end >= step) for step in due})
    assert [end for end in ends[1:] if parts.is_checkpoint_step(end)] == expected


@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param({"parallel": "pmap", "accumulate": 2}, marks=pytest.mark.slow),
        pytest.param({"seeds": 2}, marks=pytest.mark.slow),
    ],
)
def test_a_run_is_the_same_in_programs_of_several_updates(tmp_path, changes):
    trees = {"1": config(**changes), "4": config(**changes, steps_per_dispatch=4)}
    for name, tree in trees.items():
        run.train(tree, tmp_path / name)
    expected, found = rows(tmp_path / "1"), rows(tmp_path / "4")
    assert [row.keys() for row in found] == [row.keys() for row in expected]
    assert [row["step"] for row in found] == [2, 4, 6, 6, 8, 10, 12, 12, 13]
    close([[*row.values()] for row in found], [[*row.values()] for row in expected])
    close(*(state(tmp_path / name, tree) for name, tree in trees.items()))


def test_a_resumed_run_ends_with_the_same_bits(tmp_path, train_until_saved):
    """A checkpoint that is due at step 8 is saved at 10; the rest goes on with other ones."""
    run.train(config(steps_per_dispatch=4), tmp_path / "straight")
    train_until_saved(config(steps_per_dispatch=4), tmp_path / "broken")
    assert rows(tmp_path / "broken")[-1]["step"] == 10
    tree = config(steps_per_dispatch=4, checkpoint_every=1)
    run.train(tree, tmp_path / "broken")
    files = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("straight", "broken")]
    assert files[0] == files[1]
    for a, b in zip(*(state(tmp_path / n, tree) for n in ("straight", "broken")), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_step_that_is_not_finite_is_named(tmp_path):
    said = []
    for count in (1, 4):
        tree = config(steps_per_dispatch=count, log_every=1, optimizer__schedule__value=1e28)
        with pytest.raises(failures.NotFinite) as error:
            run.train(tree, tmp_path / str(count))
        said.append(str(error.value))
    assert said[0] == said[1]
    assert "at step 1 " not in said[0] and "at step 4 " not in said[0]


def test_below_one_is_refused():
    with pytest.raises(UserError, match="steps_per_dispatch=0 must be at least 1"):
        build(config(steps_per_dispatch=0))
