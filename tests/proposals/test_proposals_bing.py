"""BING: its gradients and filter beside loops, what it learns, and its weights' files."""

import pathlib

import cv2
import numpy as np
import pytest

from vision_jax.config import UserError
from vision_jax.proposals import Bing, learned_bing
from vision_jax.proposals.bing import gradient_map, windows_of_size
from vision_jax.proposals.windows import iou


def picture(seed, size=96):
    """A square and a circle on noise, with their boxes."""
    random = np.random.default_rng(seed)
    image = random.normal(110, 6, (size, size, 3))
    x, y, side = random.integers(2, 40), random.integers(2, 40), random.integers(24, 44)
    image[y : y + side, x : x + side] = random.integers(0, 256, 3)
    return image.clip(0, 255).astype(np.uint8), np.array([[x, y, x + side, y + side]], np.float64)


@pytest.fixture(scope="module")
def bing():
    return learned_bing((picture(seed) for seed in range(30)), sides=(16, 32, 64), least=5)


def slow_gradient(values, kind):
    """The gradient of planes (h, w, c), pixel by pixel."""
    height, width = values.shape[:2]
    join, inside, border = {"rgb": (max, 1, 2), "hsv": (sum, 2, 1), "gray": (max, 1, 2)}[kind]
    out = np.zeros((height, width), np.int64)
    for y in range(height):
        for x in range(width):
            for length, here, there in (
                (width, x, lambda i, y=y: values[y, i]),
                (height, y, lambda i, x=x: values[i, x]),
            ):
                low, high = max(here - 1, 0), min(here + 1, length - 1)
                difference = join(np.abs(there(high) - there(low)).tolist())
                out[y, x] += difference // inside if high - low == 2 else difference * border
    return out.clip(0, 255)


@pytest.mark.parametrize("kind", ["rgb", "hsv", "gray"])
def test_gradients_beside_a_loop(kind):
    rgb = np.random.default_rng(1).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    planes = {
        "rgb": rgb,
        "hsv": cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV),
        "gray": cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None],
    }[kind].astype(np.int64)
    np.testing.assert_array_equal(gradient_map(rgb, kind), slow_gradient(planes, kind))


def test_windows_are_where_the_filter_answers():
    image = np.zeros((64, 64, 3), np.uint8)
    image[16:48, 24:56] = 255
    ring = np.full((8, 8), -1.0)
    ring[[0, -1]] = ring[:, [0, -1]] = 1.0
    boxes, scores = windows_of_size(image, "rgb", tuple(ring.ravel()), (32, 32), 5)
    assert iou(boxes[:1].astype(float), np.array([[24.0, 16, 56, 48]]))[0, 0] > 0.75
    assert len(boxes) == 5 and (np.diff(scores) <= 0).all()


def test_sizes_that_do_not_fit():
    image, _ = picture(0, 40)
    weights = tuple(map(float, range(-32, 32)))
    assert len(windows_of_size(image, "rgb", weights, (128, 16), 10)[0]) == 0
    boxes, _ = windows_of_size(image, "rgb", weights, (64, 16), 10)
    assert len(boxes) and (boxes[:, 3] - boxes[:, 1] == 40).all()


def test_it_learns_to_find_squares(bing):
    image, truth = picture(100)
    boxes = bing(image)
    assert iou(boxes[:100], truth).max() > 0.5
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert (boxes >= 0).all() and (boxes <= 96).all()
    hits = []
    for seed in range(100, 110):
        image, truth = picture(seed)
        hits.append(iou(bing(image)[:10], truth).max() >= 0.5)
    assert np.mean(hits) >= 0.5  # ten windows of hundreds


def test_learning_repeats(bing):
    again = learned_bing((picture(seed) for seed in range(30)), sides=(16, 32, 64), least=5)
    assert again == bing and repr(again) == repr(bing)


def test_nothing_to_learn_from():
    image, boxes = picture(0)
    with pytest.raises(UserError, match="must have objects"):
        learned_bing([(image, boxes[:0])])
    with pytest.raises(UserError, match="no size of window has 10 objects"):
        learned_bing([(image, boxes)])


def test_without_weights_it_says_so():
    with pytest.raises(UserError, match="bing has no weights"):
        Bing()(picture(0)[0])


def published(folder: pathlib.Path):
    for name in ("MAXBGR", "HSV", "I"):
        for part, values in (
            ("wS1", np.arange(64, dtype=np.float32).reshape(8, 8) - 30),
            ("wS2", np.stack([np.arange(28), -np.ones(28)], 1).astype(np.float32)),
            ("idx", np.arange(28, dtype=np.int32)[:, None]),
        ):
            stem = f"ObjNessB2W8{name}"
            file = cv2.FileStorage(str(folder / f"{stem}.{part}.yml.gz"), cv2.FILE_STORAGE_WRITE)
            file.write(stem, values)
            file.release()


def test_published_files_are_read(tmp_path):
    published(tmp_path)
    bing = Bing.read(tmp_path)
    assert [m.gradient for m in bing.models] == ["rgb", "hsv", "gray"]
    model = bing.models[1]
    assert model.weights[:2] == (-30, -29) and len(model.weights) == 64
    assert model.sizes[:8:7] == ((16, 16), (32, 32)) and model.calibration[3] == (3, -1)
    assert len(bing(picture(0)[0]))


@pytest.mark.parametrize("fault", ["missing", "empty", "text", "other"])
def test_a_file_that_is_not_the_weights(tmp_path, fault):
    published(tmp_path)
    path = tmp_path / "ObjNessB2W8HSV.wS2.yml.gz"
    path.unlink()
    if fault == "empty":
        path.write_bytes(b"")
    if fault == "text":
        path.write_text("weights")
    if fault == "other":
        (tmp_path / "ObjNessB2W8I.wS1.yml.gz").rename(path)
    with pytest.raises(UserError, match=r"HSV.wS2") as error:
        Bing.read(tmp_path)
    assert "\n" not in str(error.value)
