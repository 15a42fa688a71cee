"""Chains of stages, one with a solver, through the training loop: values, kills, mistakes."""

import json
import shutil

import jax
import numpy as np
import pytest
from tiny_net import experiment

from vision_jax import data, run, tasks
from vision_jax.config import UserError, build, node
from vision_jax.training import Checkpoints, Stage, initial, stages

SOLVER = node(tasks.RidgeHead, features="features", penalty=0.1)


def chain(**changes):
    return experiment(
        stages=(
            node(Stage, name="net"),
            node(Stage, name="head", changes=(("init.weights", "stage:net"), ("solver", SOLVER))),
        ),
        **changes,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A chain that was left alone: its folder and its last metrics."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run.train(chain(), folder)


def test_a_solver_sees_every_image_once():
    """96 + 3 images in batches of 32: the last batch is padded, not filled with others."""
    parts = build(experiment(train="train[:99]", solver=SOLVER))
    _, state, _ = initial.state(parts)
    solved = stages.solve(parts, state)
    assert int(solved.step) == 1
    jax.tree.map(np.testing.assert_array_equal, solved.collections, state.collections)
    jax.tree.map(np.testing.assert_array_equal, solved.params["backbone"], state.params["backbone"])
    whole = data.Eval(parts.train.source, batch_size=104)
    expected = parts.solver.solve(parts.task, state.variables, whole.batches(), 1)
    for name in ("kernel", "bias"):
        np.testing.assert_allclose(
            solved.params["head"]["fc"][name], expected["params"]["head"]["fc"][name], atol=1e-4
        )


def test_a_solver_needs_no_optimizer():
    config = experiment(solver=SOLVER)
    config.optimizer, config.steps = None, 0
    parts = build(config)
    assert parts.total_steps == 1
    _, state, _ = initial.state(parts)
    assert not jax.tree.leaves(state.opt_state)
    with pytest.raises(UserError, match="optimizer is None"):
        config.solver, config.steps = None, 2
        build(config)


def test_a_net_then_a_solved_head(whole):
    folder, metrics = whole
    done = json.loads((folder / "head" / "DONE").read_text())
    assert done["metrics"]["eval/top1"] == metrics["eval/top1"]
    assert (folder / "head" / "report" / "index.html").exists()
    rows = [json.loads(r) for r in (folder / "head" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1]

    config = experiment(solver=SOLVER)
    config.init.weights = str(folder / "net")
    parts = build(config)
    _, start, _ = initial.state(parts)
    checkpoints = Checkpoints(folder / "head" / "checkpoints", read_only=True)
    saved, meta = checkpoints.restore(start)
    checkpoints.close()
    assert meta["evaluated"] and meta["metrics"]["eval/top1"] == metrics["eval/top1"]
    solved = stages.solve(parts, start)
    jax.tree.map(np.testing.assert_array_equal, saved.params, solved.params)
    assert int(saved.step) == 1


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_chain_killed_around_its_solver_goes_on(whole, tmp_path, monkeypatch, where):
    """The net is not trained again, nor is a solution that was saved found again."""
    calls = []
    shutil.copytree(whole[0] / "net", tmp_path / "net")

    def solve(experiment, state):
        calls.append(1)
        if where == "before":
            raise KeyboardInterrupt
        return real(experiment, state)

    def finish(*arguments):
        if arguments[0].name == "head":
            raise KeyboardInterrupt
        return done(*arguments)

    real, done = stages.solve, run.folder.finish
    monkeypatch.setattr(run.stages, "solve", solve)
    monkeypatch.setattr(run.folder, "finish", finish)
    with pytest.raises(KeyboardInterrupt):
        run.train(chain(), tmp_path)
    assert not (tmp_path / "head" / "DONE").exists()
    trained = (tmp_path / "net" / "DONE").stat().st_mtime_ns
    monkeypatch.setattr(run.stages, "solve", real if where == "before" else solve)
    monkeypatch.setattr(run.folder, "finish", done)
    assert run.train(chain(), tmp_path) == whole[1]
    assert (tmp_path / "net" / "DONE").stat().st_mtime_ns == trained
    assert len(calls) == 1
    rows = [folder / "head" / "metrics.jsonl" for folder in (whole[0], tmp_path)]
    assert rows[0].read_bytes() == rows[1].read_bytes()


def test_a_batch_that_does_not_divide_is_one_line():
    config = experiment(solver=SOLVER)
    config.train.batch_size = 20
    parts = build(config)
    with pytest.raises(UserError, match="not divisible by 8 devices"):
        stages.solve(parts, initial.state(parts)[1])


def test_a_stage_may_refer_only_to_earlier_ones(tmp_path):
    config = experiment(
        stages=(
            node(Stage, name="one", changes=(("init.weights", "stage:tow"),)),
            node(Stage, name="two"),
        )
    )
    with pytest.raises(UserError, match="no earlier stage 'tow'"):
        stages.resolve(config, tmp_path)
    config = experiment(stages=(node(Stage, name="one"), node(Stage, name="one")))
    with pytest.raises(UserError, match="two stages are named 'one'"):
        stages.resolve(config, tmp_path)
    first, second = stages.resolve(chain(), tmp_path)
    assert first[1] == tmp_path / "net" and first[0].init.weights is None
    assert second[0].init.weights == str(tmp_path / "net") and not second[0].stages


def test_a_stage_may_name_itself_but_none_that_comes_later(tmp_path):
    two = node(Stage, name="two")
    for value, known in (("stage:one/file.npz", True), ("stage:two", False)):
        one = node(Stage, name="one", changes=(("init.weights", value),))
        config = experiment(stages=(one, two))
        if known:
            (first, folder), _ = stages.resolve(config, tmp_path)
            assert first.init.weights == str(folder / "file.npz")
        else:
            with pytest.raises(UserError, match="no earlier stage 'two'"):
                stages.resolve(config, tmp_path)
