"""R-FCN.pytorch's weights: its own names, a layer that it has twice, and classifiers in R-FCN."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.golden.seeded import Golden
from tests.weights.variables import assert_equal, detector_shapes, drawn, shapes
from vision_jax import models, weights
from vision_jax.config import UserError
from vision_jax.models.classifiers.classifier import Classifier, PoolHead
from vision_jax.models.layers import Layers

FILE = Path(__file__).parents[1] / "golden" / "models_thirdparty" / "rfcn_resnet50.npz"
FROZEN = Layers(norm="frozen")
SIDE = 64  # of the images


def small(use_bias=False):
    """Makes an R-FCN of one block per stage."""
    body = models.ResNetStage(1, 32, 1, (2,), version="v1", layers=FROZEN)
    return models.RFCN(
        models.ResNet((1, 1, 1), width=4, version="v1", layers=FROZEN),
        3,
        rpn=models.RPN(anchor_sizes=((32.0,),), width=8, outputs_per_anchor=2),
        score_maps=models.ScoreMaps(body, 8, 2, use_bias=use_bias),
    )


def test_there_and_back_is_the_identity_in_the_sources_names():
    model = small()
    variables = drawn(detector_shapes(model, SIDE))
    state = weights.to_reference(variables, model)
    assert_equal(weights.from_reference(state, model), variables)
    theirs = Golden(FILE).meta["shapes"]
    assert set(state) <= set(theirs)
    alone = re.compile(r"RCNN_(rpn|conv_1x1|conv_new\.1|cls_base|bbox_base)\.")
    assert {*filter(alone.match, state)} == {*filter(alone.match, theirs)}


def test_of_a_layer_that_is_there_twice_the_second_counts():
    model = small()
    state = weights.to_reference(drawn(detector_shapes(model, SIDE)), model)
    one, two = "RCNN_conv_1x1.weight", "RCNN_conv_new.1.weight"
    np.testing.assert_array_equal(state[one], state[two])
    kernel = weights.from_reference({**state, one: state[one] + 1}, model)["params"]
    np.testing.assert_array_equal(
        kernel["score_maps"]["reduce"]["kernel"], state[two].transpose(2, 3, 1, 0)
    )


def test_biases_are_no_part_of_it():
    state = weights.to_reference(drawn(detector_shapes(small(), SIDE)), small())
    with pytest.raises(UserError):
        weights.from_reference(state, small(use_bias=True))


def test_a_classifiers_last_stage_makes_score_maps():
    backbone = models.ResNet((1, 1, 1, 1), width=4, layers=FROZEN)
    classifier = Classifier(backbone, PoolHead(5))
    state = weights.to_reference(drawn(shapes(classifier, SIDE)), classifier, "torchvision")
    model = small()
    variables = drawn(detector_shapes(model, SIDE))
    _, report = weights.restore(variables, weights.from_reference(state, model))
    body = {path for path in report.restored if "/score_maps/body/conv5_1/" in path}
    assert len(body) == 4 * 5 and not [p for p in report.missing if "/body/" in p]
