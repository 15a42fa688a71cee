"""detectron2's pickles, written here in its names: read without it, and put where they belong."""

import pickle

import numpy as np
import pytest

from tests.weights.variables import (
    assert_equal,
    assert_same_shapes,
    detector_shapes,
    drawn,
    shapes,
)
from vision_jax import models, weights
from vision_jax.config import UserError
from vision_jax.models.layers import Layers
from vision_jax.weights import detectron2
from vision_jax.weights.zoo import networks

CLASSES, SIDE = 3, 64


def fpn():
    """Makes a Mask R-CNN, so that every kind of head is there."""
    pyramid = models.FPN(("conv2_x", "conv3_x"), 8, "pool")
    rpn = models.RPN(anchor_sizes=((8.0,), (16.0,), (32.0,)), pre_nms_top_n=8, post_nms_top_n=4)
    pool = models.RegionPool(size=3, levels=2, sampling_ratio=0, aligned=True)
    head = models.BoxHead(pool=pool, hidden=(6, 5), max_detections=2)
    mask = models.MaskHead(pool=pool, widths=(4, 4))
    return models.FasterRCNN(_backbone(2), CLASSES, pyramid, rpn, head, mask)


def c4():
    """Makes a Mask R-CNN too, whose masks share the body."""
    ratios = (0.5, 1.0, 2.0)
    rpn = models.RPN(((8.0, 16.0),), ratios, pre_nms_top_n=8, post_nms_top_n=4)
    pool = models.RegionPool(size=4, sampling_ratio=0, aligned=True)
    body = models.ResNetStage(2, 4, stage=4, version="v1")
    head = models.BoxHead(pool=pool, body=body, hidden=(), max_detections=2)
    mask = models.MaskHead(None, (), 4)
    return models.FasterRCNN(_backbone(2), CLASSES, models.OneMap("conv3_x"), rpn, head, mask)


def retinanet():
    pyramid = models.FPN(("conv2_x", "conv3_x"), 8, "p6p7", "c5")
    sizes = ((8.0, 10.0), (16.0, 20.0), (32.0, 40.0), (64.0, 80.0))
    return models.RetinaNet(_backbone(2), pyramid, CLASSES, anchor_sizes=sizes, depth=1)


def proposals():
    whole = fpn()
    return models.ProposalNetwork(whole.backbone, whole.pyramid, whole.rpn)


def _backbone(stages):
    layers = Layers(norm="frozen")
    return models.ResNet((2, 1)[:stages], "bottleneck", 4, version="v1", layers=layers)


NETWORKS = {"fpn": fpn, "c4": c4, "retinanet": retinanet, "proposals": proposals}


def theirs(name):
    """Returns a state in detectron2's names and layouts, as its files have it."""
    model = NETWORKS[name]()
    state = weights.to_reference(drawn(detector_shapes(model, SIDE)), model, "detectron2")
    rng = np.random.default_rng(1)
    return {k: rng.standard_normal(v.shape).astype(np.float32) for k, v in state.items()}


def write(path, state, protocol=4):
    old = {
        "pixel_mean": np.zeros(3),
        "proposal_generator.anchor_generator.cell_anchors.0": np.ones(4),
    }
    with path.open("wb") as file:
        pickle.dump({"model": {**state, **old}, "__author__": "zoo"}, file, protocol)


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_files_fill_the_whole_network(tmp_path, name, protocol):
    model, state = NETWORKS[name](), theirs(name)
    write(tmp_path / "model_final.pkl", state, protocol)
    variables = weights.load(tmp_path / "model_final.pkl", model)
    assert_same_shapes(variables, detector_shapes(model, SIDE))
    stem = next(k for k in state if k.endswith("stem.conv1.weight"))
    kernel = variables["params"]["backbone"]["conv1"]["conv"]["kernel"]
    # Blue, green, red become red, green, blue.
    np.testing.assert_array_equal(kernel, state[stem][:, ::-1].transpose(2, 3, 1, 0))


