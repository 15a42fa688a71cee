"""What would stop a run later is said before anything is compiled."""

import numpy as np
import pytest
from tiny_net import experiment

from vision_jax import evaluation, run
from vision_jax.config import UserError, node, override
from vision_jax.data import BaseSource
from vision_jax.evaluation import Confusion, Loss, Prefixed, TopK
from vision_jax.training import Experiment, ReduceOnPlateau, checks, make_experiment, prepare


class Pictures(BaseSource):
    """Twenty pictures, of which one has another size, or is none at all."""

    classes = tuple("0123456789")

    def __init__(self, odd: int = -1, broken: int = -1):
        self.odd, self.broken = odd, broken

    def __len__(self):
        return 20

    def __getitem__(self, i):
        if i == self.broken:
            return {"image": "no picture", "label": 0}
        return {"image": np.zeros((8 + (i == self.odd), 8, 1), np.uint8), "label": i % 10}


def faults(config) -> str:
    with pytest.raises(UserError) as error:
        prepare(config)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_sound_passes(capsys):
    _, made, lines = checks.prepared(experiment())
    assert isinstance(made, Experiment) and lines == []
    assert capsys.readouterr().out == "reading the data …\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"best": "eval/top5"}, "best='eval/top5' is not measured - did you mean eval/top1?"),
        ({"best": "top1"}, "did you mean eval/top1?"),
        ({"metrics": {}}, "best='eval/top1' is not measured"),
        ({"best": "eval/top1@1"}, "best='eval/top1@1' is not measured"),
        ({"best": "eval/top1@2", "seeds": 2}, "best='eval/top1@2' is not measured"),
    ],
)
def test_a_metric_that_none_reports(changes, message):
    assert message in faults(experiment(**changes))


def test_the_metric_of_a_plateau():
    config = experiment()
    config.optimizer.plateau = node(ReduceOnPlateau, metric="eval/loss")
    assert "optimizer.plateau.metric='eval/loss' is not measured" in faults(config)


@pytest.mark.parametrize(
    "changes",
    [
        {"best": ""},
        {"best": "eval/skipped"},
        {"best": "eval/top1@1", "seeds": 2},
        {"eval": None},
    ],
)
def test_settings_that_name_what_there_is_or_may_be(changes):
    checks.names(make_experiment(experiment(**changes)))


def test_two_metrics_of_one_name():
    metrics = {"a": node(Loss), "b": node(Loss)}
    message = faults(experiment(metrics=metrics, best="eval/loss"))
    assert message.startswith(
        "metrics.a and metrics.b both report 'loss': wrap one of them as node("
    )
    metrics["b"] = node(Prefixed, metric=node(Loss), prefix="b_")
    prepare(experiment(metrics=metrics, best="eval/b_loss"))


def test_every_metric_knows_its_names():
    """So that none is left out of the comparison."""
    for name in evaluation.__all__:
        metric = vars(evaluation)[name]
        if "result" in vars(metric) and name != "Prefixed":
            assert "names" in vars(metric), name


@pytest.mark.parametrize("where", ["train", "eval"])
def test_images_of_different_sizes(where):
    config = experiment(train="train[:96]")
    pictures = node(Pictures, odd=9)
    override(config, f"{where}.source", pictures)
    override(config, f"{where}.batch_size", 8)
    assert "Pictures example 9 is (9, 8, 1), another image of the batch (8, 8, 1)" in faults(config)


def test_a_source_that_gives_nonsense():
    config = experiment()
    override(config, "train.source", node(Pictures, broken=0))
    assert "the first images cannot be prepared" in faults(config)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "task.mean",
            (0.5, 0.5),
            "task.mean=(0.5, 0.5) has 2 numbers, the images of `train` have 1",
        ),
        ("task.std", (0.0,), "task.std=(0.0,) must be above 0"),
        (
            "train.source.channels",
            3,
            "task.mean=(0.5,) has 1 numbers, the images of `train` have 3",
        ),
        ("eval.source.channels", 3, "the images of `eval` have 3 channels"),
        ("train.batch_size", 0, "train.batch_size=0 must be at least 1"),
        ("train.source.size", 0, "train.source.size=0 must be at least 1"),
    ],
)
def test_settings_that_do_not_fit_the_images(path, value, message):
    config = experiment()
    override(config, path, value)
    assert message in faults(config)


def test_metrics_that_do_not_fit_the_network():
    config = experiment(metrics={"top": node(TopK, ks=(1,)), "c": node(Confusion, num_classes=12)})
    assert "Confusion(num_classes=12) got logits of 10 classes (ValueError, " in faults(config)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("epochs", -1.0),
        ("steps", -5),
        ("log_every", 0),
        ("eval_every", -1),
        ("checkpoint_every", -1),
        ("keep", 0),
        ("seeds", 0),
        ("accumulate", 0),
        ("steps_per_dispatch", 0),
        ("seed", -1),
        ("seed", 2**32),
        ("data_seed", -1),
        ("best_mode", "up"),
        ("values", ("a",)),
        ("ema.decay", 1.0),
        ("optimizer.decay", -1.0),
        ("optimizer.clip", 0.0),
        ("optimizer.clip", float("nan")),
        ("optimizer.groups", (("head/.*", -1.0),)),
        ("optimizer.rule.momentum", 1.0),
        ("optimizer.schedule.value", float("nan")),
        ("optimizer.plateau.factor", 1.0),
        ("train.max_boxes", 0),
        ("train.threads", -1),
        ("train.workers", -1),
        ("train.max_skipped", 1.5),
        ("train.repeats", 0),
        ("eval.batch_size", 0),
        ("init.reinitialize", "("),
        ("task.smoothing", 1.0),
    ],
)
def test_nonsense_is_refused_by_its_path(path, value):
    config = experiment()
    override(config, path, value)
    assert faults(config).startswith(f"{path}={value!r} ")


def test_a_failed_start_leaves_no_folder_that_refuses_the_corrected_command(tmp_path):
    for wrong in ({"steps": -5}, {"best": "eval/nope"}, {"init__weights": "nope.pth"}):
        config = experiment()
        for path, value in wrong.items():
            override(config, path.replace("__", "."), value)
        with pytest.raises(UserError):
            run.train(config, tmp_path)
    assert run.train(experiment(seed=3), tmp_path)["eval/top1"] >= 0
