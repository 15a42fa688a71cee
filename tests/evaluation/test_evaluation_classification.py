"""Classification metrics against slow loops and scikit-learn, in any batching."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, confusion_matrix, log_loss

from vision_jax.config import UserError
from vision_jax.evaluation import Confusion, Loss, MultiLabel, TopK
from vision_jax.evaluation.classification import average_precision, rank_of_label
from vision_jax.structs import Batch, Targets


def run(metric, logits, labels, batch_size):
    """The metric over the rows, in batches of one size, the last one padded."""
    state = metric.empty()
    update = None if metric.gathers else jax.jit(metric.update)
    for start in range(0, len(logits), batch_size):
        rows = slice(start, start + batch_size)
        missing = batch_size - len(logits[rows])
        # Padding holds the first row again: it must not count.
        fill = [0] * missing
        x = np.concatenate([logits[rows], logits[fill]])
        y = np.concatenate([labels[rows], labels[fill]])
        valid = np.arange(batch_size) < batch_size - missing
        index = np.arange(batch_size, dtype=np.int32)
        image = np.zeros((batch_size, 1, 1, 3), np.uint8)
        batch = Batch(image=image, valid=valid, index=index, targets=Targets(label=y))
        if metric.gathers:
            state = metric.collect(state, {"logits": x}, batch)
        else:
            increments = update({"logits": jnp.asarray(x)}, jax.tree.map(jnp.asarray, batch))
            assert jax.tree.structure(increments) == jax.tree.structure(state)
            state = jax.tree.map(lambda a, b: a + np.asarray(b).astype(a.dtype), state, increments)
    return metric.result(state)


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    # Halves, so that there are ties; none is -0.
    logits = np.round(rng.normal(size=(37, 7)) * 2).astype(np.float32) / 2 + 0.0
    return logits, rng.integers(0, 7, 37).astype(np.int32)


def slow_top(logits, labels, k):
    right = 0
    for row, label in zip(logits, labels, strict=True):
        ranked = sorted(range(len(row)), key=lambda c: (-row[c], c))
        right += label in ranked[:k]
    return right / len(labels)


@pytest.mark.parametrize("batch_size", [8, 37, 64])
def test_top_k_equals_sorting_each_row(rows, batch_size):
    got = run(TopK(ks=(1, 3, 5)), *rows, batch_size)
    assert got == {f"top{k}": slow_top(*rows, k) for k in (1, 3, 5)}


def test_top_k_ranks_ties_as_lax_top_k(rows):
    logits, labels = rows
    order = np.asarray(jax.lax.top_k(logits, 7)[1])
    expected = (order == labels[:, None]).argmax(axis=1)
    np.testing.assert_array_equal(rank_of_label(jnp.asarray(logits), jnp.asarray(labels)), expected)


def test_top_k_leaves_out_a_k_that_every_row_satisfies(rows):
    logits, labels = rows
    assert set(run(TopK(), logits[:, :5], labels % 5, 8)) == {"top1"}
    assert set(run(TopK(), logits[:, :6], labels % 6, 8)) == {"top1", "top5"}


@pytest.mark.parametrize("spoilt", ["own", "other", "all"])
def test_nan_logits_are_wrong(spoilt):
    logits = np.array([[9, 0, 0], [9, 0, 0]], np.float32)
    logits[1, {"own": 0, "other": 2, "all": slice(None)}[spoilt]] = np.nan
    labels = np.zeros(2, np.int32)
    assert run(TopK(ks=(1, 2)), logits, labels, 2) == {"top1": 0.5, "top2": 0.5}
    confusion = run(Confusion(3), logits, labels, 2)
    assert confusion["confusion"].tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert confusion["mean_class_accuracy"] == 0.5
    assert np.isnan(run(Loss(), logits, labels, 2)["loss"])


@pytest.mark.parametrize("label", [-1, 3, 255])
def test_a_label_that_is_no_class_is_wrong_and_in_no_cell(label):
    logits = np.eye(3, dtype=np.float32)
    labels = np.array([0, 1, label], np.int32)
    assert run(TopK(ks=(1,)), logits, labels, 3)["top1"] == pytest.approx(2 / 3)
    assert run(Confusion(3), logits, labels, 3)["confusion"].sum() == 2
    assert np.isnan(run(Loss(), logits, labels, 3)["loss"])


@pytest.mark.parametrize("batch_size", [8, 64])
def test_loss_equals_scikit_learn(rows, batch_size):
    logits, labels = rows
    probability = np.exp(logits.astype(np.float64))
    probability /= probability.sum(axis=1, keepdims=True)
    expected = log_loss(labels, probability, labels=range(7))
    assert run(Loss(), logits, labels, batch_size)["loss"] == pytest.approx(expected, rel=1e-6)


def test_loss_does_not_overflow():
    logits = np.array([[1e4, 0], [0, 1e4]], np.float32)
    assert run(Loss(), logits, np.zeros(2, np.int32), 2)["loss"] == 5e3


def test_loss_of_bfloat16_logits_is_taken_in_float32(rows):
    logits, labels = rows  # halves are exact in bfloat16
    half = np.asarray(jnp.asarray(logits, jnp.bfloat16))
    assert run(Loss(), half, labels, 8) == run(Loss(), logits, labels, 8)


@pytest.mark.parametrize("batch_size", [8, 64])
def test_confusion_equals_scikit_learn(rows, batch_size):
    logits, labels = rows
    labels = np.where(labels == 3, 2, labels)  # a class without images
    got = run(Confusion(7), logits, labels, batch_size)
    expected = confusion_matrix(labels, logits.argmax(axis=1), labels=range(7))
    np.testing.assert_array_equal(got["confusion"], expected)
    support = expected.sum(axis=1)
    np.testing.assert_array_equal(np.isnan(got["per_class_accuracy"]), support == 0)
    per_class = [expected[c, c] / support[c] for c in range(7) if support[c]]
    assert got["mean_class_accuracy"] == pytest.approx(np.mean(per_class))


def slow_eleven_points(scores, positive):
    precisions, recalls = [], []
    for threshold in sorted(set(scores), reverse=True):
        kept = [p for s, p in zip(scores, positive, strict=True) if s >= threshold]
        precisions.append(sum(kept) / len(kept))
        recalls.append((sum(kept), sum(positive)))
    best = []
    for i in range(11):
        reached = [
            p for p, (hits, n) in zip(precisions, recalls, strict=True) if 10 * hits >= i * n
        ]
        best.append(max(reached, default=0.0))
    return sum(best) / 11


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=1, max_size=25))
def test_average_precision_equals_references(pairs):
    scores = np.array([s for s, _ in pairs], np.float64)
    positive = np.array([p for _, p in pairs])
    if not positive.any():
        assert np.isnan(average_precision(scores, positive))
        return
    plain = average_precision(scores, positive)
    assert plain == pytest.approx(average_precision_score(positive, scores), abs=1e-12)
    eleven = average_precision(scores, positive, "11-point")
    assert eleven == pytest.approx(slow_eleven_points(scores, positive), abs=1e-12)


def test_average_precision_by_hand():
    scores, positive = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    assert average_precision(scores, positive) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    # Recalls 0 … 0.5 see precision 1, 0.6 … 1 see 2/3.
    assert average_precision(scores, positive, "11-point") == pytest.approx((6 + 5 * 2 / 3) / 11)


@pytest.mark.parametrize("batch_size", [8, 64])
def test_multi_label_equals_scikit_learn(batch_size):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(30, 4)).astype(np.float32)
    label = (rng.uniform(size=(30, 4)) < 0.4).astype(np.float32)
    label[:, 2] = 0  # a class without positives
    got = run(MultiLabel(4), logits, label, batch_size)
    expected = [average_precision_score(label[:, c], logits[:, c]) for c in (0, 1, 3)]
    np.testing.assert_allclose(got["ap"][[0, 1, 3]], expected)
    assert np.isnan(got["ap"][2])
    assert got["map"] == pytest.approx(np.mean(expected))
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    cross_entropy = -(label * np.log(p) + (1 - label) * np.log(1 - p))
    assert got["loss"] == pytest.approx(cross_entropy.sum(axis=1).mean())


def test_multi_label_ranks_nan_last():
    logits = np.array([[np.nan], [0.0], [-50.0]], np.float32)
    label = np.array([[1.0], [0.0], [0.0]], np.float32)
    assert run(MultiLabel(1), logits, label, 3)["map"] == pytest.approx(1 / 3)


def test_wrong_shapes_are_named():
    logits = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="one class per image"):
        run(TopK(), logits, np.zeros((2, 3), np.float32), 2)
    with pytest.raises(ValueError, match=r"num_classes=4.*3 classes"):
        run(Confusion(4), logits, np.zeros(2, np.int32), 2)
    with pytest.raises(ValueError, match=r"num_classes=3.*labels \(2,\)"):
        run(MultiLabel(3), logits, np.zeros(2, np.int32), 2)
    with pytest.raises(UserError, match="'none' or '11-point'"):
        MultiLabel(3, interpolation="voc")
