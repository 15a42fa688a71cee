"""R-CNN's crops beside a slow loop; the golden tests hold them to stored ones."""

import jax
import jax.numpy as jnp
import numpy as np

from vision_jax.ops.roi_crop import rcnn_crops, rcnn_windows

SIZE, CONTEXT = 12, 2


def half_away(x):
    return int(np.sign(x) * np.floor(abs(x) + 0.5))


def slow(image, box, content, square=False):
    """Follows the released code with boxes that begin at 0 and end before their last number."""
    x0, y0, x1, y1 = (float(v) for v in box)
    halves = [(x1 - x0) / 2, (y1 - y0) / 2]
    middles = [x0 + halves[0] + 1, y0 + halves[1] + 1]
    if square:
        halves = [max(halves)] * 2
    crop = np.zeros((SIZE, SIZE, image.shape[2]))
    spans = []
    for middle, half, limit in zip(middles, halves, content[::-1], strict=True):
        reach = half * SIZE / (SIZE - 2 * CONTEXT)
        first, last = half_away(middle - reach), half_away(middle + reach)
        whole, start, end = last - first + 1, max(first, 1), min(last, int(limit))
        if end < start:
            return crop
        left = half_away(max(0, 1 - first) * SIZE / whole)
        count = min(half_away((end - start + 1) * SIZE / whole), SIZE - left)
        spans.append((start - 1, end - start + 1, left, count))
    (x, width, left, columns), (y, height, top, rows) = spans
    for i in range(rows):
        for j in range(columns):
            v = np.clip((i + 0.5) * height / rows - 0.5, 0, height - 1)
            u = np.clip((j + 0.5) * width / columns - 0.5, 0, width - 1)
            for a, share_a in ((int(v), 1 - v % 1), (min(int(v) + 1, height - 1), v % 1)):
                for b, share_b in ((int(u), 1 - u % 1), (min(int(u) + 1, width - 1), u % 1)):
                    crop[top + i, left + j] += share_a * share_b * image[y + a, x + b]
    return crop


def boxes(count=24):
    rng = np.random.default_rng(1)
    low = rng.uniform(-3, 22, (count, 2))
    found = np.concatenate([low, low + rng.uniform(0.5, 20, (count, 2))], 1)
    found[0] = [0, 0, 30, 24]
    return jnp.asarray(found, jnp.float32)


def test_crops_are_those_of_the_loop():
    image = np.random.default_rng(0).normal(size=(28, 32, 2)).astype(np.float32)
    content = np.array([24.0, 30.0], np.float32)  # the rest is padding
    for square in (False, True):
        settings = SIZE, CONTEXT, square, jnp.asarray(content)
        got = rcnn_crops(jnp.asarray(image), boxes(), *settings)
        for box, crop in zip(np.asarray(boxes()), got, strict=True):
            np.testing.assert_allclose(crop, slow(image, box, content, square), atol=1e-5)


def test_what_lies_beyond_the_image_is_the_mean():
    beyond = jnp.array([[40.0, 40.0, 60.0, 60.0], [0.0, 0.0, 0.0, 0.0], [-20.0, -20.0, -5.0, -5.0]])
    crops = rcnn_crops(jnp.ones((20, 20, 3)), beyond, SIZE, CONTEXT)
    assert np.isfinite(crops).all()
    assert not np.any(crops[0]) and not np.any(crops[2])
    corner = rcnn_crops(jnp.ones((20, 20, 3)), jnp.array([[0.0, 0.0, 16.0, 16.0]]), SIZE, CONTEXT)
    np.testing.assert_array_equal(corner[0, :CONTEXT, :, 0], 0)
    np.testing.assert_array_equal(corner[0, CONTEXT + 1 :, CONTEXT + 1 :, 0], 1)


def test_windows_without_context_are_the_boxes():
    box = jnp.array([[3.0, 4.0, 9.0, 12.0]])
    window, placed = rcnn_windows(box, SIZE, 0, False, jnp.array([20.0, 20.0]))
    np.testing.assert_array_equal(window, [[3, 4, 9, 12]])
    np.testing.assert_array_equal(placed, [[0, 0, SIZE, SIZE]])


def test_gradients_reach_the_image_and_not_the_boxes():
    image, box = jnp.ones((20, 20, 1)), jnp.array([[3.0, 4.0, 9.0, 12.0]])
    to_image, to_boxes = jax.grad(lambda x, b: rcnn_crops(x, b, SIZE, CONTEXT).sum(), (0, 1))(
        image, box
    )
    assert float(to_image.sum()) > 0 and not np.any(to_boxes)
