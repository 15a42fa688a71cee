"""The table of published weights, and the images that each network was measured on."""

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from vision_jax import models, weights
from vision_jax.config import UserError, build, load
from vision_jax.ops.resize import resize
from vision_jax.weights import zoo
from vision_jax.weights.tables import tables_for
from vision_jax.weights.zoo.page import page

ROOT = Path(__file__).parents[2]
ENTRIES = zoo.entries()


def test_there_are_many_rows():
    assert len(ENTRIES) >= 90
    sources = {name.partition("/")[0] for name in ENTRIES}
    assert sources == {
        *("torchvision", "timm", "detectron2", "darknet"),
        *("amdegroot", "wkentaro", "akamaster", "facebookresearch"),
    }


@pytest.mark.parametrize("name", ENTRIES)
def test_a_row_is_complete(name):
    entry = ENTRIES[name]
    assert entry.name == name
    assert entry.source.startswith(("https://", "hf:"))
    assert re.fullmatch(r"[\w.-]+\.(pth|th|pkl|weights|safetensors|conv.23|conv.74)", entry.file)
    assert entry.licence
    assert entry.weights_licence
    network = entry.network()
    assert entry.reader in [table.source for table in tables_for(network)]
    if entry.experiment:
        assert (ROOT / "experiments" / f"{entry.experiment}.py").is_file()
    if entry.golden:
        assert list((ROOT / "tests" / "golden").glob(f"models*/{entry.golden}.npz"))
    if entry.digest is not None:
        assert re.fullmatch(r"[0-9a-f]{6,64}", entry.digest.digits)


@pytest.mark.parametrize(
    ("experiment", "name"),
    [
        ("resnet101", "torchvision/resnext50_32x4d-7cdf4587"),
        ("deeplabv3_resnet50_coco", "torchvision/deeplabv3_resnet101_coco-586e9e4e"),
        ("faster_rcnn_r50_fpn_coco", "torchvision/fasterrcnn_resnet50_fpn_v2_coco-dd69338a"),
        ("faster_rcnn_r101_fpn_coco", "detectron2/faster_rcnn_R_101_FPN_3x"),
        ("faster_rcnn_r50_c4_coco", "detectron2/faster_rcnn_R_101_C4_3x"),
        ("mask_rcnn_r50_fpn_coco", "torchvision/maskrcnn_resnet50_fpn_v2_coco-73cbd019"),
        ("keypoint_rcnn_r50_fpn_coco", "detectron2/keypoint_rcnn_R_50_FPN_3x"),
        ("retinanet_r50_fpn_coco", "detectron2/retinanet_R_101_FPN_3x"),
    ],
)
def test_an_experiment_takes_a_published_network(experiment, name):
    config = load(f"{ROOT}/experiments/{experiment}.py:published={name}")
    entry, task = ENTRIES[name], build(config.task)
    assert task.model == entry.network()
    assert (task.mean, task.std) == (entry.preprocessing.mean, entry.preprocessing.std)
    assert config.init.weights == name
    assert config.init.reinitialize is None and config.expect is None


def test_a_part_of_a_network_is_none():
    config = load(f"{ROOT}/experiments/resnet50.py")
    with pytest.raises(UserError, match=r"R-50 is a part of a network"):
        weights.use_published(config, "detectron2/MSRA/R-50")
    assert build(config.task).model == models.ResNet50()


def test_published_networks_are_found_among_the_networks():
    assert models.pretrained is weights.pretrained
    with pytest.raises(AttributeError, match=r"'vision_jax.models' has no attribute 'pretraind'"):
        _ = models.pretraind


def test_hashes_are_those_that_publishers_put_into_names():
    for name, entry in ENTRIES.items():
        if name.startswith("torchvision/"):
            assert entry.digest.kind == "sha256"
            assert entry.file.endswith(f"-{entry.digest.digits}.pth")
        elif name.startswith("detectron2/") and entry.preprocessing:
            assert entry.digest.kind == "md5"
            assert entry.file == f"model_final_{entry.digest.digits}.pkl"


