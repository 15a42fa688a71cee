"""The mean probability of several networks, and of several run folders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_net import experiment, network

from vision_jax import run, tasks
from vision_jax.config import UserError, build
from vision_jax.structs import Batch
from vision_jax.tasks.ensemble import Ensemble
from vision_jax.training import ensemble, initial


@pytest.mark.parametrize("multilabel", [False, True])
def test_logits_are_those_of_the_mean_probability(multilabel):
    members = tuple(
        tasks.Classification(network(width=width), multilabel=multilabel) for width in (2, 3, 4)
    )
    rng = np.random.default_rng(0)
    batch = Batch(
        image=jnp.asarray(rng.integers(0, 255, (5, 8, 8, 3), np.uint8)),
        valid=np.ones(5, bool),
        index=np.arange(5, dtype=np.int32),
    )
    variables = tuple(m.init(jax.random.key(i), batch) for i, m in enumerate(members))
    predict = jax.jit(Ensemble(members).predict)
    squash = jax.nn.sigmoid if multilabel else jax.nn.softmax
    apart = [
        squash(jax.jit(m.predict)(v, batch)["logits"])
        for m, v in zip(members, variables, strict=True)
    ]
    found = predict(variables, batch)["logits"]
    np.testing.assert_allclose(squash(found), np.mean(apart, 0), rtol=1e-5)
    assert np.std(apart, 0).max() > 0.01


def test_members_of_both_kinds_are_refused():
    one, other = (tasks.Classification(network(), multilabel=m) for m in (False, True))
    with pytest.raises(UserError, match="all be multilabel"):
        Ensemble((one, other))
    with pytest.raises(UserError, match="at least one member"):
        Ensemble(())


def test_run_folders(tmp_path, capsys):
    """Two seeds and another width: the command prints what a loop over images finds."""
    configs = {"a": experiment(), "b": experiment(seed=1), "c": experiment()}
    configs["c"].task.model.backbone.width = 6
    for name, config in configs.items():
        run.train(config, tmp_path / name)
    folders = [str(tmp_path / name) for name in configs]
    capsys.readouterr()
    assert ensemble.main(folders) == 0
    printed = capsys.readouterr().out

    right = total = 0
    parts = [build(config) for config in configs.values()]
    trained = [initial.trained(e, tmp_path / n)[0] for n, e in zip(configs, parts, strict=True)]
    for batch in parts[0].eval.batches():
        shares = [
            np.asarray(jax.nn.softmax(jax.jit(e.task.predict)(v, batch)["logits"]))
            for e, v in zip(parts, trained, strict=True)
        ]
        hits = np.mean(shares, 0).argmax(1) == batch.targets.label
        right, total = right + hits[batch.valid].sum(), total + batch.valid.sum()
    assert printed == f"eval/top1 {right / total:.6g}\n"

    assert ensemble.main([*folders, str(tmp_path / "d")]) == 2
    assert "does not exist; name a run's --workdir" in capsys.readouterr().err
    other = experiment(seed=2)
    other.eval.source.split = "validation[:32]"
    run.train(other, tmp_path / "e")
    assert ensemble.main([*folders, str(tmp_path / "e")]) == 2
    assert "is evaluated on other data" in capsys.readouterr().err
