"""Every table against the reference's own list of names and shapes, and there and back."""

import functools
from pathlib import Path

import pytest

from tests.golden.seeded import Golden
from tests.weights.variables import assert_equal, drawn, placeholders, shapes
from vision_jax import models, weights
from vision_jax.config import UserError
from vision_jax.models.classifiers.classifier import Classifier, PoolHead
from vision_jax.models.layers import Layers

BATCH_NORM = Layers(norm="sync")
GOLDEN = Path(__file__).parents[1] / "golden"
REFERENCES = {
    "models/alexnet": (models.AlexNet2014, 224),
    "models/vgg16_bn": (functools.partial(models.VGG16, layers=BATCH_NORM), 224),
    "models/googlenet": (models.GoogLeNet, 224),
    "models/inception_v3": (models.InceptionV3, 299),
    "models/mobilenet_v2": (models.MobileNetV2, 224),
    "models/resnet34": (models.ResNet34, 224),
    "models/resnet152": (models.ResNet152, 224),
    "models/timm_mobilenetv1_100": (models.MobileNetV1, 224),
    "models/timm_resnet18d": (functools.partial(models.resnet_d, 18), 224),
    "models/timm_resnet50d": (models.ResNet50D, 224),
    "models/timm_resnetv2_50": (models.ResNet50V2, 224),
    "models_thirdparty/facenet_inception_resnet_v1": (models.InceptionResNetV1, 160),
    "models_thirdparty/cifar_resnet56": (functools.partial(models.CifarResNet, 56), 32),
    "models_thirdparty/transformer_net": (models.transformer_net, 64),
}


@pytest.mark.parametrize("file", REFERENCES)
def test_names_and_shapes_are_the_references(file):
    network, size = REFERENCES[file]
    model = network()
    variables = placeholders(shapes(model, size))
    ours = {k: list(v.shape) for k, v in weights.to_reference(variables, model).items()}
    theirs = Golden(GOLDEN / f"{file}.npz").meta["shapes"]
    assert ours == {k: v for k, v in theirs.items() if not k.endswith("num_batches_tracked")}


def _resnet(**options):
    return Classifier(models.ResNet((1, 2), width=4, **options), PoolHead(5))


SMALL = {
    "vgg": (lambda: models.vgg("A", 5, width=4, hidden=(6, 7), grid=2), 32),
    "vgg-bn": (lambda: models.vgg("B", 5, width=4, hidden=(6, 7), grid=1, layers=BATCH_NORM), 32),
    "alexnet": (lambda: models.AlexNet2014(5, hidden=(6, 7)), 67),
    "resnet": (_resnet, 32),
    "resnet-d": (lambda: _resnet(stem="deep", shortcut="pool"), 32),
    "resnet-basic": (lambda: _resnet(block="basic"), 32),
    "inception-resnet-v1": (
        lambda: models.InceptionResNetV1(6, 5, repeats=(1, 2, 1), multiplier=0.1),
        80,
    ),
    "inception-v3": (lambda: models.InceptionV3(5, multiplier=0.1), 299),
    "mobilenet-v1": (lambda: models.MobileNetV1(5, multiplier=0.25), 32),
    "mobilenet-v2": (lambda: models.MobileNetV2(5, multiplier=0.1), 32),
    "transformer-net": (lambda: models.transformer_net(2, 1), 16),
    "resnet-v2": (lambda: Classifier(models.ResNetV2((1, 2), width=4), PoolHead(5)), 32),
}


@pytest.mark.parametrize("name", SMALL)
def test_there_and_back_is_the_identity(name):
    make, size = SMALL[name]
    model = make()
    variables = drawn(shapes(model, size))
    assert_equal(weights.from_reference(weights.to_reference(variables, model), model), variables)


def test_a_plain_resnet_reads_both_sources_alike():
    model = _resnet()
    variables = drawn(shapes(model, 32))
    states = [weights.to_reference(variables, model, source) for source in ("torchvision", "timm")]
    assert states[0].keys() == states[1].keys()


@pytest.mark.parametrize(
    "model",
    [models.AlexNet(), models.vgg("A-LRN"), models.GoogLeNet2014(lrn=False), models.resnet_v2(18)],
    ids=["towers", "lrn", "no-lrn", "basic-v2"],
)
def test_variants_that_no_source_has_are_named(model):
    with pytest.raises(UserError, match="no weights table for this variant of"):
        weights.from_reference({}, model)
