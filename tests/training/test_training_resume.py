"""A run goes on with the same data, may become longer, and may change what changes no weight."""

import json

import pytest
from tiny_net import experiment

from vision_jax import run
from vision_jax.config import UserError, node
from vision_jax.evaluation import Loss, TopK
from vision_jax.training import (
    Checkpoints,
    Cosine,
    ReduceOnPlateau,
    initial,
    make_experiment,
    resume,
)
from vision_jax.training.experiment import may_change


def rows(folder, name):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [row[name] for row in map(json.loads, lines) if name in row]


def stopped(config, folder):
    """Runs to the end, and takes the end away, as a kill before it would."""
    run.train(config, folder)
    (folder / "DONE").unlink()


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """Returns a folder in which the tiny run is not done, and the bytes of its metrics."""
    folder = tmp_path_factory.mktemp("once")
    stopped(experiment(steps=2), folder)
    return folder


def copied(once, tmp_path):
    import shutil

    return shutil.copytree(once, tmp_path / "run")


def test_other_training_data_are_refused(once, tmp_path):
    folder = copied(once, tmp_path)
    found = json.loads((folder / "data.json").read_text())
    assert found["train"]["examples"] == 96 and found["eval"]["examples"] == 40
    assert found["steps"] == 2 and found["train"]["classes"] == list("0123456789")
    found["train"]["examples"] = 97
    (folder / "data.json").write_text(json.dumps(found))
    config = (folder / "config.json").read_text()
    with pytest.raises(UserError, match=r"data of `train` are not those .*: 97 -> 96 examples; "):
        run.train(experiment(steps=3), folder)
    assert (folder / "config.json").read_text() == config
    run.train(experiment(steps=2), folder)  # only its end was missing


def begun(folder, step, **experiment_settings):
    """Makes a run folder as that of an experiment that has saved a step."""
    (folder / "checkpoints" / f"{step:08d}").mkdir(parents=True)
    made = make_experiment(experiment(**experiment_settings))
    resume.write(folder, resume.check(folder, made)[0])
    return folder


def told(folder, **experiment_settings) -> list[str]:
    return resume.check(folder, make_experiment(experiment(**experiment_settings)))[1]


def test_other_evaluation_data_are_told(tmp_path):
    config = experiment(steps=4)
    config.eval.source.split = "validation[:39]"
    folder = begun(tmp_path, 2, steps=4, eval=config.eval)
    message = "the data of `eval` have changed since the run began: 39 -> 40 examples"
    assert told(folder, steps=4) == [message]
    followed = config.optimizer.copy_and_resolve_references()
    with followed.ignore_type():
        followed.plateau = node(ReduceOnPlateau)
    with pytest.raises(UserError, match="data of `eval` are not those that the run"):
        told(folder, steps=4, optimizer=followed)
    assert told(folder, steps=4, eval=None, best="") == []


def test_a_run_without_a_fingerprint_goes_on(once, tmp_path):
    folder = copied(once, tmp_path)
    (folder / "data.json").write_text("{")
    run.train(experiment(steps=2), folder)
    assert json.loads((folder / "data.json").read_text())["steps"] == 2


def test_a_finished_run_becomes_longer_with_its_optimizers_state(tmp_path, capsys):
    run.train(experiment(steps=4), tmp_path / "straight")
    run.train(experiment(steps=2), tmp_path / "longer")
    capsys.readouterr()
    run.train(experiment(steps=4), tmp_path / "longer")
    out = capsys.readouterr().out
    assert "the run goes on from step 2 to 4 in place of 2; by the schedule of that length" in out
    assert "the learning rate there is as before" in out and "resumed from step 2" in out
    losses = [rows(tmp_path / name, "train/loss") for name in ("straight", "longer")]
    assert losses[0] == losses[1] and len(losses[0]) == 4
    assert json.loads((tmp_path / "longer" / "DONE").read_text())["step"] == 4
    with pytest.raises(UserError, match="is one of 4 steps, of which 4 are made, and not of 3"):
        run.train(experiment(steps=3), tmp_path / "longer")
    run.train(experiment(steps=4), tmp_path / "longer")
    assert "finished already" in capsys.readouterr().out


def test_a_schedule_that_is_stretched_is_told(tmp_path):
    optimizer = experiment().optimizer
    optimizer.schedule = node(Cosine, value=0.1)
    folder = begun(tmp_path, 2, steps=2, optimizer=optimizer)
    (line,) = told(folder, steps=4, optimizer=optimizer)
    assert line.startswith("the run goes on from step 2 to 4 in place of 2; ")
    assert line.endswith("the learning rate there is 0.05 in place of 0")


def test_epochs_become_more_too(tmp_path):
    (tmp_path / "DONE").write_text('{"step": 3}')
    folder = begun(tmp_path, 3, steps=0, epochs=1.0)
    (line,) = told(folder, steps=0, epochs=2.0)
    assert "from step 3 to 6 in place of 3" in line
    assert told(folder, steps=3) == [] and (tmp_path / "DONE").exists()
    resume.write(folder, {"steps": 6})
    assert not (tmp_path / "DONE").exists()


