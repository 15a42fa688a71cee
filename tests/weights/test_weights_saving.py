"""Variables written for other libraries, and read again."""

import jax
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from tests.weights.variables import assert_equal, detector_shapes, drawn, shapes
from vision_jax import models, weights
from vision_jax.config import UserError
from vision_jax.models.classifiers.classifier import Classifier, PoolHead

pytestmark = pytest.mark.core


def resnet(**options):
    return Classifier(models.ResNet((1, 1), width=4, **options), PoolHead(5))


@pytest.mark.parametrize("source", [None, "torchvision", "timm"])
def test_there_and_back(tmp_path, source):
    model = resnet()
    variables = drawn(shapes(model, 32))
    path = tmp_path / "a.safetensors"
    weights.save(path, variables, model, source)
    assert_equal(weights.load(path, model), variables)
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_reader_of_torchs_finds_its_names_and_layouts(tmp_path):
    model = resnet()
    variables = drawn(shapes(model, 32))
    weights.save(tmp_path / "a.safetensors", jax.tree.map(jax.numpy.asarray, variables), model)
    state = load_file(tmp_path / "a.safetensors")
    kernel = variables["params"]["backbone"]["conv1"]["conv"]["kernel"]
    np.testing.assert_array_equal(state["conv1.weight"], kernel.transpose(3, 2, 0, 1))
    assert state["fc.weight"].shape == (5, 32)
    with safe_open(tmp_path / "a.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt"}  # which torch's libraries ask for


def test_timms_vgg_has_convolutions_for_layers(tmp_path):
    model = models.vgg("A", 5, width=4, hidden=(6, 7), grid=2)
    variables = drawn(shapes(model, 64))
    states = {}
    for source in ("torchvision", "timm"):
        weights.save(tmp_path / f"{source}.safetensors", variables, model, source)
        states[source] = load_file(tmp_path / f"{source}.safetensors")
        assert_equal(weights.load(tmp_path / f"{source}.safetensors", model), variables)
    convolution = states["timm"]["pre_logits.fc1.weight"]
    assert convolution.shape == (6, 32, 2, 2)
    np.testing.assert_array_equal(
        convolution.reshape(6, -1), states["torchvision"]["classifier.0.weight"]
    )


def test_a_first_stage_in_detectron2s_names(tmp_path):
    layers = models.Layers(norm="frozen")
    model = models.ProposalNetwork(
        models.ResNet((1, 1), width=4, layers=layers),
        models.FPN(("conv2_x", "conv3_x"), width=8),
        models.RPN(anchor_sizes=((8.0, 16.0), (16.0, 32.0), (32.0, 64.0)), layers=layers),
    )
    variables = drawn(detector_shapes(model, 64))
    weights.save(tmp_path / "a.safetensors", variables, model, "detectron2")
    state = load_file(tmp_path / "a.safetensors")
    assert state["proposal_generator.rpn_head.anchor_deltas.weight"].shape == (24, 8, 1, 1)
    assert_equal(weights.load(tmp_path / "a.safetensors", model), variables)


def without(variables, *path):
    """Returns variables without one part."""
    if len(path) == 1:
        return {k: v for k, v in variables.items() if k != path[0]}
    return {**variables, path[0]: without(variables[path[0]], *path[1:])}


def test_what_cannot_be_written_is_one_line(tmp_path):
    model = resnet()
    variables = drawn(shapes(model, 32))
    headless = without(variables, "params", "head")
    other = drawn(shapes(Classifier(models.ResNet((1, 1), width=4), PoolHead(6)), 32))
    for file, tree, source, text in (
        ("a.pth", variables, None, "a.pth: weights are written as .safetensors files"),
        ("a.safetensors", variables, "tensorflow", "no weights table of 'tensorflow' - known"),
        ("a.safetensors", variables["params"], None, "not {backbone, head}"),
        ("a.safetensors", headless, None, "the variables lack params/head/fc/bias"),
        ("a.safetensors", other, None, "params/head/fc/bias is (6,), (5,) in the network"),
        ("none/a.safetensors", variables, None, "cannot be written: No such file or directory"),
    ):
        with pytest.raises(UserError) as error:
            weights.save(tmp_path / file, tree, model, source)
        assert text in str(error.value)
        assert str(error.value).startswith(str(tmp_path / file))
    assert list(tmp_path.iterdir()) == []
