import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from vision_jax.ops import boxes

RNG = np.random.default_rng(0)
all_ious = jax.jit(lambda a, b: boxes.pairwise(boxes.iou, a, b))
OVERLAPS = (boxes.iou, boxes.giou, boxes.diou, boxes.ciou)


def random_boxes(n, size=100.0, least=1.0, dtype=np.float32):
    start = RNG.uniform(0, size * 0.8, (n, 2))
    extent = least + RNG.uniform(0, size * 0.5, (n, 2))
    return np.concatenate([start, start + extent], 1).astype(dtype)


# Everything an annotation file or a wild network can contain.
odd_numbers = st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -1.0, 1.0, 5.0, 7.5, 1e30, -1e30])
odd_boxes = hnp.arrays(np.float32, (4, 4), elements=odd_numbers)


def slow_iou(a, b):
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union


def slow_hull(a, b):
    return max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])


def slow_giou(a, b):
    width, height = slow_hull(a, b)
    iou = slow_iou(a, b)
    both = iou * (area_of(a) + area_of(b)) / (1 + iou)
    return iou - (width * height - (area_of(a) + area_of(b) - both)) / (width * height)


def area_of(a):
    return (a[2] - a[0]) * (a[3] - a[1])


def slow_diou(a, b):
    width, height = slow_hull(a, b)
    dx, dy = (a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2
    return slow_iou(a, b) - (dx * dx + dy * dy) / (width**2 + height**2)


def slow_ciou(a, b):
    angle = np.arctan((a[2] - a[0]) / (a[3] - a[1])) - np.arctan((b[2] - b[0]) / (b[3] - b[1]))
    penalty = 4 / np.pi**2 * angle**2
    alpha = penalty / (1 - slow_iou(a, b) + penalty + 1e-7)
    return slow_diou(a, b) - alpha * penalty


SLOW = {
    boxes.iou: slow_iou,
    boxes.giou: slow_giou,
    boxes.diou: slow_diou,
    boxes.ciou: slow_ciou,
}


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_overlap_equals_a_slow_loop(overlap):
    a, b = random_boxes(9), random_boxes(7)
    b[0] = a[0]
    b[1] = [500, 500, 510, 510]
    with jax.enable_x64(True):
        a, b = a.astype(np.float64), b.astype(np.float64)
        got = boxes.pairwise(overlap, jnp.asarray(a), jnp.asarray(b))
    wanted = [[SLOW[overlap](x, y) for y in b] for x in a]
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_overlap_is_one_on_itself_and_symmetric(overlap):
    a, b = jnp.asarray(random_boxes(9)), jnp.asarray(random_boxes(9))
    np.testing.assert_allclose(overlap(a, a), np.ones(9), atol=1e-6)
    np.testing.assert_allclose(overlap(a, b), overlap(b, a), atol=1e-6)


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_overlap_gradient_is_the_finite_difference(overlap):
    with jax.enable_x64(True):
        a, b = jnp.asarray(random_boxes(4, dtype=float)), jnp.asarray(random_boxes(4, dtype=float))
        if overlap is boxes.ciou:  # its weight passes no gradient: freeze it for the difference
            weight = boxes.diou(a, b) - boxes.ciou(a, b)
            angle = boxes._angle(a) - boxes._angle(b)
            penalty = 4 / np.pi**2 * angle * angle

            def frozen(a):
                new = 4 / np.pi**2 * (boxes._angle(a) - boxes._angle(b)) ** 2
                return jnp.sum(boxes.diou(a, b) - weight / penalty * new)

            got = jax.grad(lambda a: boxes.ciou(a, b).sum())(a)
            np.testing.assert_allclose(got, jax.grad(frozen)(a), atol=1e-12)
            jax.test_util.check_grads(jax.jit(frozen), (a,), order=1, modes=("rev",))
        else:
            jax.test_util.check_grads(
                jax.jit(lambda a: overlap(a, b)), (a,), order=1, modes=("rev", "fwd")
            )


@hypothesis.given(odd_boxes, odd_boxes)
@hypothesis.settings(max_examples=60, deadline=None)
def test_iou_of_any_floats_is_a_finite_share(a, b):
    got = np.asarray(all_ious(jnp.asarray(a), jnp.asarray(b)))
    assert got.shape == (len(a), len(b))
    assert np.isfinite(got).all() and (got >= 0).all() and (got <= 1).all()


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_overlap_gradient_is_finite_on_degenerate_boxes(overlap):
    a = jnp.array([[0.0, 0, 0, 0], [3, 3, 3, 9], [5, 5, 2, 2], [1, 1, 4, 4]])
    gradient = jax.jit(jax.grad(lambda a, b: overlap(a, b).sum()))
    for b in (a, a[::-1], jnp.zeros_like(a)):
        assert np.isfinite(gradient(a, b)).all()


def test_overlap_of_first_is_the_covered_share():
    a = jnp.array([[0.0, 0, 10, 10], [0, 0, 4, 4], [2, 2, 2, 8]])
    b = jnp.array([[0.0, 0, 5, 10], [0, 0, 10, 10], [0, 0, 10, 10]])
    np.testing.assert_allclose(boxes.overlap_of_first(a, b), [0.5, 1.0, 0.0])


def test_no_boxes_at_all():
    none = jnp.zeros((0, 4))
    assert boxes.pairwise(boxes.iou, none, jnp.asarray(random_boxes(3))).shape == (0, 3)
    assert boxes.encode(none, none).shape == (0, 4)


@pytest.mark.parametrize("source", boxes.FORMATS)
@pytest.mark.parametrize("target", boxes.FORMATS)
def test_convert_there_and_back(source, target):
    given = jnp.asarray(random_boxes(20))
    there = boxes.convert(boxes.convert(given, "xyxy", source), source, target)
    np.testing.assert_allclose(boxes.convert(there, target, "xyxy"), given, atol=4e-5)


def test_convert_one_box_by_hand():
    box = jnp.array([10.0, 20, 16, 40])
    assert boxes.convert(box, "xyxy", "xywh").tolist() == [10, 20, 6, 20]
    assert boxes.convert(box, "xyxy", "cxcywh").tolist() == [13, 30, 6, 20]
    assert boxes.convert(box, "xyxy", "yxyx").tolist() == [20, 10, 40, 16]


def test_convert_refuses_an_unknown_format():
    with pytest.raises(ValueError, match="'xyhw' is not one of"):
        boxes.convert(jnp.zeros((1, 4)), "xyhw", "xyxy")


def test_clip_flip_resize_and_size():
    box = jnp.array([[-5.0, 3, 30, 90], [2, 2, 8, 9]])
    assert boxes.clip(box, 60, 25).tolist() == [[0, 3, 25, 60], [2, 2, 8, 9]]
    assert boxes.flip_horizontal(box, 25)[1].tolist() == [17, 2, 23, 9]
    twice = boxes.flip_horizontal(boxes.flip_horizontal(box, 25), 25)
    assert twice.tolist() == box.tolist()
    assert boxes.resize(box, 2.0, 0.5)[1].tolist() == [1, 4, 4, 18]
    assert boxes.large_enough(box, 7).tolist() == [True, False]
    assert not boxes.large_enough(jnp.full((1, 4), jnp.nan), 0).any()


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), boxes.RCNN_WEIGHTS])
def test_decode_inverts_encode(weights):
    given, anchors = jnp.asarray(random_boxes(50)), jnp.asarray(random_boxes(50))
    deltas = boxes.encode(given, anchors, weights)
    np.testing.assert_allclose(boxes.decode(deltas, anchors, weights), given, atol=1e-4)


