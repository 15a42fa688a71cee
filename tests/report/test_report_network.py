"""The page of a network, on networks of which one blob or one filter decides."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

from tests.models.detectors.tiny_detectors import ssd
from vision_jax import models
from vision_jax.inspect import Network
from vision_jax.ops import conv2d
from vision_jax.report import network_parts as parts
from vision_jax.report.network_answer import answer_of
from vision_jax.report.network_page import write_network_page
from vision_jax.report.network_parts import PARTS, Settings, Subject

CLASSES = ("red", "green", "nothing")
BLOB = (slice(4, 8), slice(8, 14))  # green; a weaker red one lies elsewhere
QUICK = Settings(steps=4)


class Blobs(nn.Module):
    """Scores a colour by its strongest 3x3 patch; `act` may be another than ReLU."""

    act: str = "relu"
    pixels: bool = False

    @nn.compact
    def __call__(self, images):
        kernel = self.param("kernel", lambda _: jnp.zeros((3, 3, 3, 2)).at[..., :2, :].set(
            jnp.eye(2) / 9
        ))  # fmt: skip
        maps = {"relu": nn.relu, "tanh": nn.tanh}[self.act](conv2d(images, kernel, 1, 1))
        scores = maps if self.pixels else maps.max((1, 2))
        rest = jnp.full((*scores.shape[:-1], 1), 0.3)
        return {"colours": maps, "logits": 8 * jnp.concatenate([scores, rest], -1)}


class Embeds(nn.Module):
    """The mean colour, of length 1."""

    @nn.compact
    def __call__(self, images):
        x = images.mean((1, 2)) + 1e-3
        return {"embedding": x / jnp.linalg.norm(x, axis=-1, keepdims=True)}


def picture():
    image = np.zeros((16, 20, 3), np.float32)
    image[(*BLOB, 1)], image[12:15, 2:5, 0] = 1.0, 0.6
    return image


def subject_of(model, image=None, **more):
    images = jnp.asarray(picture() if image is None else image)[None]
    network = Network(model, model.init(jax.random.key(0), images))
    return Subject("blobs", network, images, (0.0,) * 3, (1.0,) * 3, CLASSES, **more)


def answered(subject, label=None):
    return answer_of(subject.network, subject.images, subject.shown, subject.classes, label)


def test_the_answer_names_the_class_that_decides():
    subject = subject_of(Blobs())
    answer = answered(subject)
    assert answer.labels == (1, 0, 2) and answer.text.startswith("green ")
    score = answer.score_of(0)(subject.network(subject.images))
    np.testing.assert_allclose(score, 8 * 0.6, rtol=1e-5)
    assert answered(subject, 0).labels == (0,)


def changed(figure, image):
    return np.abs(figure.astype(int) - image).sum(-1)


@pytest.mark.parametrize(("label", "place"), [(None, BLOB), (0, (slice(12, 15), slice(2, 5)))])
def test_what_decides_is_where_the_pictures_say(label, place, monkeypatch):
    """The signals themselves are looked at, on their way into the drawing."""
    subject = subject_of(Blobs())
    drawn = {}
    monkeypatch.setattr(parts.visualize, "panel", lambda p, *_, **__: drawn.update(p=p) or p[0])
    for part in ("saliency", "grad_cam"):
        PARTS[part](subject, answered(subject, label), QUICK)
        strength = drawn["p"][1].astype(int).sum(-1)
        y, x = np.unravel_index(strength.argmax(), strength.shape)
        rows, columns = place
        assert rows.start - 1 <= y <= rows.stop and columns.start - 1 <= x <= columns.stop, part


def test_covering_the_blob_that_decides_costs_most(monkeypatch):
    subject, seen = subject_of(Blobs()), {}
    monkeypatch.setattr(
        parts.visualize, "panel", lambda p, captions, **_: seen.update(p=p, c=captions) or p[0]
    )
    PARTS["occlusion"](subject, answered(subject), QUICK)
    values = seen["p"][1].astype(int).sum(-1)
    assert seen["c"][0].startswith("probability of green: 0.95")
    row, column = np.unravel_index(values.argmin(), values.shape)
    # Windows of 4x4 pixels at every 2: that one covers most of the blob's lines.
    assert 1 <= row <= 3 and 3 <= column <= 6


def test_a_class_image_has_the_classs_colour():
    subject = subject_of(Blobs("tanh"))  # a ReLU without a bias would stay at gray's 0
    seen = []
    original = parts.visualize.panel
    parts.visualize.panel = lambda p, *_, **__: seen.extend(p) or np.zeros((2, 2, 3), np.uint8)
    try:
        PARTS["class_images"](subject, answered(subject, 1), Settings(steps=30))
    finally:
        parts.visualize.panel = original
    red, green, blue = (float(seen[0][..., k].max()) for k in range(3))
    assert green > 0.3 > max(red, blue)


def test_features_that_keep_red_and_green_forget_blue(monkeypatch):
    image = picture()
    image[..., 2] = 0.8
    subject, seen = subject_of(Blobs(), image), []
    monkeypatch.setattr(parts.visualize, "panel", lambda p, *_, **__: seen.extend(p) or p[0])
    PARTS["inversion"](subject, answered(subject), Settings(steps=60))
    found = seen[1]
    assert found[(*BLOB, 1)].mean() > 0.5 > 0.2 > found[..., 2].mean()


def test_a_page_has_all_that_fits(tmp_path):
    lines = []
    page = write_network_page(tmp_path, subject_of(Blobs()), QUICK, say=lines.append)
    text = page.read_text()
    assert [line.partition(":")[0] for line in lines] == ["answer", *PARTS]
    for title in ("Activation maps", "Deconvnet", "Grad-CAM", "Occlusion", "Inverted features"):
        assert title in text
    # The kernel lies in no layer's own module, so the first convolution is not found.
    for file in ("saliency", "grad_cam", "occlusion", "class_images", "inversion"):
        with Image.open(tmp_path / f"{file}.png") as image:
            assert min(image.size) > 100


@pytest.mark.parametrize(
    ("subject", "left_out"),
    [
        (lambda: subject_of(Blobs("tanh")), {"deconvnet": "no ReLU"}),
        (lambda: subject_of(Blobs(), untrained="the head is fresh"), {
            "saliency": "the head is fresh", "grad_cam": "the head is fresh",
            "occlusion": "the head is fresh", "class_images": "the head is fresh",
        }),
        (lambda: subject_of(Embeds()), {
            "filters": "no convolution", "activations": "no feature maps",
            "deconvnet": "no feature maps", "saliency": "an embedding of 3 numbers",
            "grad_cam": "an embedding", "class_images": "an embedding",
            "inversion": "no feature maps",
        }),
    ],
    ids=["tanh", "untrained", "embedder"],
)  # fmt: skip
def test_what_does_not_fit_is_said(tmp_path, subject, left_out):
    lines = []
    text = write_network_page(tmp_path, subject(), QUICK, say=lines.append).read_text()
    told = {line.partition(":")[0]: line for line in lines if "left out" in line}
    told.pop("filters", None) if "filters" not in left_out else None
    assert set(told) == set(left_out)
    for name, reason in left_out.items():
        assert reason in told[name] and f"<td>{name}</td>" in text


def test_a_segmenters_region_is_explained():
    subject = subject_of(Blobs(pixels=True))
    answer = answered(subject)
    assert answer.labels == (2,) or answer.labels == (1,)
    assert "nothing" in answer.text and "green" in answer.text
    score = answered(subject, 1).score_of(1)(subject.network(subject.images))
    logits = np.asarray(subject.network(subject.images)["logits"])
    region = logits[0].argmax(-1) == 1
    np.testing.assert_allclose(score, logits[0, ..., 1][region].mean(), rtol=1e-5)


@pytest.mark.slow
def test_a_detectors_surest_object_is_explained():
    """The strongest logit of a class and the score of the box are the detection's own."""
    model, sizes = ssd(), jnp.array([[64.0, 64.0]])
    images = jnp.asarray(np.random.default_rng(0).normal(0, 1, (1, 64, 64, 3)), jnp.float32)
    variables = jax.jit(model.init)(jax.random.key(1), images, sizes)
    network = Network(model, variables, (sizes,))
    found = jax.jit(lambda v: model.detect(model.apply(v, images, sizes), sizes))(variables)
    answer = answer_of(network, images, np.zeros((64, 64, 3)), ())
    label = int(found.labels[0, 0])
    assert answer.labels == (label,)
    covered = float(jax.jit(answer.covered)(images)[0])
    assert covered == pytest.approx(float(found.scores[0, 0]), rel=1e-4)
    outputs = jax.jit(network)(images)
    logits, score = outputs["class_logits"], answer.score_of(label)(outputs)
    np.testing.assert_allclose(score, logits[..., label + 1].max(1), rtol=1e-5)
    assert answer_of(network, images, np.zeros((64, 64, 3)), (), 99).text == (
        "no object of that class"
    )


def test_patches_are_large_enough_to_be_recognised():
    network = Network(models.AlexNetBackbone(), {})
    subject = Subject("", network, jnp.zeros((1, 80, 64, 3)), (0.0,) * 3, (1.0,) * 3)
    signal = np.zeros((80, 64, 3), np.float32)
    for window in ((0, 0, 1, 1), (79, 63, 80, 64), (40, 20, 43, 21), (0, 0, 80, 64)):
        one = parts.Projection("conv1", 0, 1.0, signal, window)
        patch, drawn = parts._patches(subject, one)
        assert patch.shape == drawn.shape
        assert patch.shape[0] >= 10 and patch.shape[1] >= 8
        assert patch.shape[0] >= window[2] - window[0]
