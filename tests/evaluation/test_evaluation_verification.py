"""The verification protocol and retrieval, each against a slow loop."""

import numpy as np
import pytest

from vision_jax.config import UserError
from vision_jax.evaluation import Retrieval, Verification
from vision_jax.evaluation import retrieval as nearest
from vision_jax.evaluation import verification as protocol
from vision_jax.structs import Batch, Targets

RNG = np.random.default_rng(7)


def embeddings(count: int, identities: int, spread: float = 0.5):
    labels = RNG.integers(0, identities, count)
    centres = RNG.normal(size=(identities, 8))
    x = centres[labels] + spread * RNG.normal(size=(count, 8))
    return x / np.linalg.norm(x, axis=1, keepdims=True), labels


def test_each_fold_is_judged_by_the_threshold_of_the_others():
    one, two = embeddings(60, 4)[0], embeddings(60, 4)[0]
    same = RNG.random(60) < 0.5
    two[same] = one[same] + 0.3 * RNG.normal(size=(same.sum(), 8))
    found = protocol.ten_folds(one, two, same, far=0.1, folds=5)
    distance = ((one - two) ** 2).sum(1)
    for fold in range(5):
        test = np.arange(60) // 12 == fold
        right = [((distance < t) == same)[~test].mean() for t in np.arange(0, 4, 0.01)]
        threshold = np.arange(0, 4, 0.01)[int(np.argmax(right))]
        assert found["accuracy"][fold] == ((distance < threshold) == same)[test].mean()
        fine = np.arange(0, 4, 0.001)
        far = np.array([(distance < t)[~test & ~same].mean() for t in fine])
        at = fine[far <= 0.1][-1]
        assert found["threshold"][fold] == at
        assert found["val"][fold] == (distance < at)[test & same].mean()
        assert found["far"][fold] == (distance < at)[test & ~same].mean()


def test_pairs_are_half_the_same_in_each_fold_and_of_two_images():
    labels = np.array([0] * 5 + [1] * 3 + [2] + [7] * 4)
    first, second, same = protocol.draw_pairs(labels, 200, 10, 0)
    assert len(same) == 200 and (first != second).all()
    np.testing.assert_array_equal(labels[first] == labels[second], same)
    assert (same.reshape(10, 20).sum(1) == 10).all()
    again = protocol.draw_pairs(labels, 200, 10, 0)
    np.testing.assert_array_equal(first, again[0])
    for none in (np.zeros(5, int), np.arange(5)):
        with pytest.raises(UserError, match=r"5 images of \d identities make no pairs"):
            protocol.draw_pairs(none, 100, 10, 0)


def batches(x, labels, size):
    """Yields outputs and padded batches."""
    for start in range(0, len(x), size):
        rows = np.arange(start, start + size)
        valid = rows < len(x)
        rows = np.where(valid, rows, 0)
        targets = Targets(label=np.where(valid, labels[rows], -1))
        ids = np.where(valid, rows, -1)
        batch = Batch(image=None, valid=valid, index=np.arange(size), targets=targets, id=ids)
        yield {"embedding": x[rows], "pixels": -x[rows]}, batch


def measured(metric, x, labels, size):
    state = metric.empty()
    for outputs, batch in batches(x, labels, size):
        state = metric.collect(state, outputs, batch)
    return metric.result(state)


def test_verification_depends_on_no_batches():
    x, labels = embeddings(90, 6, 0.3)
    metric = Verification(count=400)
    one, other = (measured(metric, x, labels, size) for size in (90, 40))
    assert {k: v for k, v in one.items() if "/" not in k} == {
        k: v for k, v in other.items() if "/" not in k
    }
    assert set(metric.names()) == {k for k in one if "/" not in k}
    assert one["verification"] > 0.85 and one["auc"] > 0.9 and one["eer"] < 0.2
    (curve,) = (v for k, v in one.items() if k.startswith("curve/ROC/"))
    assert curve.shape[0] == 2 and curve[:, -1].tolist() == [1, 1]
    pixels = measured(Verification(count=400, embedding="pixels"), x, labels, 40)
    assert pixels["verification"] == one["verification"]
    part = measured(Verification(count=400, labels=(2, 5)), x, labels, 40)
    few = (labels >= 2) & (labels < 5)
    assert part["auc"] == measured(metric, x[few], labels[few], 30)["auc"]


def test_pairs_that_are_listed_come_two_by_two():
    x, _ = embeddings(80, 40)
    same = np.repeat(RNG.random(40) < 0.5, 2).astype(int)
    x[1::2][same[::2] == 1] = x[::2][same[::2] == 1]
    found = measured(Verification(pairs="listed", folds=4), x, same, 32)
    assert found["verification"] > 0.9
    with pytest.raises(UserError, match="needs a source of pairs"):
        Verification(pairs="listed").result([(x[:1], same[:1], np.array([0]))])


@pytest.mark.parametrize(
    "settings", [{"pairs": "all"}, {"distance": "l1"}, {"folds": 1}, {"labels": (1,)}]
)
def test_settings_that_cannot_be(settings):
    with pytest.raises(UserError):
        Verification(**settings)


def test_recall_is_a_loop_over_queries():
    x, labels = embeddings(40, 12)
    found = measured(Retrieval(ks=(1, 3)), x, labels, 16)
    distance = ((x[:, None] - x[None]) ** 2).sum(-1)
    np.fill_diagonal(distance, np.inf)
    order = np.argsort(distance, 1, kind="stable")
    np.testing.assert_array_equal(nearest.neighbours(x, 4), order[:, :4])
    queries = [i for i in range(40) if (labels == labels[i]).sum() > 1]
    for k in (1, 3):
        hits = [labels[i] in labels[order[i, :k]] for i in queries]
        assert found[f"recall{k}"] == np.mean(hits)
    assert measured(Retrieval(), x[:1], labels[:1], 1) == {}