def test_names_are_those_of_the_model_zoo():
    names = set(theirs("fpn"))
    assert names >= {
        "backbone.bottom_up.stem.conv1.norm.running_var",
        "backbone.bottom_up.res2.0.shortcut.norm.weight",
        "backbone.bottom_up.res3.0.conv3.weight",
        "backbone.fpn_lateral2.weight",
        "backbone.fpn_output3.bias",
        "proposal_generator.rpn_head.conv.weight",
        "proposal_generator.rpn_head.objectness_logits.bias",
        "proposal_generator.rpn_head.anchor_deltas.weight",
        "roi_heads.box_head.fc1.weight",
        "roi_heads.box_predictor.cls_score.weight",
        "roi_heads.mask_head.mask_fcn1.weight",
        "roi_heads.mask_head.deconv.bias",
        "roi_heads.mask_head.predictor.weight",
    }
    assert set(theirs("c4")) >= {
        "roi_heads.res5.0.conv1.norm.bias",
        "backbone.res3.0.conv1.weight",
        "roi_heads.mask_head.deconv.weight",
        "roi_heads.mask_head.predictor.bias",
    }
    assert not any("mask_fcn" in name for name in theirs("c4"))
    assert {"head.cls_subnet.0.weight", "head.bbox_pred.bias"} <= set(theirs("retinanet"))


def test_names_of_the_deep_retinanet_and_of_proposals_alone():
    deep = {row.reference for row in detectron2.retinanet(networks.detectron2_retinanet(101))}
    assert {"backbone.bottom_up.res4.22.conv3", "head.bbox_subnet.6", "head.cls_score"} <= deep
    assert not any(".res4.23." in name for name in deep)
    rpn = {row.reference for row in detectron2.proposals(networks.detectron2_proposals())}
    assert {"backbone.bottom_up.res5.2.conv3.norm", "backbone.fpn_output5"} <= rpn
    assert not any(name.startswith("roi_heads") for name in rpn)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: {"rpn": model.rpn.clone(depth=2)},
        lambda model: {"pyramid": model.pyramid.clone(normalized=True)},
        lambda model: {"head": model.head.clone(convs=(8,))},
        lambda model: {"mask": model.mask.clone(normalized=True)},
    ],
    ids=["two-convolutions", "pyramid", "convolutions-of-regions", "masks"],
)
def test_second_forms_are_not_detectron2s(change):
    model = fpn().clone(**change(fpn()))
    assert not detectron2.has_rcnn(model) and detectron2.has_rcnn(fpn())


def test_background_is_first_and_has_no_box_or_mask():
    model, state = fpn(), theirs("fpn")
    head = weights.from_reference(state, model)["params"]
    score = state["roi_heads.box_predictor.cls_score.bias"]
    assert np.array_equal(head["head"]["cls_score"]["bias"], [score[3], *score[:3]])
    box = head["head"]["bbox_pred"]["bias"].reshape(CLASSES + 1, 4)
    assert np.all(box[0] == 0)
    theirs_box = state["roi_heads.box_predictor.bbox_pred.bias"]
    assert np.array_equal(box[1:].reshape(-1), theirs_box)
    mask = head["mask"]["mask_fcn_logits"]["bias"]
    assert np.array_equal(mask, [0, *state["roi_heads.mask_head.predictor.bias"]])


def test_anchors_go_by_ratio_first():
    state = theirs("c4")
    params = weights.from_reference(state, c4())["params"]
    biases = state["proposal_generator.rpn_head.objectness_logits.bias"]  # 2 sizes of 3 ratios
    assert np.array_equal(params["rpn"]["cls_logits"]["bias"], biases.reshape(2, 3).T.reshape(-1))
    state = theirs("retinanet")
    params = weights.from_reference(state, retinanet())["params"]
    biases = state["head.cls_score.bias"].reshape(2, 3, CLASSES)
    ours = params["class_subnet"]["out"]["bias"].reshape(3, 2, CLASSES)
    assert np.array_equal(ours, biases.transpose(1, 0, 2))


@pytest.mark.parametrize("name", NETWORKS)
def test_there_and_back_is_the_identity(name):
    model, state = NETWORKS[name](), theirs(name)
    back = weights.to_reference(weights.from_reference(state, model), model, "detectron2")
    assert back.keys() == state.keys()
    for key, value in state.items():
        np.testing.assert_array_equal(back[key], value, err_msg=key)


def test_layouts_of_arrays(tmp_path):
    state = theirs("retinanet")
    bent = {k: np.asfortranarray(v.astype(">f8")) for k, v in state.items()}
    for name, arrays in (("a.pkl", state), ("b.pkl", bent)):
        write(tmp_path / name, arrays)
    one, other = (weights.load(tmp_path / name, retinanet()) for name in ("a.pkl", "b.pkl"))
    assert_equal(one, other)


