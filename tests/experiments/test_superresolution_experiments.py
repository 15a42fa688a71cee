"""The configs of super-resolution: what their arguments make, and runs that are stopped."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import launch
from experiments import quickstart_superresolution, superresolution_x4_coco
from tests.hall.test_resume import ROOT, wait_for_step
from vision_jax.config import UserError, build
from vision_jax.training import stages

pytestmark = pytest.mark.usefixtures("at_the_root")
SMOKE = "experiments/superresolution_x4_coco.py:smoke"


@pytest.mark.parametrize(("factor", "parameters"), [(4, 401_859), (8, 438_915)])
def test_the_papers_networks(factor, parameters):
    config = superresolution_x4_coco.get_config(f"factor={factor},loss=feature")
    model = build(config.task.model)
    side = 288 // factor
    images = jnp.zeros((1, side, side, 3))
    outputs, variables = jax.eval_shape(
        lambda key: model.init_with_output(key, images), jax.random.key(0)
    )
    assert outputs["image"].shape == (1, 288, 288, 3)
    network = jax.tree.leaves(variables["params"]["network"])
    assert sum(leaf.size for leaf in network) == parameters
    assert config.task.pixel_weight == 0 and config.task.feature_weight == 1
    assert config.init.weights == "torchvision/vgg16-397923af"
    assert config.task.loss_in.content == (("conv2_2", 1.0),)


def test_a_pixel_loss_needs_no_weights():
    config = superresolution_x4_coco.get_config()
    assert config.init.weights is None and config.task.model.backbone is None
    assert "feature_distance" not in config.metrics.quality.of


@pytest.mark.parametrize(
    ("arg", "message"),
    [
        ("loss=pixels", "loss='pixels' - did you mean pixel"),
        ("factor=7", "size=288 must be a multiple of factor=7"),
        ("loss=feature,network=vgg17", "did you mean vgg1"),
        ("factr=8", "did you mean factor"),
    ],
)
def test_mistakes(arg, message):
    with pytest.raises(UserError, match=message):
        superresolution_x4_coco.get_config(arg)


def test_the_second_stage_begins_with_the_first(tmp_path):
    runs = stages.resolve(quickstart_superresolution.get_config(), tmp_path)
    assert [folder.name for _, folder in runs] == ["pixel", "feature"]
    (pixel, _), (feature, _) = runs
    assert (pixel.task.pixel_weight, pixel.task.feature_weight) == (1, 0)
    assert (feature.task.pixel_weight, feature.task.feature_weight) == (0, 1)
    assert feature.init.weights == str(tmp_path / "pixel")
    assert pixel.optimizer.trainable == feature.optimizer.trainable == ("network/.*",)


@pytest.mark.slow
@pytest.mark.parametrize("factor", [4, 8])
def test_a_trained_network_enlarges_pictures_of_any_size(tmp_path, factor):
    run = ["--config", f"{SMOKE},factor={factor}", "--workdir", str(tmp_path / "run")]
    assert launch.main(run) == 0
    draw = np.random.default_rng(0)
    (tmp_path / "small").mkdir()
    pictures = (("a.png", (20, 31, 3)), ("b.jpg", (17, 9)), ("c.png", (5, 7, 4)))
    for name, shape in pictures:  # one is gray, one has transparency
        pixels = draw.integers(0, 256, shape).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "small" / name)
    argv = ["--mode", "predict", "--workdir", str(tmp_path / "run"), "--input"]
    assert launch.main([*argv, str(tmp_path / "small")]) == 0
    folder = tmp_path / "run" / "predictions"
    told = json.loads((folder / "predictions.json").read_text())["predictions"]
    sizes = [(factor * width, factor * height) for width, height in ((31, 20), (9, 17), (7, 5))]
    assert [one["text"] for one in told] == [f"{w}×{h} pixels" for w, h in sizes]
    for one, size in zip(told, sizes, strict=True):
        with Image.open(one["picture"]) as picture:
            assert picture.size == size and picture.mode == "RGB"
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"eval/psnr", "eval/ssim", "eval/bicubic_psnr", "eval/bicubic_ssim"} <= row.keys()


@pytest.mark.slow
def test_stages_stand_side_by_side_in_the_report(tmp_path):
    spec = "experiments/quickstart_superresolution.py:smoke,stages"
    assert launch.main(["--config", spec, "--workdir", str(tmp_path)]) == 0
    assert (tmp_path / "feature" / "report" / "stages.png").exists()
    page = (tmp_path / "feature" / "report" / "index.html").read_text()
    assert "Stages side by side" in page and "Stages in numbers" in page
    assert "Stages side by side" not in (tmp_path / "pixel/report/index.html").read_text()


def start(folder):
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    command = [sys.executable, "launch.py", "--config", SMOKE, "--workdir", str(folder)]
    command += ["--config.steps=12", "--config.eval_every=5", "--config.checkpoint_every=3"]
    out = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **out)


@pytest.mark.slow
def test_a_run_that_is_killed_ends_with_the_same_bits(tmp_path):
    straight = start(tmp_path / "straight")
    out = straight.communicate(timeout=300)[0]
    assert straight.returncode == 0, out
    process = start(tmp_path / "killed")
    wait_for_step(tmp_path / "killed", 7, process)
    process.kill()
    process.communicate()
    again = start(tmp_path / "killed")
    out = again.communicate(timeout=300)[0]
    assert again.returncode == 0 and "resumed from step" in out, out
    one, other = (tmp_path / name / "metrics.jsonl" for name in ("straight", "killed"))
    assert one.read_bytes() == other.read_bytes()
