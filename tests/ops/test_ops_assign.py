import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from vision_jax.ops import assign, boxes

RNG = np.random.default_rng(0)


def random_boxes(n, size=60.0):
    start = RNG.uniform(0, size * 0.8, (n, 2))
    return np.concatenate([start, start + RNG.uniform(4, size * 0.5, (n, 2))], 1).astype(np.float32)


def overlaps(truth, anchors):
    return np.asarray(boxes.pairwise(boxes.iou, jnp.asarray(truth), jnp.asarray(anchors)))


def slow_match(quality, valid, high, low, low_quality):
    matching = []
    for column in quality.T:
        best, owner = -1.0, 0
        for i, value in enumerate(column):
            if valid[i] and value > best:
                best, owner = value, i
        matching.append(owner if best >= high else -1 if best < low else -2)
        if low_quality and any(
            valid[i] and value > 0 and value == quality[i].max() for i, value in enumerate(column)
        ):
            matching[-1] = owner
    return matching


def slow_ssd(quality, valid, threshold):
    matching = slow_match(quality, valid, threshold, threshold, False)
    for i, row in enumerate(quality):
        if valid[i] and row.max() > 0:
            matching[int(np.argmax(row))] = i
    return matching


def slow_lecture(quality, valid, threshold):
    matching = slow_match(quality, valid, threshold, threshold, False)
    left = np.where(valid[:, None], quality, -1.0)
    for _ in range(int(valid.sum())):
        i, j = np.unravel_index(np.argmax(left), left.shape)
        if left[i, j] >= 0:
            matching[j] = i
        left[i], left[:, j] = -1, -1
    return matching


def some_scene():
    truth, anchors = random_boxes(7), random_boxes(80)
    anchors[10:14] = truth[2]  # equal best anchors
    truth[5] = truth[4]  # equal boxes
    valid = np.array([1, 1, 1, 0, 1, 1, 0], bool)  # padding need not be last
    return truth, valid, anchors


@pytest.mark.parametrize("high, low", [(0.7, 0.3), (0.5, 0.5), (0.5, 0.4)])
@pytest.mark.parametrize("low_quality", [True, False])
def test_match_equals_a_slow_loop(high, low, low_quality):
    truth, valid, anchors = some_scene()
    quality = overlaps(truth, anchors)
    wanted = slow_match(quality, valid, high, low, low_quality)
    run = jax.jit(assign.match, static_argnums=(3, 4, 5))
    arrays = [jnp.asarray(x) for x in (truth, valid, anchors)]
    assert run(*arrays, high, low, low_quality).tolist() == wanted
    given = jax.jit(assign.match_quality, static_argnums=(2, 3, 4))
    got = given(jnp.asarray(quality), arrays[1], high, low, low_quality)
    assert got.tolist() == wanted


def test_double_precision_matches_alike():
    truth, anchors = random_boxes(5), random_boxes(40)
    with jax.enable_x64(True):
        given = jnp.asarray(truth, float), jnp.ones(5, bool), jnp.asarray(anchors, float)
        found = [assign.match(*given, 0.5, 0.3, True), assign.match_ssd(*given)]
    assert all(matching.dtype == jnp.int32 for matching in found)
    assert any(int(i) >= 0 for matching in found for i in matching)


def test_match_ssd_equals_a_slow_loop():
    truth, valid, anchors = some_scene()
    quality = overlaps(truth, anchors)
    arrays = [jnp.asarray(x) for x in (truth, valid, anchors)]
    wanted = slow_ssd(quality, valid, 0.5)
    assert jax.jit(assign.match_ssd)(*arrays).tolist() == wanted
    assert assign.match_ssd_quality(jnp.asarray(quality), arrays[1]).tolist() == wanted
    assert 5 in wanted and 4 not in [wanted[int(np.argmax(quality[4]))]]  # the later of two equals


def test_match_lecture_equals_a_slow_loop():
    truth, valid, anchors = some_scene()
    wanted = slow_lecture(overlaps(truth, anchors), valid, 0.5)
    arrays = [jnp.asarray(x) for x in (truth, valid, anchors)]
    got = jax.jit(assign.match_lecture)(*arrays).tolist()
    assert got == wanted
    assert {0, 1, 2, 4, 5} <= set(got)  # every valid box has an anchor


def test_match_lecture_gives_more_boxes_than_anchors_what_there_is():
    truth = jnp.asarray(random_boxes(5))
    got = assign.match_lecture(truth, jnp.ones(5, bool), truth[:2])
    assert got.tolist() == [0, 1]


