import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from vision_jax.ops import boxes, losses

RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape))


def unit(*shape):
    return jnp.asarray(RNG.uniform(size=shape))


def some_boxes(n):
    start = RNG.uniform(0, 50, (n, 2))
    return jnp.asarray(np.concatenate([start, start + RNG.uniform(10, 50, (n, 2))], 1))


def bits(*shape):
    return jnp.asarray((RNG.uniform(size=shape) < 0.4).astype(float))


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_the_definition(smoothing):
    logits, labels = normal(6, 4), jnp.array([0, 3, 1, 255, -1, 2])
    got = losses.cross_entropy(logits, labels, smoothing)
    for i, label in enumerate(labels.tolist()):
        target = np.full(4, smoothing / 4)
        if not 0 <= label < 4:
            assert got[i] == 0
            continue
        target[label] += 1 - smoothing
        np.testing.assert_allclose(got[i], -(target * np.log(softmax(np.asarray(logits[i])))).sum())


def test_soft_cross_entropy_of_one_hot_is_cross_entropy():
    logits, labels = normal(5, 4), jnp.array([0, 3, 1, 2, 2])
    got = losses.soft_cross_entropy(logits, jax.nn.one_hot(labels, 4, dtype=logits.dtype))
    np.testing.assert_allclose(got, losses.cross_entropy(logits, labels))


def test_binary_cross_entropy_of_a_head_that_starts_at_zero():
    gradient = jax.grad(lambda x: losses.binary_cross_entropy(x, jnp.array([0.0, 1.0])).sum())
    np.testing.assert_array_equal(gradient(jnp.zeros(2)), [0.5, -0.5])


def test_binary_cross_entropy_is_the_definition_and_does_not_overflow():
    x, t = normal(20), unit(20)
    p = sigmoid(np.asarray(x))
    wanted = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    np.testing.assert_allclose(losses.binary_cross_entropy(x, t), wanted)
    far = losses.binary_cross_entropy(jnp.array([1e4, -1e4]), jnp.array([0.0, 0.0]))
    assert far.tolist() == [1e4, 0.0]


def test_balanced_cross_entropy_weighs_by_the_other_class():
    x, t = normal(2, 5, 6), bits(2, 5, 6)
    mask = jnp.asarray(RNG.uniform(size=(2, 5, 6)) < 0.8)
    got = losses.balanced_cross_entropy(x, t, mask)
    plain = np.asarray(losses.binary_cross_entropy(x, t))
    for i in range(2):
        share = np.asarray(t[i])[np.asarray(mask[i])].mean()
        weight = np.where(t[i] == 1, 1 - share, share) * np.asarray(mask[i])
        np.testing.assert_allclose(got[i], weight * plain[i])


@pytest.mark.parametrize("alpha, gamma", [(0.25, 2.0), (-1.0, 2.0), (0.25, 0.0), (0.5, 1.0)])
def test_focal_is_the_definition(alpha, gamma):
    x, t = normal(20), bits(20)
    p = sigmoid(np.asarray(x))
    p_t = np.where(t == 1, p, 1 - p)
    weight = np.where(t == 1, alpha, 1 - alpha) if alpha >= 0 else 1.0
    wanted = -weight * (1 - p_t) ** gamma * np.log(p_t)
    np.testing.assert_allclose(losses.sigmoid_focal(x, t, alpha, gamma), wanted)
    saturated = jax.grad(lambda x: losses.sigmoid_focal(x, jnp.ones(2), alpha, gamma).sum())
    assert np.isfinite(saturated(jnp.array([900.0, -900.0]))).all()


def test_smooth_l1_and_huber_are_the_definition():
    x, y = normal(30) * 2, normal(30)
    d = np.abs(np.asarray(x - y))
    for beta in (1.0, 1 / 9):
        wanted = np.where(d < beta, d * d / 2 / beta, d - beta / 2)
        np.testing.assert_allclose(losses.smooth_l1(x, y, beta), wanted)
        np.testing.assert_allclose(losses.huber(x, y, beta), beta * wanted)
    np.testing.assert_allclose(losses.smooth_l1(x, y, 0.0), d)


def test_overlap_losses_are_one_minus_the_overlap():
    a, b = some_boxes(8), some_boxes(8)
    pairs = (
        (losses.iou_loss, boxes.iou),
        (losses.giou_loss, boxes.giou),
        (losses.diou_loss, boxes.diou),
        (losses.ciou_loss, boxes.ciou),
    )
    for loss, overlap in pairs:
        np.testing.assert_allclose(loss(a, b), 1 - overlap(a, b))


def test_dice_is_the_definition():
    p, t = unit(3, 4, 5), bits(3, 4, 5)
    got = losses.dice(p, t, smooth=0.5)
    for i in range(3):
        both, squares = np.sum(p[i] * t[i]), np.sum(p[i] ** 2) + np.sum(t[i] ** 2)
        np.testing.assert_allclose(got[i], 1 - (2 * both + 0.5) / (squares + 0.5))
    np.testing.assert_allclose(losses.dice(t, t), 0, atol=1e-12)


