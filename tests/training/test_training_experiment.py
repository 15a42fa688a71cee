"""Settings of an experiment that hold for all of its parts."""

import pytest
from tiny_net import experiment

from vision_jax import run
from vision_jax.config import UserError, build, node
from vision_jax.models.layers import layers_of
from vision_jax.training import Stage, make_experiment, spread, stages


def dtypes(config):
    return {layers.dtype for layers in layers_of(build(config.task).model)}


def test_one_dtype_reaches_every_layer():
    config = experiment(dtype="bfloat16")
    config.task.model.head.layers.dtype = "float16"
    assert dtypes(spread(config)) == {"bfloat16"}
    assert dtypes(config) == {"float32", "float16"}  # what was given stays as it is
    assert spread(spread(config)).to_json() == spread(config).to_json()


def test_without_a_dtype_each_part_has_its_own():
    config = experiment()
    config.task.model.backbone.layers.dtype = "bfloat16"
    assert dtypes(spread(config)) == {"bfloat16", "float32"}


def test_a_stage_may_choose_its_dtype(tmp_path):
    steps = (node(Stage, name="one", changes=(("dtype", "float16"),)), node(Stage, name="two"))
    config = experiment(dtype="bfloat16", stages=steps)
    one, two = (dtypes(spread(stage)) for stage, _ in stages.resolve(config, tmp_path))
    assert (one, two) == ({"float16"}, {"bfloat16"})


def test_a_run_computes_in_the_experiments_dtype(tmp_path):
    losses = set()
    for dtype in (None, "bfloat16"):
        run.train(experiment(dtype=dtype), tmp_path / str(dtype))
        losses.add((tmp_path / str(dtype) / "metrics.jsonl").read_text())
    assert len(losses) == 2


def test_an_unknown_dtype_is_one_line():
    with pytest.raises(UserError, match="unknown dtype 'bfloat17' - did you mean bfloat16"):
        make_experiment(experiment(dtype="bfloat17"))


@pytest.mark.parametrize("part", ["backbone", "head"])
def test_local_norms_of_any_part_need_steps_per_device(part, tmp_path):
    config = experiment(parallel="jit")
    config.task.model[part].layers.norm = "local"
    assert make_experiment(config).norms == {"sync", "local"}
    with pytest.raises(UserError, match="norm='local'"):
        run.train(config, tmp_path)