def test_cell_owner_equals_a_slow_loop():
    truth = random_boxes(30)
    valid = RNG.uniform(size=30) < 0.7
    for first_wins in (True, False):
        wanted = np.full((4, 5), -1)
        for i in range(30):
            column = min(int((truth[i, 0] + truth[i, 2]) / 2 // 16), 4)
            row = min(int((truth[i, 1] + truth[i, 3]) / 2 // 16), 3)
            if valid[i] and not (first_wins and wanted[row, column] >= 0):
                wanted[row, column] = i
        got = assign.match_cells(jnp.asarray(truth), jnp.asarray(valid), (4, 5), 16.0, first_wins)
        np.testing.assert_array_equal(got, wanted)


def test_best_prior_is_the_most_alike_shape():
    priors = jnp.array([[10.0, 13.0], [16, 30], [33, 23]])
    sides = jnp.array([[11.0, 12.0], [30, 25], [15, 40]])
    assert assign.best_prior(sides, priors).tolist() == [0, 2, 1]


@pytest.mark.parametrize("queries, count", [(12, 5), (6, 6), (4, 1)])
def test_hungarian_costs_what_scipy_says(queries, count):
    run = jax.jit(assign.match_hungarian)
    for _ in range(4):
        cost = RNG.normal(size=(queries, count)).astype(np.float32)
        valid = RNG.uniform(size=count) < 0.7
        got = np.asarray(run(jnp.asarray(cost), jnp.asarray(valid)))
        assert (got[~valid] == -1).all()
        used = got[valid]
        assert len(set(used)) == len(used) and (used >= 0).all()
        rows, columns = scipy.optimize.linear_sum_assignment(cost[:, valid])
        np.testing.assert_allclose(
            cost[used, np.flatnonzero(valid)].sum(), cost[:, valid][rows, columns].sum(), rtol=1e-5
        )


def test_hungarian_survives_nan_and_infinity_and_refuses_too_many_boxes():
    cost = jnp.array([[jnp.nan, 1.0], [2.0, jnp.inf], [-jnp.inf, 5.0]])
    assert assign.match_hungarian(cost, jnp.ones(2, bool)).tolist() == [2, 0]
    with pytest.raises(ValueError, match="3 boxes cannot be matched to only 2"):
        assign.match_hungarian(jnp.zeros((2, 3)), jnp.ones(3, bool))


MATCHERS = {
    "match": jax.jit(lambda t, v, a: assign.match(t, v, a, 0.7, 0.3, True)),
    "ssd": jax.jit(lambda t, v, a: assign.match_ssd(t, v, a)),
    "lecture": jax.jit(lambda t, v, a: assign.match_lecture(t, v, a)),
}


@pytest.mark.parametrize("name", MATCHERS)
def test_vmap_is_a_loop(name):
    scenes = [some_scene() for _ in range(3)]
    scenes[1][1][:] = False
    stacked = [jnp.asarray(np.stack(part)) for part in zip(*scenes, strict=True)]
    got = jax.jit(jax.vmap(MATCHERS[name]))(*stacked)
    wanted = [MATCHERS[name](*(x[i] for x in stacked)) for i in range(3)]
    np.testing.assert_array_equal(got, jnp.stack(wanted))


@pytest.mark.parametrize("name", MATCHERS)
def test_nothing_to_match(name):
    anchors = jnp.asarray(random_boxes(6))
    none, padding = jnp.zeros((0, 4)), jnp.zeros((3, 4))
    assert MATCHERS[name](none, jnp.zeros(0, bool), anchors).tolist() == [-1] * 6
    assert MATCHERS[name](padding, jnp.zeros(3, bool), anchors).tolist() == [-1] * 6
    assert MATCHERS[name](padding, jnp.zeros(3, bool), none).shape == (0,)
    assert assign.match_cells(none, jnp.zeros(0, bool), (2, 2), 8.0).tolist() == [[-1, -1]] * 2


@pytest.mark.parametrize("name", ["match", "ssd"])
@hypothesis.given(
    hnp.arrays(
        np.float32,
        (3, 4),
        elements=st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -3.0, 5.0, 20.0, 33.0]),
    )
)
@hypothesis.settings(max_examples=30, deadline=None)
def test_degenerate_boxes_match_nothing(name, truth):
    anchors = jnp.asarray(np.array([[0, 0, 10, 10], [5, 5, 20, 33], [0, 0, 33, 33]], np.float32))
    got = np.asarray(MATCHERS[name](jnp.asarray(truth), jnp.ones(3, bool), anchors))
    sound = np.isfinite(truth).all(1) & (truth[:, 2:] > truth[:, :2]).all(1)
    assert all(sound[i] for i in got[got >= 0])


def test_no_gradient_passes():
    truth, valid, anchors = (jnp.asarray(x) for x in some_scene())

    def total(anchors):
        index = assign.match(truth, valid, anchors, 0.5, 0.5)
        return jnp.sum(jnp.where(index >= 0, anchors[:, 0], 0))

    assert np.isfinite(jax.grad(total)(anchors)).all()
