"""Named variants are functions as if they were written out."""

import inspect
import pickle

import pytest

from vision_jax import models
from vision_jax.config import UserError, build, node, override
from vision_jax.models.classifiers import resnet as resnet_file
from vision_jax.models.layers import Layers, variant


def blocks_of(depth: int, width: int = 8, *, layers: Layers = Layers()) -> tuple:
    """Returns its arguments."""
    return depth, width, layers


Deep = variant("Deep", blocks_of, "Makes the deep one.", depth=50)
DeepNarrow = variant("DeepNarrow", Deep, "Makes the deep and narrow one.", width=2)


def test_a_variant_fixes_arguments_and_takes_the_others():
    assert Deep() == (50, 8, Layers())
    assert Deep(4, layers=Layers("group")) == (50, 4, Layers("group"))
    assert DeepNarrow() == (50, 2, Layers())
    layers = Layers(dtype="bfloat16")
    assert models.ResNet18(7, layers=layers) == models.resnet(18, 7, layers=layers)


def test_a_variant_has_a_name_a_place_and_a_docstring_of_its_own():
    assert Deep.__name__ == Deep.__qualname__ == "Deep"
    assert Deep.__module__ == __name__
    assert Deep.__doc__ == "Makes the deep one." and blocks_of.__doc__ == "Returns its arguments."
    assert models.ResNet50.__module__ == resnet_file.__name__


def test_its_signature_holds_the_arguments_that_are_left():
    assert list(inspect.signature(Deep).parameters) == ["width", "layers"]
    assert list(inspect.signature(DeepNarrow).parameters) == ["layers"]
    assert inspect.signature(Deep).parameters["width"].default == 8
    assert inspect.get_annotations(Deep) == {"width": int, "layers": Layers, "return": tuple}


def test_it_is_pickled_by_its_name():
    assert pickle.loads(pickle.dumps(Deep)) is Deep
    assert pickle.loads(pickle.dumps(models.ResNet50)) is models.ResNet50


def test_an_argument_that_is_unknown_fixed_or_double_is_a_type_error():
    for arguments in ({"depht": 3}, {"depth": 18}):
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            Deep(**arguments)
    with pytest.raises(TypeError, match="multiple values"):
        Deep(1, width=2)
    with pytest.raises(TypeError, match="unexpected keyword argument 'depht'"):
        variant("Wrong", blocks_of, "Fixes what there is not.", depht=50)


def test_configs_name_it_and_hold_the_arguments_that_are_left():
    config = node(models.ResNet50, num_classes=7)
    assert config.target == "vision_jax.models.classifiers.resnet.ResNet50"
    assert "depth" not in config and config.version == "v1.5"
    override(config, "layers.norm", "group")
    assert build(config) == models.resnet(50, 7, layers=Layers(norm="group"))
    with pytest.raises(UserError, match="ResNet50 has no argument 'num_class'"):
        node(models.ResNet50, num_class=7)
