"""The arguments of YOLO's experiments."""

import itertools
import pathlib

import pytest

from experiments import (
    darknet19_imagenet,
    yolo_v1_voc0712,
    yolo_v2_coco,
    yolo_v2_voc0712,
    yolo_v3_coco,
    yolo_v3_tiny_coco,
    yolo_v3_voc0712,
)
from experiments.sweeps import bag_of_freebies, path_from_yolo
from vision_jax import models
from vision_jax.config import UserError, build
from vision_jax.data import PerBatch, Until
from vision_jax.models.classifiers.darknet import DARKNET
from vision_jax.models.detectors.yolo_v2 import COCO_PRIORS
from vision_jax.training import stages
from vision_jax.weights import darknet_sections


@pytest.mark.parametrize(
    ("module", "arg", "networks"),
    [
        (yolo_v1_voc0712, "form=shipped,pretrain", ["Darknet", "Darknet"]),
        (yolo_v2_voc0712, "pretrain", ["Darknet", "Darknet", "Darknet"]),
        (yolo_v3_voc0712, "pretrain", ["ResidualDarknet", "ResidualDarknet"]),
    ],
)
def test_pretraining_is_a_stage_from_which_the_next_one_starts(module, arg, networks):
    runs = stages.resolve(module.get_config(arg), pathlib.Path("run"))
    tasks = [build(config.task) for config, _ in runs]
    assert [type(task.model.backbone).__name__ for task in tasks] == networks
    for (_, folder), (config, _) in itertools.pairwise(runs):
        assert config.init.weights == str(folder)
    assert runs[0][0].init.weights is None
    classifier, detector = tasks[0].model, tasks[-1].model
    assert classifier.backbone == detector.backbone
    assert (tasks[0].mean, tasks[0].std) == (tasks[-1].mean, tasks[-1].std)
    assert runs[0][0].best == "eval/top1" and runs[-1][0].best == "eval/ap50"


def test_every_freebie_can_be_taken_away():
    on = yolo_v3_voc0712.get_config()
    assert on.expect.value == 0.815
    for name in yolo_v3_voc0712.FREEBIES:
        config = yolo_v3_voc0712.get_config(f"{name}=False")
        assert config.to_json() != on.to_json() and config.expect is None, name
    kinds = [type(build(part)) for part in on.train.transforms]
    assert kinds[0] is Until and PerBatch in kinds
    off = yolo_v3_voc0712.get_config("mixup=False,shapes=False")
    assert not {Until, PerBatch} & {type(build(part)) for part in off.train.transforms}


def _yolo_v2(**fields):
    return models.YOLOv2(models.Darknet(layers=DARKNET), reorg="darknet", layers=DARKNET, **fields)


@pytest.mark.parametrize(
    ("module", "arg", "published"),
    [
        (yolo_v1_voc0712, "form=shipped,darknet", models.YOLOv1Shipped(layers=DARKNET)),
        (yolo_v2_voc0712, "darknet", _yolo_v2()),
        (yolo_v2_coco, "darknet", _yolo_v2(num_classes=80, priors=COCO_PRIORS)),
        (
            yolo_v3_coco,
            "darknet",
            models.YOLOv3(models.ResidualDarknet(layers=DARKNET), layers=DARKNET),
        ),
        (yolo_v3_tiny_coco, "darknet", models.YOLOv3Tiny(layers=DARKNET)),
    ],
)
def test_published_weights_fit_the_experiments(module, arg, published):
    """The argument `darknet` makes the networks of Darknet's files, in every layer."""
    model = build(module.get_config(arg).task.model)
    assert model == published
    sections = darknet_sections.sections(model)
    assert [section.kind for section in sections][-1] in ("detection", "region", "yolo")


def test_wrong_arguments_are_one_line():
    with pytest.raises(UserError, match=r"form='lectur'.*lecture"):
        yolo_v1_voc0712.get_config("form=lectur")
    with pytest.raises(UserError, match=r"network='darknet18'.*darknet19"):
        darknet19_imagenet.get_config("network=darknet18")


def test_a_larger_classifier_goes_on_from_the_smaller_one():
    config = darknet19_imagenet.get_config("size=448")
    assert config.init.weights == "runs/darknet19" and config.epochs == 10
    assert config.train.transforms[0].size == config.eval.transforms[1].size == 448


@pytest.mark.parametrize("module", [path_from_yolo, bag_of_freebies])
@pytest.mark.parametrize("argument", ["", "twin"])
def test_every_step_of_a_sweep_changes_its_experiment(module, argument):
    arguments = []
    module.sweep(lambda name, argument, **changes: arguments.append(argument), argument)
    own = list(dict.fromkeys(arguments))
    assert len(arguments) == 3 * len(own) and len(own) >= 7
    configs = [module.get_config(arg) for arg in own]
    assert len({config.to_json() for config in configs}) == len(own)
    for config in configs:
        build(config.task)
    for claim in module.claims(argument):
        assert claim.higher["argument"] in own and claim.lower["argument"] in own
