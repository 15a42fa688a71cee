"""Update rules against loops written from the formulas, patterns, freezing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.config import UserError, build, node
from vision_jax.training import AdamW, Constant, Optimizer, RmsProp, Sgd

RATE, DECAY = 0.1, 0.01


def params():
    rng = np.random.default_rng(0)
    return {
        "backbone": {"kernel": rng.normal(size=(3, 4)).astype(np.float32)},
        "norm": {"scale": np.ones(4, np.float32)},
        "head": {"kernel": rng.normal(size=(4, 2)).astype(np.float32), "bias": np.ones(2, "f4")},
    }


def gradients(step):
    rng = np.random.default_rng([1, step])
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), params())


def follow(optimizer, steps=5):
    """Parameters after some updates, through the library."""
    update = optimizer.build(params(), 100, 10)
    now, opt_state = params(), update.init(params())
    for step in range(steps):
        trained, frozen = update.split(now)
        given, _ = update.split(gradients(step))
        trained, opt_state = update.apply(given, opt_state, trained, jnp.float32(RATE))
        now = update.merge(trained, frozen)
    return now, opt_state


def loop(direction, steps=5):
    """Each array apart, in float64; direction(p, g, memory) is what is subtracted."""
    now = jax.tree.map(np.float64, params())
    memory = jax.tree.map(lambda x: {}, now)
    for step in range(steps):
        given = gradients(step)
        now = jax.tree.map(
            lambda p, g, m: p - direction(p, np.float64(g), m), now, given, memory,
            is_leaf=lambda x: isinstance(x, np.ndarray),
        )  # fmt: skip
    return now


def assert_close(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd(nesterov):
    def direction(p, g, memory):
        g = g + DECAY * p
        memory["v"] = 0.9 * memory.get("v", 0) + g
        return RATE * (g + 0.9 * memory["v"] if nesterov else memory["v"])

    optimizer = Optimizer(Sgd(0.9, nesterov), Constant(), decay=DECAY)
    assert_close(follow(optimizer)[0], loop(direction))


@pytest.mark.parametrize("decoupled", [False, True])
def test_adam(decoupled):
    def direction(p, g, m):
        g = g if decoupled else g + DECAY * p
        m["t"] = m.get("t", 0) + 1
        m["m"] = 0.9 * m.get("m", 0) + 0.1 * g
        m["v"] = 0.99 * m.get("v", 0) + 0.01 * g**2
        root = np.sqrt(m["v"] / (1 - 0.99 ** m["t"])) + 1e-3
        step = m["m"] / (1 - 0.9 ** m["t"]) / root
        return RATE * (step + DECAY * p if decoupled else step)

    rule = AdamW(0.9, 0.99, 1e-3, decoupled)
    assert_close(follow(Optimizer(rule, Constant(), decay=DECAY))[0], loop(direction))


@pytest.mark.parametrize("form", ["tf", "torch"])
def test_rmsprop(form):
    def direction(p, g, m):
        g = g + DECAY * p
        if form == "tf":
            m["s"] = 0.8 * m.get("s", 1.0) + 0.2 * g**2
            m["b"] = 0.9 * m.get("b", 0) + RATE * g / np.sqrt(m["s"] + 0.1)
            return m["b"]
        m["s"] = 0.8 * m.get("s", 0.0) + 0.2 * g**2
        m["b"] = 0.9 * m.get("b", 0) + g / (np.sqrt(m["s"]) + 0.1)
        return RATE * m["b"]

    optimizer = Optimizer(RmsProp(0.8, 0.9, 0.1, form), Constant(), decay=DECAY)
    assert_close(follow(optimizer)[0], loop(direction))


def test_clipping_uses_the_norm_of_everything_trained():
    clipped, _ = follow(Optimizer(Sgd(0.0), Constant(), clip=0.5), 1)
    given = gradients(0)
    norm = np.sqrt(sum(np.sum(g.astype(np.float64) ** 2) for g in jax.tree.leaves(given)))
    wanted = jax.tree.map(lambda p, g: p - RATE * g * 0.5 / norm, params(), given)
    assert norm > 0.5
    assert_close(clipped, wanted)


def test_decay_skips_vectors_and_patterns():
    def moved(**kwargs):
        optimizer = Optimizer(Sgd(0.0), Constant(), decay=DECAY, **kwargs)
        plain, _ = follow(Optimizer(Sgd(0.0), Constant()), 1)
        now, _ = follow(optimizer, 1)
        return jax.tree.map(lambda a, b: bool(np.abs(a - b).max() > 1e-5), plain, now)

    assert moved() == {
        "backbone": {"kernel": True},
        "norm": {"scale": True},
        "head": {"kernel": True, "bias": True},
    }
    assert moved(decay_vectors=False, skip_decay=("head/.*",)) == {
        "backbone": {"kernel": True}, "norm": {"scale": False},
        "head": {"kernel": False, "bias": False},
    }  # fmt: skip


def test_groups_have_their_own_rates_and_the_first_match_holds():
    groups = ((".*/bias", 2.0), ("head/.*", 10.0))
    now, _ = follow(Optimizer(Sgd(0.0), Constant(), groups=groups), 1)
    times = {"backbone": {"kernel": 1}, "norm": {"scale": 1}, "head": {"kernel": 10, "bias": 2}}
    wanted = jax.tree.map(lambda p, g, m: p - RATE * m * g, params(), gradients(0), times)
    assert_close(now, wanted)


def test_frozen_parameters_stay_and_take_no_memory():
    optimizer = Optimizer(AdamW(), Constant(), decay=DECAY, trainable=("head/.*",))
    now, opt_state = follow(optimizer)
    np.testing.assert_array_equal(now["backbone"]["kernel"], params()["backbone"]["kernel"])
    np.testing.assert_array_equal(now["norm"]["scale"], params()["norm"]["scale"])
    assert np.any(now["head"]["kernel"] != params()["head"]["kernel"])
    sizes = sorted(x.size for x in jax.tree.leaves(opt_state))
    assert sizes == [1, 2, 2, 8, 8]  # a counter, two moments of the head's bias and kernel


@pytest.mark.parametrize(
    ("setting", "pattern", "said"),
    [
        ("trainable", "head", "trainable='head' matches no parameter - did you mean head/.*?"),
        ("skip_decay", "backbone/kernal", "- did you mean backbone/kernel?"),
        ("trainable", "zzzzzzzz", "matches no parameter - the first is backbone/kernel"),
        ("trainable", "(", "trainable='(' is no regular expression"),
    ],
)
def test_a_pattern_that_matches_nothing(setting, pattern, said):
    with pytest.raises(UserError) as error:
        Optimizer(Sgd(), Constant(), **{setting: (pattern,)}).build(params(), 10, 1)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_group_patterns_are_checked_and_so_is_rmsprops_form():
    with pytest.raises(UserError, match=r"groups='heads/.*did you mean head/"):
        Optimizer(Sgd(), Constant(), groups=(("heads/.*", 2.0),)).build(params(), 10, 1)
    with pytest.raises(UserError, match="form='keras' - known: tf, torch"):
        RmsProp(form="keras")


def test_the_optimizer_is_a_config_tree():
    tree = node(Optimizer, rule=node(Sgd, nesterov=True), schedule=node(Constant, value=0.2))
    tree.clip = 1.0
    assert build(tree) == Optimizer(Sgd(nesterov=True), Constant(0.2), clip=1.0)