def test_encode_equals_the_papers_formula():
    (box,), (anchor,) = random_boxes(1, dtype=float), random_boxes(1, dtype=float)
    px, py, pw, ph = (
        (anchor[0] + anchor[2]) / 2,
        (anchor[1] + anchor[3]) / 2,
        *(anchor[2:] - anchor[:2]),
    )
    gx, gy, gw, gh = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, *(box[2:] - box[:2])
    wanted = [10 * (gx - px) / pw, 10 * (gy - py) / ph, 5 * np.log(gw / pw), 5 * np.log(gh / ph)]
    with jax.enable_x64(True):
        got = boxes.encode(jnp.asarray(box), jnp.asarray(anchor))
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_decode_limits_sizes():
    deltas = jnp.full((1, 4), 1000.0)
    wide = boxes.decode(deltas, jnp.array([[0.0, 0, 16, 16]]))
    np.testing.assert_allclose(wide[0, 2] - wide[0, 0], 1000.0, rtol=1e-5)


@hypothesis.given(odd_boxes)
@hypothesis.settings(max_examples=40, deadline=None)
def test_encode_of_finite_boxes_is_never_nan(given):
    given = np.nan_to_num(given, nan=0.0, posinf=9.0, neginf=-9.0)
    deltas = boxes.encode(
        jnp.asarray(given), jnp.tile(jnp.array([[2.0, 2, 8, 8]]), (len(given), 1))
    )
    assert not np.isnan(deltas).any()


def test_yolo_round_trip():
    given = jnp.asarray(random_boxes(30))
    centre = boxes.convert(given, "xyxy", "cxcywh")[:, :2]
    cells, priors = jnp.floor(centre / 16), jnp.asarray(random_boxes(30)[:, 2:])
    target = boxes.encode_yolo(given, cells, priors, 16.0)
    assert (target[:, :2] >= 0).all() and (target[:, :2] <= 1).all()
    share = jnp.clip(target[:, :2], 1e-6, 1 - 1e-6)
    raw = jnp.concatenate([jnp.log(share) - jnp.log1p(-share), target[:, 2:]], 1)
    np.testing.assert_allclose(boxes.decode_yolo(raw, cells, priors, 16.0), given, atol=2e-3)


def test_vmap_is_a_loop():
    a, b = (jnp.stack([jnp.asarray(random_boxes(6)) for _ in range(3)]) for _ in range(2))
    for function in (*OVERLAPS, boxes.encode, boxes.decode):
        one = jax.jit(function)
        wanted = jnp.stack([one(x, y) for x, y in zip(a, b, strict=True)])
        np.testing.assert_allclose(jax.jit(jax.vmap(function))(a, b), wanted, rtol=1e-6, atol=1e-5)


def test_gradients_of_encode_and_decode():
    with jax.enable_x64(True):
        a, b = jnp.asarray(random_boxes(3, dtype=float)), jnp.asarray(random_boxes(3, dtype=float))
        jax.test_util.check_grads(jax.jit(boxes.encode), (a, b), order=1, modes=("rev",))
        jax.test_util.check_grads(
            jax.jit(boxes.decode), (boxes.encode(a, b), b), order=1, modes=("rev",)
        )


def test_released_boxes_keep_a_pixel_and_are_one_longer():
    given = jnp.array([[2.0, 3, 7, 8], [-5, -9, -2, 4], [18, 6, 30, 40], [25, 2, 30, 4]])
    found = boxes.clip_released(given, 10, 20)
    expected = [[2, 3, 8, 9], [0, 0, 1, 5], [18, 6, 20, 10], [19, 2, 20, 5]]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(boxes.move_ends(given, -1)[0], [2, 3, 6, 7])
