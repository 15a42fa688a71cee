"""`Layers`, the settings that all layers of a network share."""

import jax
import jax.numpy as jnp
import pytest

from vision_jax import models
from vision_jax.config import UserError, build, node, override
from vision_jax.models import Layers


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"norm": "grup"}, "unknown norm 'grup' - did you mean group?"),
        ({"norm": "fozen"}, "unknown norm 'fozen' - did you mean frozen?"),
        ({"dtype": "bfloat"}, "unknown dtype 'bfloat' - did you mean bfloat16?"),
        ({"norm_form": "dark"}, "unknown norm_form 'dark' - did you mean darknet?"),
    ],
)
def test_an_unknown_value_is_one_line_that_names_the_nearest(changes, message):
    with pytest.raises(UserError) as error:
        Layers(**changes)
    assert str(error.value) == message
    with pytest.raises(UserError) as error:
        Layers().replace(**changes)
    assert str(error.value) == message


def test_a_value_that_is_like_none_names_all():
    with pytest.raises(
        UserError, match="known: frozen, group, instance, local, none, position, sync"
    ):
        Layers(norm="xyz")


def test_replace_changes_one_setting_and_leaves_the_others():
    layers = Layers(eps=1e-3, momentum=0.99, dtype="bfloat16", norm_form="darknet")
    assert layers.without_norm() == Layers("none", 1e-3, 0.99, "bfloat16", "darknet")
    assert layers.replace(norm="group").norm == "group" and layers.norm == "sync"


@pytest.mark.parametrize("path, make", [
    ("layers", lambda: node(models.ResNet18)),
    ("backbone.layers", lambda: node(
        models.Classifier, backbone=node(models.ResNet), head=node(models.PoolHead)
    )),
])  # fmt: skip
def test_settings_are_flags_of_a_network(path, make):
    config = make()
    override(config, f"{path}.norm", "group")
    override(config, f"{path}.dtype", "bfloat16")
    assert build(config).backbone.layers == Layers(norm="group", dtype="bfloat16")
    override(config, f"{path}.norm", "grup")
    with pytest.raises(UserError, match="did you mean group"):
        build(config)
    with pytest.raises(UserError, match=r"did you mean .*momentum"):
        override(config, f"{path}.momentun", 0.5)


@pytest.mark.parametrize("norm, kinds", [
    ("sync", {"scale", "bias"}), ("group", {"scale", "bias"}), ("none", set())
])  # fmt: skip
def test_one_value_reaches_every_layer_of_a_network(norm, kinds):
    layers = Layers(norm=norm, dtype="bfloat16")
    model = models.CifarResNet(8, 5, width=4, layers=layers)
    image = jnp.zeros((1, 8, 8, 3))
    outputs, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), image)
    assert {x.dtype for x in jax.tree.leaves(outputs)} == {jnp.dtype("bfloat16")}
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert ("batch_stats" in variables) == (norm == "sync")
    assert set(variables["params"]["backbone"]["conv1"].get("norm", {})) == kinds
