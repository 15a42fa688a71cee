import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
from pycocotools import mask as codec

from vision_jax.ops import masks, rle

RNG = np.random.default_rng(0)
crop = jax.jit(masks.crop_masks, static_argnums=3)
paste = jax.jit(masks.paste_masks, static_argnums=(2, 3))


def blobs(n, height, width):
    y, x = np.mgrid[:height, :width]
    middle = RNG.uniform(0, 1, (n, 2)) * [height, width]
    radius = RNG.uniform(2, min(height, width) / 2, n)
    return np.stack(
        [(y - m[0]) ** 2 + (x - m[1]) ** 2 < r * r for m, r in zip(middle, radius, strict=True)]
    )


def random_boxes(n, size):
    start = RNG.uniform(0, size * 0.5, (n, 2))
    return np.concatenate([start, start + RNG.uniform(3, size * 0.5, (n, 2))], 1).astype(np.float32)


# ------------------------------------------------------------------------------------------ rle


@hypothesis.given(
    hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))
)
@hypothesis.settings(max_examples=150, deadline=None)
def test_rle_is_cocos_byte_for_byte(mask):
    wanted = codec.encode(np.asfortranarray(mask.astype(np.uint8)))
    text = rle.encode(mask)
    assert text == wanted["counts"]
    np.testing.assert_array_equal(rle.decode(text, *mask.shape), mask)
    assert rle.area(text) == codec.area(wanted) == mask.sum()


def test_rle_of_large_blobs_and_long_runs():
    for mask in [*blobs(6, 211, 307), np.zeros((700, 900), bool), np.ones((700, 900), bool)]:
        wanted = codec.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert rle.encode(mask) == wanted["counts"]
        np.testing.assert_array_equal(rle.decode(wanted["counts"].decode(), *mask.shape), mask)


@hypothesis.given(st.lists(st.integers(0, 2**31), min_size=1, max_size=12))
@hypothesis.settings(max_examples=150, deadline=None)
def test_rle_text_round_trip_of_any_runs(counts):
    text = rle.counts_to_text(np.array(counts))
    assert rle.text_to_counts(text).tolist() == counts


