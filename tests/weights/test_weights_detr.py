"""DETR's names in three sources: theirs, shapes, there and back, COCO's classes, masks."""

import jax
import numpy as np
import pytest

from tests.golden.seeded import Golden
from tests.weights.test_weights_tables import GOLDEN
from tests.weights.variables import assert_equal, detector_shapes, drawn, placeholders
from vision_jax import models, weights

SOURCES = {
    "facebookresearch": "models_thirdparty/detr_resnet50",
    "transformers-own": "models/hf_detr_resnet50",
}


@pytest.mark.parametrize("source", SOURCES)
def test_names_and_shapes_are_the_references(source):
    model = models.DETRResNet50(num_classes=91)
    variables = placeholders(shapes(model))
    ours = weights.to_reference(variables, model, source)
    theirs = Golden(GOLDEN / f"{SOURCES[source]}.npz").meta["shapes"]
    assert {k: list(v.shape) for k, v in ours.items()} == theirs


def shapes(model):
    return detector_shapes(model, 64)


def small(**changes):
    settings = models.TransformerSettings(features=16, heads=2, hidden=8)
    return models.DETR(
        models.ResNet((1, 1, 1, 1), width=4),
        **{"num_classes": 3, "num_queries": 5} | changes,
        encoder=models.Encoder(2, settings),
        decoder=models.Decoder(1, settings),
    )


@pytest.mark.parametrize("source", ["facebookresearch", "transformers", "transformers-own"])
def test_there_and_back_is_the_identity(source):
    model = small()
    variables = drawn(shapes(model))
    state = weights.to_reference(variables, model, source)
    assert_equal(weights.from_reference(state, model), variables)


def test_masks_have_the_names_of_the_authors_segmentation():
    model = small(mask=models.QueryMasks(heads=8))
    variables = drawn(shapes(model))
    state = weights.to_reference(variables, model)
    assert_equal(weights.from_reference(state, model), variables)
    expected = {"detr.class_embed.weight", "bbox_attention.q_linear.bias", "mask_head.gn5.weight"}
    assert expected | {"mask_head.out_lay.weight", "mask_head.adapter3.bias"} <= {*state}
    assert state["mask_head.lay1.weight"].shape == (24, 24, 3, 3)


def test_published_names_of_transformers():
    state = weights.to_reference(drawn(shapes(small())), small(), "transformers")
    for name in (
        "model.backbone.conv_encoder.model.layer1.0.downsample.1.running_var",
        "model.encoder.layers.1.self_attn.out_proj.weight",
        "model.decoder.layers.0.encoder_attn.k_proj.bias",
        "model.decoder.layers.0.fc1.weight",
        "model.query_position_embeddings.weight",
        "bbox_predictor.layers.2.bias",
    ):
        assert name in state


def test_80_classes_are_those_of_coco_and_no_object_stays_last():
    published, ours = small(num_classes=91), small(num_classes=80)
    state = weights.to_reference(drawn(shapes(published)), published)
    kernel = weights.from_reference(state, ours)["params"]["class_embed"]["kernel"]
    rows = state["class_embed.weight"]
    assert kernel.shape == (16, 81)
    for place, number in ((0, 1), (11, 13), (79, 90), (80, 91)):
        np.testing.assert_array_equal(kernel[:, place], rows[number])


def test_query_key_and_value_are_torchs_thirds():
    model = small()
    variables = drawn(shapes(model))
    state = weights.to_reference(variables, model)
    layer = variables["params"]["decoder"]["layer_0"]["cross_attention"]
    joint = state["transformer.decoder.layers.0.multihead_attn.in_proj_weight"]
    for i, name in enumerate(("query", "key", "value")):
        np.testing.assert_array_equal(joint[16 * i : 16 * (i + 1)].T, layer[name]["kernel"])
    gradients = jax.tree.map(np.zeros_like, variables["params"])
    assert weights.to_reference(gradients, model).keys() <= state.keys()