def test_the_page_is_current():
    assert (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8") == page()


def test_what_a_name_leads_to():
    entry = zoo.find("detectron2/faster_rcnn_R_50_FPN_3x")
    root = "https://dl.fbaipublicfiles.com/detectron2/COCO-Detection/"
    assert entry.source == (f"{root}faster_rcnn_R_50_FPN_3x/137849458/model_final_280758.pkl")
    model = entry.network()
    assert model.backbone.version == "v1"
    assert (model.rpn.anchor_rounding, model.rpn.anchor_stride) == ("exact", "level")
    assert (model.head.pool.aligned, model.head.pool.sampling_ratio) == (True, 0)
    assert zoo.find("torchvision/fasterrcnn_resnet50_fpn_coco-258fb6c6").network().backbone.layers \
        .eps == 0.0  # fmt: skip
    first, *_, last = zoo.find("detectron2/retinanet_R_101_FPN_3x").network().anchor_sizes
    np.testing.assert_allclose(first, (32, 32 * 2 ** (1 / 3), 32 * 2 ** (2 / 3)))
    np.testing.assert_allclose(last, (512, 512 * 2 ** (1 / 3), 512 * 2 ** (2 / 3)))


# Preprocessing.


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def prepare(name, *pictures):
    return zoo.find(name).preprocessing(list(pictures))


def normalized(image, name):
    """Returns an image of 0 to 255 with a row's statistics, in float64."""
    preprocessing = zoo.find(name).preprocessing
    return (np.float64(image) / 255 - preprocessing.mean) / preprocessing.std


@pytest.mark.parametrize(
    ("name", "filter", "short", "size"),
    [
        ("torchvision/resnet50-0676ba61", Image.Resampling.BILINEAR, 256, 224),
        ("torchvision/resnet50-11ad3fa6", Image.Resampling.BILINEAR, 232, 224),
        ("torchvision/inception_v3_google-0cc3c7bd", Image.Resampling.BILINEAR, 342, 299),
        ("timm/resnet50.tv_in1k", Image.Resampling.BILINEAR, 256, 224),
        ("timm/resnet50.tv2_in1k", Image.Resampling.BILINEAR, 232, 224),
        ("timm/resnet50.a1_in1k", Image.Resampling.BICUBIC, 288, 288),
        ("timm/resnet50d.ra2_in1k", Image.Resampling.BICUBIC, 303, 288),
        ("timm/inception_v3.tf_in1k", Image.Resampling.BICUBIC, 341, 299),
        ("timm/mobilenetv1_100.ra4_e3600_r224_in1k", Image.Resampling.BICUBIC, 269, 256),
        ("timm/mobilenetv2_100.ra_in1k", Image.Resampling.BICUBIC, 256, 224),
    ],
)
@pytest.mark.parametrize("shape", [(375, 500), (500, 333), (100, 101)])
def test_classifiers_see_the_middle_of_a_resized_picture(name, filter, short, size, shape):
    image = picture(*shape)
    h, w = shape
    extent = (short, int(short * w / h)) if h <= w else (int(short * h / w), short)
    resized = np.asarray(Image.fromarray(image).resize(extent[::-1], filter))
    top, left = (round((side - size) / 2) for side in extent)
    expected = normalized(resized[top : top + size, left : left + size], name)
    prepared = prepare(name, image)
    np.testing.assert_allclose(prepared.images[0], expected, atol=2e-6)
    assert prepared.sizes.tolist() == [[size, size]]


@pytest.mark.parametrize(
    ("shape", "extent"),
    [((480, 640), (800, 1066)), ((640, 480), (1066, 800)), ((300, 900), (444, 1333)),
     ((427, 640), (800, 1199)), ((800, 1333), (800, 1333))],
)  # fmt: skip
def test_torchvisions_detectors_resize_floats_without_antialiasing(shape, extent):
    name = "torchvision/fasterrcnn_resnet50_fpn_coco-258fb6c6"
    image = picture(*shape)
    prepared = prepare(name, image)
    height, width = extent
    assert prepared.sizes.tolist() == [[height, width]]
    assert prepared.images.shape == (1, -(-height // 32) * 32, -(-width // 32) * 32, 3)
    # Places among 800 pixels, rounded to float32, are off by 6e-5 of a pixel.
    expected = resize(jnp.asarray(normalized(image, name), jnp.float32)[None], extent)[0]
    np.testing.assert_allclose(prepared.images[0, :height, :width], expected, atol=5e-4)
    assert not np.any(prepared.images[0, height:])
    assert not np.any(prepared.images[0, :, width:])


@pytest.mark.parametrize(
    ("shape", "extent"),
    [((480, 640), (800, 1067)), ((300, 900), (444, 1333)), ((427, 640), (800, 1199)),
     ((333, 500), (800, 1201))],
)  # fmt: skip
def test_detectron2_rounds_to_the_nearest_and_filters_bytes(shape, extent):
    name = "detectron2/faster_rcnn_R_50_FPN_3x"
    image = picture(*shape)
    height, width = extent
    resized = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    expected = np.float64(resized) - (123.675, 116.28, 103.53)
    prepared = prepare(name, image)
    assert prepared.sizes.tolist() == [[height, width]]
    np.testing.assert_allclose(prepared.images[0, :height, :width], expected, atol=2e-5)
    assert prepare("detectron2/faster_rcnn_R_50_C4_1x", image).images.shape[1:3] == extent


def test_several_pictures_are_filled_up():
    prepared = prepare("torchvision/retinanet_resnet50_fpn_coco-eeacb38b", picture(48, 64),
                       picture(64, 48))  # fmt: skip
    assert prepared.images.shape == (2, 1088, 1088, 3)
    assert prepared.sizes.tolist() == [[800, 1066], [1066, 800]]
    np.testing.assert_allclose(prepared.scales, [[800 / 48, 1066 / 64], [1066 / 64, 800 / 48]])
    boxes = prepared.boxes_in_picture(1, np.array([[0, 0, 800, 1066]]))
    np.testing.assert_allclose(boxes, [[0, 0, 48, 64]], rtol=1e-6)


def test_darknets_pictures_lie_in_the_middle_of_grey():
    image = picture(30, 60)
    prepared = prepare("darknet/yolov3", image)
    images = np.asarray(prepared.images[0])
    assert images.shape == (416, 416, 3)
    assert np.all(images[:104] == 0.5)
    assert np.all(images[312:] == 0.5)
    # The corners stay corners, and what lies between is mixed of two by two.
    np.testing.assert_allclose(images[104, 0], image[0, 0] / 255, atol=1e-6)
    np.testing.assert_allclose(images[311, 415], image[29, 59] / 255, atol=1e-6)
    y, x = 50 * 29 / 207, 100 * 59 / 415
    top, left, dy, dx = int(y), int(x), y % 1, x % 1
    square = image[top : top + 2, left : left + 2].astype(float) / 255
    rows = square[0] * (1 - dy) + square[1] * dy
    np.testing.assert_allclose(images[154, 100], rows[0] * (1 - dx) + rows[1] * dx, atol=1e-6)
    boxes = prepared.boxes_in_picture(0, np.array([[0, 104, 416, 312]]))
    np.testing.assert_allclose(boxes, [[0, 0, 60, 30]], rtol=1e-6)


def test_ssds_are_stretched():
    image = picture(150, 600)
    prepared = prepare("torchvision/ssd300_vgg16_coco-b556d3b4", image)
    pixels = jnp.asarray(image, jnp.float32) - 255 * jnp.array([[[0.48235, 0.45882, 0.40784]]])
    np.testing.assert_allclose(prepared.images[0], resize(pixels[None], (300, 300))[0], atol=2e-2)
    assert prepared.sizes.tolist() == [[300, 300]]
    other = prepare("amdegroot/ssd300_mAP_77.43_v2", picture(300, 300))
    np.testing.assert_allclose(
        other.images[0], picture(300, 300) - np.array([123.0, 117, 104]), atol=2e-5
    )


def test_fcns_take_pictures_as_they_are():
    image = picture(37, 53)
    prepared = prepare("wkentaro/fcn8s", image)
    expected = image - np.array([122.67891434, 116.66876762, 104.00698793])
    np.testing.assert_allclose(prepared.images[0], expected, atol=2e-5)
    assert prepare("torchvision/fcn_resnet50_coco-1167a1af", image).images.shape[1:3] == (520, 744)


def test_pictures_from_files(tmp_path):
    image = picture(40, 50)
    Image.fromarray(image).save(tmp_path / "a.png")
    preprocessing = zoo.find("timm/resnet18.tv_in1k").preprocessing
    for pictures in (str(tmp_path / "a.png"), [tmp_path / "a.png"], image, [image], image[None]):
        np.testing.assert_array_equal(preprocessing(pictures).images, preprocessing(image).images)


@pytest.mark.parametrize(
    ("pictures", "text"),
    [
        ("none.png", "none.png: no readable picture: No such file"),
        (__file__, "test_weights_zoo.py: "),
        (np.zeros((3, 4, 3)), "float64 .3, 4, 3.: give uint8"),
        (np.zeros((3, 4), np.uint8), "give uint8"),
        (np.zeros((0, 4, 3), np.uint8), "give uint8"),
        ([], "no picture was given"),
    ],
)
def test_pictures_that_cannot_be_read(pictures, text):
    with pytest.raises(UserError, match=text):
        zoo.find("timm/resnet18.tv_in1k").preprocessing(pictures)