class _Evil:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"model": {"a": _Evil()}}, "builtins.print"),
        ({"model": {"a": np.array([{}, 1], object)}}, "not numbers"),
        ({"model": {"a": np.array(["text"])}}, "not numbers"),
        ({"model": {}}, "no tensors or arrays by name"),
        ({"weights": 1}, "no tensors or arrays by name"),
        ([1, 2], "no tensors or arrays by name"),
        (1, "a int where a state dict should be"),
    ],
    ids=["call", "objects", "text", "empty", "other", "list", "number"],
)
def test_anything_else_is_refused_by_name(tmp_path, capsys, content, text):
    path = tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps(content, 4))
    with pytest.raises(UserError, match=text) as error:
        weights.load(path, retinanet())
    assert "\n" not in str(error.value) and "bad.pkl" in str(error.value)
    assert capsys.readouterr().out == ""  # nothing was run


def test_damaged_files_are_one_line(tmp_path):
    write(tmp_path / "whole.pkl", theirs("retinanet"))
    whole = (tmp_path / "whole.pkl").read_bytes()
    rng = np.random.default_rng(0)
    for cut in (0, 1, 50, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.pkl").write_bytes(whole[:cut])
        with pytest.raises(UserError):
            weights.load(tmp_path / "cut.pkl", retinanet())
    for _ in range(30):
        bent = bytearray(whole)
        for position in rng.integers(0, 400, 3):
            bent[position] = rng.integers(0, 256)
        (tmp_path / "bent.pkl").write_bytes(bytes(bent))
        try:
            weights.load(tmp_path / "bent.pkl", retinanet())
        except UserError as error:
            assert "\n" not in str(error)


def test_a_classifiers_file_gives_retinanet_its_backbone():
    model = retinanet()
    classifier = models.Classifier(_backbone(2), models.PoolHead(1000))
    variables = drawn(shapes(classifier, SIDE))
    state = weights.to_reference(variables, classifier, "torchvision")
    read = weights.from_reference(state, model)
    for kind in ("params", "batch_stats"):
        assert_equal(read[kind]["backbone"], variables[kind]["backbone"])


def caffe2(name):
    """Turns a name of detectron2's into Caffe2's, which has no statistics."""
    for ours, theirs in (("stem.conv1.norm.", "res_conv1_bn_"), ("stem.", ""), (".norm.", "_bn_"),
                         ("shortcut", "branch1"), ("conv1.", "conv1_"), (".", "_")):  # fmt: skip
        name = name.replace(ours, theirs)
    if name.startswith("res") and not name.startswith("res_"):
        for number, letter in zip("123", "abc", strict=True):
            name = name.replace(f"_conv{number}_", f"_branch2{letter}_")
    parts = {"_bn_weight": "_bn_s", "_bn_bias": "_bn_b", "_weight": "_w", "_bias": "_b"}
    ending = next(part for part in parts if name.endswith(part))
    return name.removesuffix(ending) + parts[ending]


@pytest.mark.parametrize("kind", ["Caffe2", "torchvision"])
def test_backbones_of_imagenet_start_detectors(tmp_path, kind):
    classifier = models.Classifier(_backbone(2), models.PoolHead(10))
    variables = drawn(shapes(classifier, SIDE))
    state = weights.to_reference(variables, classifier, "detectron2-backbone")
    content = {"model": state, "__author__": "torchvision"}
    if kind == "Caffe2":
        content = {caffe2(k): v for k, v in state.items() if "running" not in k}
        content |= {"conv1_b": np.ones(4, np.float32), "conv1_w_momentum": np.ones(3, np.float32)}
        assert {"conv1_w", "res_conv1_bn_s", "res2_0_branch2a_w", "res3_0_branch1_bn_b"} <= set(
            content
        )
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(content, 2))
    read = weights.load(tmp_path / "R-50.pkl", retinanet())
    kernel = read["params"]["backbone"]["conv1"]["conv"]["kernel"]
    expected = variables["params"]["backbone"]["conv1"]["conv"]["kernel"]
    # Only Caffe2's networks saw blue, green, red.
    np.testing.assert_array_equal(kernel, expected[:, :, ::-1] if kind == "Caffe2" else expected)
    norm = read["params"]["backbone"]["conv2_1"]["conv1"]["norm"]
    assert_equal(norm, variables["params"]["backbone"]["conv2_1"]["conv1"]["norm"])
    if kind == "Caffe2":
        statistics = read["batch_stats"]["backbone"]["conv1"]["norm"]
        assert np.all(statistics["mean"] == 0)
        np.testing.assert_allclose(np.sqrt(statistics["var"] + 1e-5), 1, rtol=1e-6)
