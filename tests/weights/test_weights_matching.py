"""Names as wrappers leave them, heads that are absent, surplus or of other classes, parts."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.weights.variables import assert_equal, drawn, shapes
from vision_jax import models, weights
from vision_jax.config import UserError
from vision_jax.models.classifiers.classifier import Classifier, PoolHead


def resnet(classes=5, stages=(1, 1)):
    return Classifier(models.ResNet(stages, "basic", 4), PoolHead(classes))


def state_of(model, side=32):
    variables = drawn(shapes(model, side))
    return variables, weights.to_reference(variables, model)


PREFIXES = ("module.", "_orig_mod.", "module._orig_mod.", "model.", "backbone.", "model.encoder.")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_and_buffers(prefix):
    model = resnet()
    variables, state = state_of(model)
    wrapped = {f"{prefix}{name}": value for name, value in state.items()}
    wrapped |= {"n_averaged": np.array(3), f"{prefix}bn1.num_batches_tracked": np.array(7)}
    assert_equal(weights.from_reference(wrapped, model), variables)


def test_a_backbone_without_its_head(caplog, tmp_path):
    model = resnet()
    variables, state = state_of(model)
    save_file(
        {k: v for k, v in state.items() if not k.startswith("fc.")}, tmp_path / "w.safetensors"
    )
    loaded = weights.load(tmp_path / "w.safetensors", model)
    assert_equal(loaded["params"], {"backbone": variables["params"]["backbone"]})
    assert "left out: params/head/fc/bias, params/head/fc/kernel" in caplog.text


@pytest.mark.parametrize("make", [models.InceptionV3, models.GoogLeNet])
def test_auxiliary_heads_absent_and_surplus(make):
    has = make()
    has_not = has.clone(head=has.head.clone(aux=False))
    _, state = state_of(has, 299)
    _, shorter = state_of(has_not, 299)
    assert len(shorter) < len(state)
    backbone = weights.from_reference(state, has_not)["params"]["backbone"]
    assert weights.from_reference(shorter, has)["params"]["backbone"].keys() == backbone.keys()


def test_a_deeper_network_is_refused():
    _, state = state_of(resnet(stages=(1, 2)))
    with pytest.raises(UserError, match=r"missing nothing; unknown 10 \(layer2\.1\.bn1\.bias"):
        weights.from_reference(state, resnet())


def test_another_class_count_leaves_kernel_and_bias_and_says_both_shapes(caplog, tmp_path):
    variables, state = state_of(resnet(7))
    save_file(state, tmp_path / "w.safetensors")
    loaded = weights.load(tmp_path / "w.safetensors", resnet(5))
    assert_equal(loaded["params"], {"backbone": variables["params"]["backbone"]})
    assert "(8, 7) in the file, (8, 5) in the network" in caplog.text


def test_shapes_of_the_body_are_one_line_with_both(tmp_path):
    _, state = state_of(resnet())
    name = "layer1.0.conv1.weight"
    save_file({**state, name: np.ones((4, 4, 5, 5), np.float32)}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"\(5, 5, 4, 4\) in the file, \(3, 3, 4, 4\) in the net"):
        weights.load(tmp_path / "w.safetensors", resnet())


def test_files_in_several_parts(tmp_path):
    model = resnet()
    variables, state = state_of(model)
    names = sorted(state)
    parts = {
        "m-00001-of-00002.safetensors": names[::2],
        "m-00002-of-00002.safetensors": names[1::2],
    }
    for part, some in parts.items():
        save_file({name: state[name] for name in some}, tmp_path / part)
    index = tmp_path / "m.safetensors.index.json"
    places = {name: part for part, some in parts.items() for name in some}
    index.write_text(json.dumps({"weight_map": places}))
    assert_equal(weights.load(index, model), variables)
    with pytest.raises(UserError, match=r"it is a part of m\.safetensors\.index\.json"):
        weights.load(tmp_path / "m-00001-of-00002.safetensors", model)
    index.write_text(json.dumps({"weight_map": {**places, "fc.bias": "../m.safetensors"}}))
    with pytest.raises(UserError, match="no file beside it"):
        weights.load(index, model)
    (tmp_path / "m-00002-of-00002.safetensors").unlink()
    index.write_text(json.dumps({"weight_map": places}))
    with pytest.raises(UserError, match=r"m-00002-of-00002\.safetensors' is missing"):
        weights.load(index, model)


def test_the_first_convolution_is_adapted_as_timm_does():
    kernel = np.arange(12, dtype=np.float32).reshape(1, 2, 3, 2)
    tree = {"params": {"conv1": {"kernel": kernel}}}

    def adapted(channels):
        fresh = {"params": {"conv1": {"kernel": np.zeros((1, 2, channels, 2), np.float32)}}}
        result, paths = weights.adapt_input(tree, fresh, channels)
        assert paths == ["params/conv1/kernel"]
        return result["params"]["conv1"]["kernel"]

    np.testing.assert_array_equal(adapted(1), kernel.sum(2, keepdims=True))
    four = np.concatenate([kernel, kernel[:, :, :1]], 2) * np.float32(0.75)
    np.testing.assert_array_equal(adapted(4), four)
