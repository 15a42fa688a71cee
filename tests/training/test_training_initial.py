"""The state before the first step: fresh, from a run, from a file, or refused in one line."""

import re

import jax
import numpy as np
import pytest
from tiny_net import experiment

from vision_jax import run
from vision_jax.config import UserError, build, node, override
from vision_jax.training import Ema, Init, Sgd, initial, paths

CONV, HEAD = "params/backbone/conv1/conv/kernel", "params/head/fc/kernel"


def variables(config):
    found, lines = initial.variables(build(config))
    return {path: np.asarray(x) for path, x in paths.flatten(found).items()}, lines


def from_weights(path, **settings):
    return experiment(init=node(Init, weights=str(path), **settings))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Returns a run folder, and its variables by path."""
    folder = tmp_path_factory.mktemp("trained")
    run.train(experiment(seed=5), folder)
    found, origin = initial.trained(build(experiment()), folder)
    assert origin == f"{folder}, step 2"
    return folder, {path: np.asarray(x) for path, x in paths.flatten(found).items()}


def test_fresh_variables_are_those_of_the_seed():
    (one, lines), (again, _), (other, _) = map(
        variables, (experiment(), experiment(), experiment(seed=1))
    )
    assert lines == []
    assert all(np.array_equal(one[path], again[path]) for path in one)
    assert not np.array_equal(one[CONV], other[CONV])


def test_a_run_folder_gives_its_best_checkpoint(trained):
    folder, theirs = trained
    ours, lines = variables(from_weights(folder))
    assert lines == [f"init: {len(theirs)} arrays from {folder}"]
    assert all(np.array_equal(ours[path], theirs[path]) for path in theirs)


def test_a_head_for_other_classes_stays_fresh_and_is_listed(trained):
    folder, theirs = trained
    config = from_weights(folder)
    override(config, "task.model.head.num_classes", 12)
    ours, lines = variables(config)
    assert ours[HEAD].shape[-1] == 12 and np.array_equal(ours[CONV], theirs[CONV])
    (line,) = (line for line in lines if line.startswith("init: fresh: "))
    assert "head/fc/kernel" in line and "head/fc/bias" in line and "backbone" not in line


def test_another_backbone_is_refused_and_the_line_says_what_would_do(trained):
    folder, _ = trained
    config = from_weights(folder)
    override(config, "task.model.backbone.width", 6)
    with pytest.raises(
        UserError, match=r"backbone/conv1/\S+ has the shape \(.*4.*\) there"
    ) as error:
        variables(config)
    pattern = re.search(r"--config\.init\.reinitialize='(.*)'", str(error.value))
    override(config, "init.reinitialize", f"{pattern[1]}|head/.*")
    ours, _ = variables(config)
    assert ours[CONV].shape[-1] == 6


def test_a_part_may_be_left_fresh(trained):
    folder, theirs = trained
    config = from_weights(folder, reinitialize="backbone/.*")
    ours, _ = variables(config)
    assert np.array_equal(ours[HEAD], theirs[HEAD])
    assert np.array_equal(ours[CONV], variables(experiment())[0][CONV])
    override(config, "init.reinitialize", "bakbone/.*")
    with pytest.raises(UserError, match=r"init\.reinitialize='bakbone/\.\*' matches no parameter"):
        variables(config)


def test_a_first_convolution_of_other_channels_is_adapted_by_setting(trained):
    folder, theirs = trained
    config = from_weights(folder)
    override(config, "train.source.channels", 3)
    with pytest.raises(UserError, match=r"--config\.init\.adapt_input=True"):
        variables(config)
    override(config, "init.adapt_input", True)
    ours, lines = variables(config)
    np.testing.assert_allclose(ours[CONV].sum(2), theirs[CONV].sum(2), rtol=1e-5, atol=1e-6)
    assert any(line.startswith("init: adapted: ") for line in lines)


def test_the_state_holds_what_the_optimizer_and_the_averages_need():
    _, state, _ = initial.state(build(experiment()))
    assert int(state.step) == 0 and state.ema is None
    momenta = [np.shape(x) for x in jax.tree.leaves(state.opt_state)]
    assert sorted(momenta) == sorted(np.shape(x) for x in jax.tree.leaves(state.params))
    config = experiment(ema=node(Ema, decay=0.5))
    config.optimizer.rule = node(Sgd, momentum=0.0)
    _, state, _ = initial.state(build(config))
    assert jax.tree.leaves(state.opt_state) == []
    jax.tree.map(np.testing.assert_array_equal, state.ema["params"], state.params)
    assert not np.shares_memory(
        jax.tree.leaves(state.ema["params"])[0], jax.tree.leaves(state.params)[0]
    )


def test_nothing_to_read(tmp_path):
    with pytest.raises(UserError, match=r"no checkpoint in .* and no --config"):
        initial.trained(build(experiment()), tmp_path)
    with pytest.raises(UserError, match=r"nope\.pth: no such file"):
        initial.check({"weights": "nope.pth"})
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match="no checkpoints in"):
        initial.trained(build(experiment()), tmp_path)


def test_a_checkpoint_of_another_network_is_refused(trained):
    config = experiment()
    override(config, "task.model.backbone.width", 6)
    with pytest.raises(UserError, match=r"arrays, such as \S+, which has another shape"):
        initial.trained(build(config), trained[0])
