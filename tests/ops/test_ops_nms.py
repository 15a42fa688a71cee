import functools

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.ops.nms import nms, nms_classes, soft_nms

pytestmark = pytest.mark.core

RNG = np.random.default_rng(0)
run = jax.jit(nms, static_argnames=("iou_threshold", "count", "tile"))
run_classes = jax.jit(
    nms_classes,
    static_argnames=("iou_threshold", "count", "pre_nms_top_k", "score_threshold", "agnostic"),
)
run_soft = jax.jit(soft_nms, static_argnames=("count", "sigma", "score_threshold", "iou_threshold"))


def random_boxes(n, size=100.0):
    start = RNG.uniform(0, size * 0.8, (n, 2))
    return np.concatenate([start, start + RNG.uniform(1, size * 0.5, (n, 2))], 1).astype(np.float32)


def clustered_boxes(n, clusters, size=300.0):
    middle = random_boxes(clusters, size)
    return (middle[RNG.integers(0, clusters, n)] + RNG.normal(0, 4, (n, 4))).astype(np.float32)


def iou_of(box, boxes):
    """Of one box with many, in float32 and in the order of operations of the definition."""
    width = np.maximum(np.minimum(box[2], boxes[:, 2]) - np.maximum(box[0], boxes[:, 0]), 0)
    height = np.maximum(np.minimum(box[3], boxes[:, 3]) - np.maximum(box[1], boxes[:, 1]), 0)
    both = width * height
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    union = (box[2] - box[0]) * (box[3] - box[1]) + area - both
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(union > 0, both / union, np.float32(0))


def greedy(boxes, scores, threshold, groups=None):
    """The definition, as a loop."""
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > -np.inf]
    gone, kept = np.zeros(len(scores), bool), []
    with np.errstate(over="ignore", invalid="ignore"):
        for i in order:
            if gone[i]:
                continue
            kept.append(int(i))
            over = iou_of(boxes[i], boxes) > np.float32(threshold)
            gone |= over if groups is None else over & (groups == groups[i])
    return kept


def check(boxes, scores, threshold, count, groups=None, tile=128):
    groups_ = None if groups is None else jnp.asarray(groups)
    got = run(jnp.asarray(boxes), jnp.asarray(scores), threshold, count, groups_, tile=tile)
    wanted = greedy(boxes, scores, threshold, groups)[:count]
    valid = np.asarray(got.valid)
    assert valid.sum() == len(wanted) and valid[: len(wanted)].all()
    assert np.asarray(got.index)[valid].tolist() == wanted
    np.testing.assert_array_equal(np.asarray(got.score)[valid], scores[wanted])
    assert (np.asarray(got.index)[~valid] == 0).all() and (np.asarray(got.score)[~valid] == 0).all()


@pytest.mark.parametrize("number, tile", [(1, 128), (5, 2), (130, 128), (300, 64)])
@pytest.mark.parametrize("count", [1, 20, 300])
def test_nms_equals_the_greedy_loop(number, tile, count):
    for threshold in (0.0, 0.5):
        check(
            random_boxes(number),
            RNG.uniform(size=number).astype(np.float32),
            threshold,
            count,
            tile=tile,
        )


def test_ties_go_to_the_lower_index():
    boxes = random_boxes(200)
    boxes[50:100] = boxes[:50]
    scores = np.round(RNG.uniform(size=200) * 4).astype(np.float32) / 4
    scores[::7] = -0.0
    check(boxes, scores, 0.4, 200, tile=16)
    check(boxes, np.full(200, 0.5, np.float32), 0.4, 200, tile=16)


def test_a_long_chain_within_and_across_tiles():
    # Each box overlaps only its neighbours: every other one stays.
    x = np.arange(300, dtype=np.float32) * 4
    boxes = np.stack([x, np.zeros(300), x + 8, np.full(300, 8)], 1).astype(np.float32)
    scores = np.linspace(1, 0.1, 300, dtype=np.float32)
    check(boxes, scores, 0.3, 300, tile=64)
    assert greedy(boxes, scores, 0.3) == list(range(0, 300, 2))


@pytest.mark.parametrize("clusters", [3, 40])
def test_where_the_best_few_do_not_suffice(clusters):
    # Of 900 boxes in few places, the first candidates hold fewer survivors than wanted.
    boxes, scores = clustered_boxes(900, clusters), RNG.uniform(size=900).astype(np.float32)
    check(boxes, scores, 0.1, 60, tile=16)
    check(boxes, np.where(scores > 0.9, scores, -np.inf), 0.1, 60, tile=16)


def test_exactly_the_threshold_does_not_suppress():
    boxes = np.array([[0, 0, 8, 4], [0, 0, 8, 8]], np.float32)  # IoU 1/2
    check(boxes, np.array([0.9, 0.8], np.float32), 0.5, 2)
    assert run(jnp.asarray(boxes), jnp.ones(2), 0.5, 2).valid.all()


