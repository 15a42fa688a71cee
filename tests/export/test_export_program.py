"""Exported programs answer as the network does, for any number of images, without its code."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from export_worker import fresh, photo, same, told_by_the_network
from PIL import Image

from vision_jax import export
from vision_jax.config import UserError, build
from vision_jax.export.__main__ import _export_flags, _named, main
from vision_jax.export.runner import Runner
from vision_jax.weights import zoo

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("at_the_root")]
ROOT = pathlib.Path(__file__).parents[2]


def run_worker(*argv):
    """Symbolic dimensions are no whole numbers, which the tests' own checks of shapes ask for."""
    command = [sys.executable, str(ROOT / "tests" / "export" / "export_worker.py"), *argv]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_any_number_of_images_on_several_platforms():
    done = run_worker("b", "cpu,cuda,tpu", "resnet_cifar10.py")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["b", "2"])
@pytest.mark.parametrize(
    "config",
    [
        "quickstart_detection.py",
        "quickstart_detr.py",
        "quickstart_rfcn.py",
        "quickstart_ssd.py",
        "quickstart_yolo.py",
        "quickstart_segmentation.py",
        "retinanet_r50_fpn_coco.py",
        "mask_rcnn_r50_fpn_coco.py",
        "keypoint_rcnn_r50_fpn_coco.py",
        "yolo_v3_coco.py",
        "localization_shapes.py",
        "multilabel_shapes.py",
    ],
)
def test_the_whole_answer(config, batch):
    done = run_worker(batch, "cpu", config)
    assert done.returncode == 0, done.stderr


def test_the_command_line_needs_no_network(tmp_path):
    """What was exported runs in a process in which importing the networks fails."""
    run = fresh("experiments/resnet_cifar10.py:smoke")
    artifact = export.export(run, 1, platforms=("cpu",))
    artifact.save(tmp_path / "m.stablehlo")
    Image.fromarray(photo()).save(tmp_path / "a.png")
    code = (
        "import sys; sys.modules['vision_jax.models'] = sys.modules['vision_jax.training'] = None\n"
        "from vision_jax.export.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    flags = ["--output", str(tmp_path / "out"), "--time", "2"]
    command = [sys.executable, "-c", code, "run", str(tmp_path / "m.stablehlo")]
    done = subprocess.run(
        [*command, str(tmp_path / "a.png"), *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ms a call" in done.stdout
    (told,) = json.loads((tmp_path / "out" / "predictions.json").read_text())["predictions"]
    same(told["top"], told_by_the_network(run, artifact, photo())["top"])


@pytest.mark.parametrize("size", [(48, 64), (40, 40)])
def test_a_size_of_its_own(tmp_path, size):
    run = fresh("experiments/resnet_cifar10.py:smoke")
    artifact = export.export(run, 1, size=size, platforms=("cpu",))
    assert artifact.description.image == (*size, 3)
    artifact.save(tmp_path / "m.stablehlo")
    told, _ = Runner(export.load(tmp_path / "m.stablehlo")).answer(photo())
    assert told["top"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "name a run folder"),
        (["nowhere"], "does not exist"),
        (["nowhere", "--batch", "0"], "does not exist"),
        (["--config", "experiments/resnet_cifar10.py:smoke"], "train first"),
        (["run", "nowhere.stablehlo", "--time", "1"], "No such file"),
        (["run", "nowhere.stablehlo"], "name PICTURES"),
    ],
)
def test_mistakes_are_one_line(capsys, argv, message):
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "name",
    [
        "torchvision/resnext50_32x4d-7cdf4587",
        "torchvision/fasterrcnn_resnet50_fpn_v2_coco-dd69338a",
        "detectron2/retinanet_R_101_FPN_3x",
        "timm/resnetv2_50.a1h_in1k",
        "darknet/yolov3",
        "wkentaro/fcn16s",
    ],
)
def test_a_name_of_the_zoo_is_the_publishers_network(name):
    """Experiments may train another form of it, for which the same names fit."""
    config, workdir = _named(_export_flags([name]))
    assert config.init.weights == name and not workdir.exists() and not config.stages
    entry, task = zoo.find(name), build(config.task)
    assert task.model == entry.network()
    assert (task.mean, task.std) == (entry.preprocessing.mean, entry.preprocessing.std)


def test_a_name_of_the_zoo_without_an_experiment():
    bare = next(name for name, entry in zoo.entries().items() if not entry.experiment)
    with pytest.raises(UserError, match="no experiment"):
        _named(_export_flags([bare]))


def test_unknown_settings_are_refused():
    run = fresh("experiments/resnet_cifar10.py:smoke")
    with pytest.raises(UserError, match="platforms"):
        export.export(run, platforms=("gpu",))


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        ("fast_rcnn_vgg16_voc07", "proposals that were made beforehand"),
        ("lsda_shapes", "proposals that data.Propose makes on the host"),
    ],
)
def test_a_network_that_needs_proposals_has_no_program(experiment, message):
    with pytest.raises(UserError, match=message):
        export.export(fresh(f"experiments/{experiment}.py:smoke"))


@pytest.mark.parametrize("content", [b"", b"not a program" * 50])
def test_a_damaged_program_is_named(tmp_path, content):
    run = fresh("experiments/resnet_cifar10.py:smoke")
    export.export(run, 1, platforms=("cpu",)).save(tmp_path / "m.stablehlo")
    (tmp_path / "m.stablehlo").write_bytes(content)
    with pytest.raises(UserError, match=r"m\.stablehlo cannot be read"):
        export.load(tmp_path / "m.stablehlo")
    (tmp_path / "m.stablehlo.json").write_text("{")
    with pytest.raises(UserError, match=r"json is damaged"):
        export.load(tmp_path / "m.stablehlo")
