"""The nearest setting to one that does not exist."""

import pytest
from ml_collections import ConfigDict

from vision_jax.config.keys import leaves, nearest, split


def tree() -> ConfigDict:
    schedule = ConfigDict({"target": "x", "then": {"target": "y", "value": 0.1}, "length": 5.0})
    return ConfigDict(
        {
            "epochs": 7.0,
            "steps": 0,
            "seed": 0,
            "dtype": "float32",
            "expect": {"value": 1.0, "source": ""},
            "baselines": {},
            "init": {"weights": "", "reinitialize": ""},
            "eval": {"batch_size": 1},
            "train": {
                "batch_size": 1,
                "workers": 0,
                "transforms": (ConfigDict({"size": 8}), ConfigDict({"p": 0.5})),
            },
            "optimizer": {"schedule": schedule, "decay": 0.0, "rule": {"momentum": 0.9}},
            "task": {"model": {"head": {"num_classes": 8}}},
        }
    )


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("sed", "seed"),
        ("optimzer.schedule.then.value", "optimizer.schedule.then.value"),
        ("optimizer.schedule.value", "optimizer.schedule.then.value"),
        ("optimizer.shedule.then.valu", "optimizer.schedule.then.value"),
        ("optimizer.decai", "optimizer.decay"),
        ("train.transfroms[1].p", "train.transforms[1].p"),
        ("train.transforms[0].siz", "train.transforms[0].size"),
        ("momentum", "optimizer.rule.momentum"),
        ("momentun", "optimizer.rule.momentum"),
        ("lr", "optimizer.schedule.then.value"),
        ("optimizer.learning_rate", "optimizer.schedule.then.value"),
        ("weight_decay", "optimizer.decay"),
        ("batch_size", "train.batch_size"),
        ("eval.batchsize", "train.batch_size"),
        ("num_workers", "train.workers"),
        ("num_epochs", "epochs"),
        ("pretrained", "init.weights"),
        ("image_size", "train.transforms[0].size"),
        ("task.model.num_classes", "task.model.head.num_classes"),
        ("bf16", "dtype"),
        ("optimiser", "optimizer"),
    ],
)
def test_the_nearest_setting_exists_and_is_meant(path, meant):
    assert nearest(tree(), path) == meant


@pytest.mark.parametrize("path", ["zzz", "", "train[0].qqq", "expect.value.qqq"])
def test_nothing_is_near(path):
    assert nearest(tree(), path) is None


def test_paths_there_and_back():
    assert split("a.b[0][12].c") == ["a", "b", 0, 12, "c"]
    paths = [path for path, _ in leaves(tree())]
    assert "train.transforms[1].p" in paths and "optimizer.schedule.then.value" in paths