def test_groups_and_padding():
    boxes, scores = clustered_boxes(200, 9), RNG.uniform(size=200).astype(np.float32)
    groups = RNG.integers(0, 4, 200)
    check(boxes, scores, 0.3, 90, groups, tile=32)
    valid = RNG.uniform(size=200) < 0.6
    got = run(jnp.asarray(boxes), jnp.asarray(scores), 0.3, 50, valid=jnp.asarray(valid))
    alone = np.where(valid, scores, -np.inf).astype(np.float32)
    wanted = greedy(boxes, alone, 0.3)
    assert np.asarray(got.index)[np.asarray(got.valid)].tolist() == wanted[:50]


def test_nothing_left_and_nothing_asked():
    none = run(jnp.zeros((0, 4)), jnp.zeros(0), 0.5, 3)
    assert not none.valid.any() and none.index.shape == (3,)
    gone = run(jnp.asarray(random_boxes(4)), jnp.full(4, -jnp.inf), 0.5, 3)
    assert not gone.valid.any() and gone.score.tolist() == [0, 0, 0]
    assert run(jnp.asarray(random_boxes(4)), jnp.ones(4), 0.5, 0).index.shape == (0,)
    nan = run(jnp.asarray(random_boxes(4)), jnp.array([jnp.nan, 0.1, jnp.nan, 0.2]), 1.0, 4)
    assert nan.index.tolist() == [3, 1, 0, 0]


@hypothesis.given(
    hnp.arrays(
        np.float32,
        (12, 4),
        elements=st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 2.0, 4.0, 5.0, 8.0, -3.0]),
    ),
    hnp.arrays(np.float32, 12, elements=st.sampled_from([-np.inf, 0.0, 0.25, 0.5, 1.0])),
)
@hypothesis.settings(max_examples=100, deadline=None)
def test_nms_of_degenerate_boxes_equals_the_greedy_loop(boxes, scores):
    check(boxes, scores, 0.5, 12, tile=4)


def test_vmap_is_a_loop():
    boxes = jnp.asarray(np.stack([clustered_boxes(90, 5) for _ in range(3)]))
    scores = jnp.asarray(RNG.uniform(size=(3, 90)).astype(np.float32))
    one = functools.partial(nms, iou_threshold=0.4, count=30, tile=32)
    got = jax.jit(jax.vmap(one))(boxes, scores)
    for i in range(3):
        wanted = run(boxes[i], scores[i], 0.4, 30, tile=32)
        jax.tree.map(lambda g, w, i=i: np.testing.assert_array_equal(g[i], w), got, wanted)


def test_no_gradient_passes():
    boxes = jnp.asarray(random_boxes(20))

    def total(boxes):
        kept = nms(boxes, boxes[:, 0], 0.5, 5)
        return jnp.sum(jnp.where(kept.valid[:, None], boxes[kept.index], 0))

    assert set(np.unique(jax.grad(total)(boxes))) <= {0.0, 1.0}


def slow_classes(boxes, scores, threshold, count, candidates, least, agnostic=False):
    """Per class: candidates, greedy loop; then the best of all. (agnostic: one loop)."""
    pairs = []
    for label in range(scores.shape[1]):
        order = np.argsort(-scores[:, label], kind="stable")[:candidates]
        pairs += [(i, label) for i in order if scores[i, label] > least]
    if not pairs:
        return []
    anchor, label = np.array(pairs).T
    corners = boxes[anchor] if boxes.ndim == 2 else boxes[anchor, label]
    kept = greedy(corners, scores[anchor, label], threshold, None if agnostic else label)
    return [(int(anchor[i]), int(label[i])) for i in kept][:count]


@pytest.mark.parametrize("candidates", [None, 25])
@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("per_class_boxes", [False, True])
def test_class_nms_equals_loops(candidates, agnostic, per_class_boxes):
    boxes = np.stack([clustered_boxes(60, 4) for _ in range(5)], 1)
    boxes = boxes if per_class_boxes else boxes[:, 0]
    scores = RNG.permutation(300).reshape(60, 5).astype(np.float32) / 300
    got = run_classes(
        jnp.asarray(boxes), jnp.asarray(scores), 0.45, 40, candidates, 0.2, agnostic=agnostic
    )
    wanted = slow_classes(boxes, scores, 0.45, 40, candidates or 60, 0.2, agnostic)
    valid = np.asarray(got.valid)
    pairs = list(
        zip(
            np.asarray(got.index)[valid].tolist(),
            np.asarray(got.label)[valid].tolist(),
            strict=True,
        )
    )
    assert pairs == wanted
    assert (np.asarray(got.label)[~valid] == -1).all()


@pytest.mark.parametrize(("clusters", "count"), [(4, 150), (50, 40)])
def test_class_nms_with_ties_whether_the_best_few_suffice_or_not(clusters, count):
    boxes = clustered_boxes(300, clusters)
    scores = np.round(RNG.uniform(size=(300, 6)) ** 3 * 20).astype(np.float32) / 20
    got = run_classes(jnp.asarray(boxes), jnp.asarray(scores), 0.45, count, 70, 0.0)
    pairs = slow_classes(boxes, scores, 0.45, None, 70, 0.0)
    # Equal scores of different classes: the lower anchor first, then the lower class.
    wanted = sorted(pairs, key=lambda pair: (-scores[pair], *pair))[:count]
    valid = np.asarray(got.valid)
    found = zip(np.asarray(got.index)[valid], np.asarray(got.label)[valid], strict=True)
    assert list(found) == wanted and len(wanted) > 30