def test_triplet_is_the_definition():
    a, p, n = normal(9, 3), normal(9, 3), normal(9, 3)
    wanted = [
        max(0.0, float(((x - y) ** 2).sum() - ((x - z) ** 2).sum() + 0.3))
        for x, y, z in zip(a, p, n, strict=True)
    ]
    np.testing.assert_allclose(losses.triplet(a, p, n, 0.3), wanted)


def test_semi_hard_triplets_equal_a_loop():
    embedding, labels = normal(12, 3), RNG.integers(0, 4, 12)
    valid = RNG.uniform(size=12) < 0.8
    mine = jax.jit(losses.semi_hard_triplets, static_argnums=2)
    got, pairs = mine(embedding, jnp.asarray(labels), 0.5, jnp.asarray(valid))
    far = ((np.asarray(embedding)[:, None] - np.asarray(embedding)[None]) ** 2).sum(-1)
    seen = 0
    for i in range(12):
        negatives = [k for k in range(12) if valid[k] and valid[i] and labels[k] != labels[i]]
        for j in range(12):
            real = i != j and valid[i] and valid[j] and labels[i] == labels[j] and bool(negatives)
            assert bool(pairs[i, j]) == real
            if not real:
                assert got[i, j] == 0
                continue
            harder = [far[i, k] for k in negatives if far[i, k] > far[i, j]]
            chosen = min(harder) if harder else max(far[i, k] for k in negatives)
            np.testing.assert_allclose(got[i, j], max(0, far[i, j] - chosen + 0.5))
            seen += 1
    assert seen > 4
    alone, none = losses.semi_hard_triplets(embedding, jnp.zeros(12, jnp.int64))
    assert not none.any() and not alone.any()


LOSSES = {
    "cross_entropy": lambda x, m: losses.cross_entropy(x, jnp.array([1, 0, 2, 1]), 0.1, m),
    "soft": lambda x, m: losses.soft_cross_entropy(x, jnp.full((4, 4), 0.25), m),
    "binary": lambda x, m: losses.binary_cross_entropy(x[:, 0], jnp.array([0, 1, 0.3, 1.0]), m),
    "focal": lambda x, m: losses.sigmoid_focal(x[:, 0], jnp.array([0, 1.0, 0, 1]), mask=m),
    "smooth_l1": lambda x, m: losses.smooth_l1(x[:, 0], jnp.array([0, 1.0, 0, 1]), mask=m),
    "huber": lambda x, m: losses.huber(x[:, 0], jnp.array([0, 1.0, 0, 1]), 0.5, m),
    "iou": lambda x, m: losses.iou_loss(to_boxes(x), TRUTH, m),
    "giou": lambda x, m: losses.giou_loss(to_boxes(x), TRUTH, m),
    "diou": lambda x, m: losses.diou_loss(to_boxes(x), TRUTH, m),
    "triplet": lambda x, m: losses.triplet(x, x[::-1] * 0.5, x + 0.3, 0.4, m),
    "balanced": lambda x, m: losses.balanced_cross_entropy(
        x, jnp.eye(4), None if m is None else jnp.broadcast_to(m[:, None], (4, 4))
    ),
    "dice": lambda x, m: losses.dice(
        x, jnp.eye(4), None if m is None else jnp.broadcast_to(m[:, None], (4, 4))
    ),
}
TRUTH = np.array([[0.0, 0, 3, 3], [1, 1, 5, 6], [2, 0, 4, 4], [1, 3, 3, 6]])


def to_boxes(x):
    return jnp.asarray(TRUTH) + 0.3 * x


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_is_the_finite_difference(name, monkeypatch):
    monkeypatch.setitem(globals(), "TRUTH", jnp.asarray(TRUTH))
    function = jax.jit(lambda x: LOSSES[name](x, None))
    jax.test_util.check_grads(function, (normal(4, 4),), order=1, modes=("rev",))


@pytest.mark.parametrize("name", LOSSES)
def test_masked_places_give_nothing_even_on_nan(name, monkeypatch):
    monkeypatch.setitem(globals(), "TRUTH", jnp.asarray(TRUTH))
    x = normal(4, 4)
    mask = jnp.array([True, False, True, False])
    spoiled = jnp.where(mask[:, None], x, jnp.nan)
    if name == "triplet":  # its rows look at each other here: keep both rows of each masked pair
        mask = jnp.array([True, False, False, True])
        spoiled = jnp.where(mask[:, None], x, jnp.nan)
    if name not in ("balanced", "dice"):
        assert not LOSSES[name](spoiled, mask)[~mask].any()
    graded = jax.jit(jax.value_and_grad(lambda x: LOSSES[name](x, mask).sum()))
    value, grad = graded(spoiled)
    clean, _ = graded(jnp.where(mask[:, None], x, 0))
    np.testing.assert_allclose(value, clean)
    assert np.isfinite(grad).all() and not grad[~mask].any()
    assert grad[mask].any()


@pytest.mark.parametrize("name", LOSSES)
def test_vmap_is_a_loop(name, monkeypatch):
    monkeypatch.setitem(globals(), "TRUTH", jnp.asarray(TRUTH))
    x = normal(3, 4, 4)
    one = jax.jit(lambda x: LOSSES[name](x, None))
    np.testing.assert_allclose(jax.vmap(one)(x), jnp.stack([one(row) for row in x]), rtol=1e-12)