def test_what_changes_no_weight_may_change(once, tmp_path, capsys):
    folder = copied(once, tmp_path)
    metrics = {"top": node(TopK, ks=(1, 3)), "loss": node(Loss)}
    config = experiment(steps=4, log_every=2, keep=3, best="eval/loss", best_mode="min")
    config.metrics, config.eval.batch_size, config.eval_every = metrics, 8, 2
    run.train(config, folder)
    out = capsys.readouterr().out
    assert "changed since the run began: " in out and "log_every 1 -> 2" in out
    assert len(rows(folder, "eval/loss")) == 1
    checkpoints = Checkpoints(folder / "checkpoints", 3, "eval/loss", "min", read_only=True)
    assert checkpoints.best_step() == 4
    checkpoints.close()


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"seed": 1}, "seed 0 -> 1"), ({"accumulate": 2}, "accumulate 1 -> 2")],
)
def test_what_changes_weights_may_not(once, changes, told):
    with pytest.raises(UserError, match=f"holds a run with another config: {told}"):
        run.train(experiment(steps=2, **changes), once)


def test_nothing_is_refused_before_something_is_saved(tmp_path, capsys):
    config = experiment(eval=None, best="", checkpoint_every=1)
    config.optimizer.schedule.value = 1e38
    with pytest.raises(UserError, match="loss is"):
        run.train(experiment(optimizer=config.optimizer, log_every=1, steps=2), tmp_path)
    run.train(experiment(seed=5), tmp_path)
    assert "the run begins with the new config" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "changes", "free"),
    [
        ("log_every", {}, True),
        ("best", {}, True),
        ("expect.value", {}, True),
        ("eval.batch_size", {}, True),
        ("metrics.top.ks", {}, True),
        ("eval_every", {}, True),
        ("eval_every", {"steps_per_dispatch": 2}, False),
        ("eval.batch_size", {"optimizer": {"plateau": {"metric": "eval/top1"}}}, False),
        ("log_every", {"optimizer": {"plateau": {"metric": "eval/top1"}}}, True),
        ("train.batch_size", {}, False),
        ("train.workers", {}, True),
        ("train.source.cache_mb", {}, True),
        ("train.source.split", {}, False),
        ("evaluation", {}, False),
    ],
)
def test_which_settings_may_change(key, changes, free):
    assert may_change(key, changes) is free


def test_a_failing_evaluation_loses_nothing(tmp_path, monkeypatch):
    """The checkpoint is there before it, and the run that goes on ends with the same bits."""
    run.train(experiment(), tmp_path / "straight")

    def fails(self, variables, stop=None, watch=None):
        steps = initial.CHECKPOINTS
        checkpoints = Checkpoints(tmp_path / "broken" / steps, read_only=True)
        raise UserError(f"saved: {checkpoints.latest_step()}")

    with monkeypatch.context() as patch:
        patch.setattr("vision_jax.training.evaluate.Evaluator.__call__", fails)
        with pytest.raises(UserError):
            run.train(experiment(), tmp_path / "broken")
    names = [p.name for p in (tmp_path / "broken" / "checkpoints").glob("*") if p.name.isdigit()]
    assert [int(name) for name in names] == [2]
    run.train(experiment(), tmp_path / "broken")
    files = [(tmp_path / n / "metrics.jsonl").read_bytes() for n in ("straight", "broken")]
    assert files[0] == files[1]


def test_a_best_that_is_not_measured_loses_nothing(tmp_path, capsys):
    """`top3` of a network with three classes or fewer says nothing, so that it is left out."""
    config = experiment(best="eval/top10", metrics={"top": node(TopK, ks=(1, 10))})
    run.train(config, tmp_path)
    assert "best='eval/top10' was not measured - did you mean eval/top1?" in capsys.readouterr().out
    assert (tmp_path / "DONE").exists()


def test_a_plateau_that_is_not_measured_stops_with_a_checkpoint(tmp_path):
    config = experiment(metrics={"top": node(TopK, ks=(1, 10))})
    config.optimizer.plateau = node(ReduceOnPlateau, metric="eval/top10")
    with pytest.raises(UserError, match=r"plateau\.metric='eval/top10' was not measured"):
        run.train(config, tmp_path)
    assert any(p.name.isdigit() for p in (tmp_path / "checkpoints").glob("*"))


def test_a_step_beyond_the_end_is_the_end():
    made = make_experiment(experiment(steps=4, eval_every=3))
    assert [step for step in range(7) if made.is_eval_step(step)] == [3, 4, 5, 6]
    assert [step for step in range(7) if made.is_checkpoint_step(step)] == [0, 3, 4, 5, 6]