def test_class_nms_of_nothing():
    got = run_classes(jnp.zeros((0, 4)), jnp.zeros((0, 3)), 0.5, 4)
    assert not got.valid.any() and got.label.tolist() == [-1] * 4


def slow_soft_nms(boxes, scores, count, sigma, least, threshold):
    scores, kept = scores.astype(np.float64).copy(), []
    while len(kept) < count and scores.max() > least:
        best = int(np.argmax(scores))
        kept.append((best, scores[best]))
        overlap = iou_of(boxes[best], boxes)
        if threshold is None:
            scores *= np.exp(-(overlap**2) / sigma)
        else:
            scores *= np.where(overlap > threshold, 1 - overlap, 1)
        scores[best] = -np.inf
    return kept


@pytest.mark.parametrize("threshold", [None, 0.3])
def test_soft_nms_equals_a_loop(threshold):
    boxes, scores = clustered_boxes(60, 6), RNG.uniform(size=60).astype(np.float32)
    got = run_soft(jnp.asarray(boxes), jnp.asarray(scores), 60, 0.5, 0.05, threshold)
    wanted = slow_soft_nms(boxes, scores, 60, 0.5, 0.05, threshold)
    valid = np.asarray(got.valid)
    assert np.asarray(got.index)[valid].tolist() == [i for i, _ in wanted]
    np.testing.assert_allclose(np.asarray(got.score)[valid], [s for _, s in wanted], rtol=2e-5)
    assert 5 < valid.sum() < 60


def test_soft_nms_respects_groups_and_padding():
    box = jnp.tile(jnp.array([[0.0, 0, 5, 5]]), (3, 1))
    scores = jnp.array([0.9, 0.8, 0.7])
    got = soft_nms(
        box, scores, 3, groups=jnp.array([0, 1, 1]), valid=jnp.array([True, True, False])
    )
    assert got.index[:2].tolist() == [0, 1] and got.valid.tolist() == [True, True, False]
    np.testing.assert_allclose(got.score[:2], [0.9, 0.8])
    assert not soft_nms(jnp.zeros((0, 4)), jnp.zeros(0), 2).valid.any()


@pytest.mark.golden
@pytest.mark.parametrize("number, count", [(1000, 100), (2000, 300), (8732, 200)])
def test_nms_at_the_benchmarks_sizes(number, count):
    check(clustered_boxes(number, 60), RNG.uniform(size=number).astype(np.float32), 0.5, count)
    scores = np.round(RNG.uniform(size=number) * 50).astype(np.float32) / 50  # ties
    check(clustered_boxes(number, 60), scores, 0.5, count)


@pytest.mark.golden
@pytest.mark.parametrize(
    "number, classes, candidates", [(2000, 20, 200), (8732, 20, 400), (8732, 20, None)]
)
def test_class_nms_at_the_benchmarks_sizes(number, classes, candidates):
    boxes = clustered_boxes(number, 60)
    scores = (RNG.uniform(size=(number, classes)) ** 8).astype(np.float32)
    got = run_classes(jnp.asarray(boxes), jnp.asarray(scores), 0.45, 200, candidates, 0.3)
    wanted = slow_classes(boxes, scores, 0.45, 200, candidates or number, 0.3)
    pairs = list(zip(np.asarray(got.index).tolist(), np.asarray(got.label).tolist(), strict=True))
    # Equal float32 scores may occur; the order within a tie is by pair here, by class there.
    chosen = [scores[i, c] for i, c in pairs]
    assert chosen == [scores[i, c] for i, c in wanted]
    assert sorted(pairs) == sorted(wanted) and np.asarray(got.valid).all()


@pytest.mark.golden
def test_nms_in_its_worst_case():
    # One chain through everything: no early stop, and half a tile of rounds in every tile.
    number = 8732
    x = np.arange(number, dtype=np.float32) * 4
    boxes = np.stack([x, np.zeros(number), x + 8, np.full(number, 8)], 1).astype(np.float32)
    check(boxes, np.linspace(1, 0.1, number, dtype=np.float32), 0.3, number)


def test_each_of_eight_devices_suppresses_its_own_images():
    number = 40
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
    split = jax.sharding.PartitionSpec("data")
    boxes = np.stack([clustered_boxes(number, 9) for _ in range(8)])
    scores = RNG.uniform(size=(8, number)).astype(np.float32)
    per_image = jax.vmap(lambda boxes, scores: nms(boxes, scores, 0.5, 20))
    spread = jax.shard_map(per_image, mesh=mesh, in_specs=split, out_specs=split, check_vma=False)
    together, alone = jax.jit(spread)(boxes, scores), jax.jit(per_image)(boxes, scores)
    jax.tree.map(np.testing.assert_array_equal, together, alone)
