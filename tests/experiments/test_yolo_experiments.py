"""What the arguments of YOLO's experiments make of them."""

import itertools
import pathlib

import pytest

from experiments import (
    darknet19_imagenet,
    yolo_v1_voc0712,
    yolo_v2_voc0712,
    yolo_v3_coco,
    yolo_v3_tiny_coco,
    yolo_v3_voc0712,
)
from experiments.sweeps import bag_of_freebies, path_from_yolo
from vision_jax import models
from vision_jax.config import UserError, build
from vision_jax.data import PerBatch, Until
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


def test_published_weights_fit_the_experiments():
    """As their docstrings say: the sections are those of Darknet's files."""
    cases = (
        (yolo_v1_voc0712.get_config("form=shipped"), models.YOLOv1Shipped()),
        (yolo_v2_voc0712.get_config(), models.YOLOv2(reorg="darknet")),
        (yolo_v3_coco.get_config(), models.YOLOv3()),
        (yolo_v3_tiny_coco.get_config(), models.YOLOv3Tiny()),
    )
    for config, published in cases:
        model = config.task.model
        if "reorg" in model:
            model.reorg = "darknet"
        ours = darknet_sections.sections(build(model))
        theirs = darknet_sections.sections(published)
        assert [(s.kind, s.path) for s in ours] == [(s.kind, s.path) for s in theirs]
        assert darknet_sections.shapes(build(model)) == darknet_sections.shapes(published)


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