@hypothesis.given(
    hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))
)
@hypothesis.settings(max_examples=150, deadline=None)
def test_rle_box_is_the_tightest(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    wanted = [0, 0, 0, 0]
    if len(rows):
        wanted = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert rle.box(rle.encode(mask), mask.shape[0]).tolist() == wanted


def test_boxes_of_masks_are_those_of_their_runs():
    given = np.concatenate([blobs(20, 9, 12), np.zeros((1, 9, 12), bool)])
    wanted = [rle.box(rle.encode(mask), 9) for mask in given]
    np.testing.assert_array_equal(masks.boxes_of_masks(jnp.asarray(given)), wanted)


def test_rle_refuses_runs_that_do_not_fill_the_mask():
    with pytest.raises(ValueError, match="RLE of 6 pixels for a mask of 2 x 2"):
        rle.decode(rle.encode(np.zeros((2, 3), bool)), 2, 2)


def test_polygons_and_uncompressed_runs():
    square = [2.0, 1.0, 6.0, 1.0, 6.0, 4.0, 2.0, 4.0]
    mask = rle.decode(rle.from_polygons([square], 6, 8), 6, 8)
    wanted = np.zeros((6, 8), bool)
    wanted[1:4, 2:6] = True
    np.testing.assert_array_equal(mask, wanted)
    two = rle.decode(rle.from_polygons([square, [0, 4, 2, 4, 2, 6, 0, 6]], 6, 8), 6, 8)
    assert two.sum() == 12 + 4
    crowd = {"size": [6, 8], "counts": rle.runs(mask).tolist()}
    assert rle.from_polygons(crowd, 6, 8) == rle.encode(mask)
    text = {"size": [6, 8], "counts": rle.encode(mask).decode()}
    assert rle.from_polygons(text, 6, 8) == rle.encode(mask)


# ----------------------------------------------------------------------------------- crop, paste


def test_crop_of_whole_pixels_is_the_mean_of_its_pixels():
    mask = RNG.uniform(size=(1, 12, 12)).astype(np.float32) < 0.5
    got = masks.crop_masks(
        jnp.asarray(mask), jnp.array([[1.0, 3, 9, 11]]), jnp.zeros(1, jnp.int32), (4, 4)
    )
    # Samples at quarter pixels without a shift: each pixel's neighbours on the lower side count.
    smooth = np.pad(mask[0].astype(float), 1, mode="edge")
    half = (smooth[1:, 1:] + smooth[:-1, 1:] + smooth[1:, :-1] + smooth[:-1, :-1])[1:, 1:] / 4
    wanted = half[3:11, 1:9].reshape(4, 2, 4, 2).mean((1, 3))
    np.testing.assert_allclose(got[0], wanted, atol=1e-6)


def test_crop_takes_each_owner_and_goes_in_chunks():
    given, boxes = blobs(3, 20, 24), random_boxes(masks.CROP_CHUNK + 3, 20)
    owner = RNG.integers(0, 3, len(boxes)).astype(np.int32)
    got = crop(jnp.asarray(given), jnp.asarray(boxes), jnp.asarray(owner), (5, 6))
    for i, (box, which) in enumerate(zip(boxes, owner, strict=True)):
        alone = crop(
            jnp.asarray(given[which : which + 1]),
            jnp.asarray(box[None]),
            jnp.zeros(1, jnp.int32),
            (5, 6),
        )
        np.testing.assert_allclose(got[i], alone[0], atol=1e-6)
    assert masks.crop_masks(
        jnp.asarray(given), jnp.zeros((0, 4)), jnp.zeros(0, jnp.int32), (5, 6)
    ).shape == (0, 5, 6)


def test_crop_then_paste_gives_the_mask_back():
    given = blobs(6, 60, 70)
    boxes = masks.boxes_of_masks(jnp.asarray(given))
    small = crop(jnp.asarray(given), boxes, jnp.arange(6, dtype=jnp.int32), (28, 28))
    back = np.asarray(paste(small, boxes, 60, 70)) > 0.5
    union = (back | given).sum((1, 2))
    assert ((back & given).sum((1, 2)) / union > 0.8).all()


def slow_paste(mask, box, height, width):
    side = mask.shape[0] + 2
    padded = np.pad(mask, 1).astype(np.float64)
    half = (box[2:] - box[:2]) / 2 * side / (side - 2)
    middle = (box[2:] + box[:2]) / 2
    (x0, y0), (x1, y1) = np.trunc(middle - half).astype(int), np.trunc(middle + half).astype(int)
    w, h = max(x1 - x0 + 1, 1), max(y1 - y0 + 1, 1)
    out = np.zeros((height, width))
    for y in range(max(y0, 0), min(y0 + h, height)):
        for x in range(max(x0, 0), min(x0 + w, width)):
            v = min(max((y - y0 + 0.5) * side / h - 0.5, 0), side - 1)
            u = min(max((x - x0 + 0.5) * side / w - 0.5, 0), side - 1)
            i, j = int(v), int(u)
            k, m = min(i + 1, side - 1), min(j + 1, side - 1)
            v, u = v - i, u - j
            top = padded[i, j] * (1 - u) + padded[i, m] * u
            out[y, x] = top * (1 - v) + (padded[k, j] * (1 - u) + padded[k, m] * u) * v
    return out


def test_paste_equals_a_loop_and_vmap():
    given = RNG.uniform(size=(5, 6, 6)).astype(np.float32)
    boxes = random_boxes(5, 30)
    boxes[0] = [-6.0, 5, 9, 50]  # sticks out
    boxes[1] = [7.2, 7.2, 7.2, 7.2]
    got = paste(jnp.asarray(given), jnp.asarray(boxes), 24, 28)
    for i in range(5):
        np.testing.assert_allclose(
            got[i], slow_paste(given[i], boxes[i].astype(float), 24, 28), atol=2e-5
        )
    each = jax.vmap(lambda m, b: paste(m[None], b[None], 24, 28)[0])(given, boxes)
    np.testing.assert_allclose(each, got, atol=1e-6)


@pytest.mark.parametrize("size", [(24, 28), (130, 20)])
def test_masks_pasted_one_by_one_are_the_same(size):
    given, boxes = RNG.uniform(size=(3, 6, 6)).astype(np.float32), random_boxes(3, 30)
    expected = paste(jnp.asarray(given), jnp.asarray(boxes), *size)
    pasted = [*masks.paste_on_host(given, boxes, *size)]
    assert {mask.shape for mask in pasted} == {size}
    np.testing.assert_allclose(pasted, expected, atol=1e-6)


def test_paste_gradient_is_the_finite_difference():
    with jax.enable_x64(True):
        given, box = jnp.asarray(RNG.uniform(size=(1, 4, 4))), jnp.array([[2.0, 1, 11, 9.5]])
        function = jax.jit(lambda m: masks.paste_masks(m, box, 12, 13))
        jax.test_util.check_grads(function, (given,), order=1, modes=("rev",))


# ------------------------------------------------------------------------------------- keypoints


def test_keypoint_targets_equal_a_loop():
    boxes, size = random_boxes(6, 40), 7
    points = RNG.uniform(0, 45, (6, 5, 3)).astype(np.float32)
    points[..., 2] = RNG.integers(0, 3, (6, 5))
    points[0, 0] = [boxes[0, 2], boxes[0, 3], 1]  # on the far corner
    got = jax.jit(masks.keypoint_targets, static_argnums=2)(
        jnp.asarray(points), jnp.asarray(boxes), size
    )
    for i in range(6):
        for k in range(5):
            x, y, seen = points[i, k]
            sides = boxes[i, 2:] - boxes[i, :2]
            column = np.floor((x - boxes[i, 0]) * (np.float32(size) / sides[0]))
            row = np.floor((y - boxes[i, 1]) * (np.float32(size) / sides[1]))
            column = size - 1 if x == boxes[i, 2] else column
            row = size - 1 if y == boxes[i, 3] else row
            good = seen > 0 and 0 <= column < size and 0 <= row < size
            assert bool(got.valid[i, k]) == good
            assert got.cell[i, k] == (int(row * size + column) if good else 0)
    assert got.valid[0, 0] and got.cell[0, 0] == size * size - 1
    empty = masks.keypoint_targets(jnp.ones((1, 2, 3)), jnp.ones((1, 4)), size)
    assert not empty.valid.any()


def test_heatmap_peak_comes_back_to_its_keypoint():
    # Larger than the maps: of a smaller box, resizing may skip the one cell that is not 0.
    boxes, size = random_boxes(4, 60), 14
    boxes[:, 2:] = boxes[:, :2] + RNG.uniform(20, 50, (4, 2))
    points = np.concatenate(
        [
            boxes[:, None, :2]
            + (boxes[:, 2:] - boxes[:, :2])[:, None] * RNG.uniform(0.1, 0.9, (4, 3, 2)),
            np.ones((4, 3, 1)),
        ],
        -1,
    ).astype(np.float32)
    target = masks.keypoint_targets(jnp.asarray(points), jnp.asarray(boxes), size)
    maps = jax.nn.one_hot(target.cell, size * size).reshape(4, 3, size, size).transpose(0, 2, 3, 1)
    got = jax.jit(masks.decode_heatmaps, static_argnums=2)(maps, jnp.asarray(boxes), 64)
    cell = (boxes[:, 2:] - boxes[:, :2])[:, None] / size
    assert (np.abs(np.asarray(got[..., :2]) - points[..., :2]) <= cell / 2 + 1).all()
    assert (got[..., 2] > 0.25).all() and (got[..., 2] < 1.2).all()
    each = jax.vmap(lambda m, b: masks.decode_heatmaps(m[None], b[None], 64)[0])(
        maps, jnp.asarray(boxes)
    )
    np.testing.assert_allclose(each, got, atol=1e-5)


def test_decoded_keypoints_do_not_depend_on_the_largest_side():
    """Nor on what the box is resized within: 12, 25, 50 or 100 pixels; 100 to 800."""
    rng = np.random.default_rng(3)
    maps = jnp.asarray(rng.normal(size=(5, 7, 7, 3)), jnp.float32)
    sides = np.float32([[11.5, 3], [12.5, 25], [13, 49.9], [51, 0.5], [100, 99]])
    low = rng.uniform(0, 9, (5, 2)).astype(np.float32)
    boxes = jnp.asarray(np.concatenate([low, low + sides], 1))
    got, wanted = (masks.decode_heatmaps(maps, boxes, largest) for largest in (100, 800))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
