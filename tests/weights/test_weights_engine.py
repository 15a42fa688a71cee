"""The engine: there and back, files of safetensors, and what `restore` reports."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.golden.seeded import Golden
from tests.weights.variables import assert_equal, drawn, shapes
from vision_jax import models, weights
from vision_jax.config import UserError

GOLDEN = Path(__file__).parents[1] / "golden"


def _variables(model, seed=0):
    return drawn(shapes(model, 32), seed)


SMALL = {
    "cifar": lambda: models.CifarResNet(8),
    "basic": lambda: models.ResNet18(10),
}


@pytest.mark.parametrize("name", SMALL)
def test_to_reference_and_back_is_the_identity(name):
    model = SMALL[name]()
    variables = _variables(model)
    state = weights.to_reference(variables, model)
    assert_equal(weights.from_reference(state, model), variables)


def test_gradients_are_named_without_buffers():
    model = models.CifarResNet(8)
    state = weights.to_reference(_variables(model)["params"], model)
    assert state["layer1.0.conv1.weight"].shape == (16, 16, 3, 3)
    assert not any("running" in name for name in state)


def test_load_reads_a_safetensors_file(tmp_path):
    model = models.CifarResNet(20)
    state = Golden(GOLDEN / "models_thirdparty" / "cifar_resnet20.npz").state_dict()
    save_file(state, tmp_path / "w.safetensors")
    variables = weights.load(tmp_path / "w.safetensors", model)
    kernel = variables["params"]["backbone"]["stage2_1"]["conv1"]["conv"]["kernel"]
    np.testing.assert_array_equal(kernel, state["layer2.0.conv1.weight"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(
        variables["batch_stats"]["backbone"]["conv1"]["norm"]["var"], state["bn1.running_var"]
    )


def test_unmatched_names_are_one_error_with_both_sides(tmp_path):
    model = models.CifarResNet(8)
    state = weights.to_reference(_variables(model), model)
    state["layer4.0.conv1.weight"] = state.pop("layer3.0.conv1.weight")
    save_file({k: np.ascontiguousarray(v) for k, v in state.items()}, tmp_path / "w.safetensors")
    with pytest.raises(UserError) as error:
        weights.load(tmp_path / "w.safetensors", model)
    text = str(error.value)
    assert "missing 1 (layer3.0.conv1.weight)" in text
    assert "unknown 1 (layer4.0.conv1.weight)" in text
    assert "w.safetensors" in text and "\n" not in text


def test_bad_files_are_one_line(tmp_path):
    model = models.CifarResNet(8)
    (tmp_path / "short.safetensors").write_bytes(b"\x10\x00")
    (tmp_path / "other.onnx").write_bytes(b"")
    for name, text in (("none.safetensors", "no such"), ("short.safetensors", "not a readable"),
                       ("other.onnx", r"\.onnx file - known: \.safetensors")):  # fmt: skip
        with pytest.raises(UserError, match=text) as error:
            weights.load(tmp_path / name, model)
        assert "\n" not in str(error.value)


def test_a_network_without_a_table_is_named():
    with pytest.raises(UserError, match="no weights table for LeNetBackbone"):
        weights.from_reference({}, models.LeNet5())


def test_a_backbone_alone_has_no_table():
    with pytest.raises(UserError, match="no weights table for ResNet - known: Alex"):
        weights.from_reference({}, models.ResNet())


def test_unknown_arrays_and_sources_are_errors():
    model = models.CifarResNet(8)
    with pytest.raises(UserError, match=r"no name for 1 \(params/extra"):
        weights.to_reference({"extra": np.zeros(3)}, model)
    with pytest.raises(UserError, match="no weights table of 'caffe'"):
        weights.to_reference({}, model, source="caffe")


def test_restore_lists_a_changed_head():
    new, old = models.CifarResNet(8, num_classes=5), models.CifarResNet(8)
    ours, theirs = _variables(new), _variables(old, seed=1)
    theirs = {**theirs, "extra": {"a": np.zeros(2)}}
    ours["params"]["more"] = np.ones(1)
    result, report = weights.restore(ours, theirs)
    assert report.reshaped == {
        "params/head/fc/bias": ((10,), (5,)),
        "params/head/fc/kernel": ((64, 10), (64, 5)),
    }
    assert report.missing == ("params/more",) and report.unused == ("extra/a",)
    np.testing.assert_array_equal(
        result["params"]["head"]["fc"]["kernel"], ours["params"]["head"]["fc"]["kernel"]
    )
    assert_equal(result["params"]["backbone"], theirs["params"]["backbone"])
    assert "reshaped: params/head/fc/bias" in str(report)
