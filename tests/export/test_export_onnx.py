"""ONNX models answer as the network does, by ONNX Runtime.

Most of it needs requirements-onnx.txt, in an environment of its own (docs/export.md).
"""

import dataclasses
import importlib.util
import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import pytest
from export_worker import fresh, photo, same
from jax.extend.core import Primitive
from PIL import Image
from test_export_program import run_worker

from vision_jax import export
from vision_jax.config import UserError
from vision_jax.export import onnx_program
from vision_jax.export.__main__ import main
from vision_jax.export.artifact import ONNX, OnnxArtifact

ROOT = pathlib.Path(__file__).parents[2]
pytestmark = [pytest.mark.core, pytest.mark.usefixtures("at_the_root")]
MISSING = [name for name in ("jax2onnx", "onnxruntime") if not importlib.util.find_spec(name)]
with_jax2onnx = pytest.mark.skipif(bool(MISSING), reason=f"without {' and '.join(MISSING)}")
SMALL = "experiments/resnet_cifar10.py:smoke"


@with_jax2onnx
@pytest.mark.parametrize("batch", ["1", "3"])
@pytest.mark.parametrize(
    "config",
    [
        "resnet_cifar10.py",
        "ssd300_vgg16_voc0712.py",
        "faster_rcnn_r50_fpn_coco.py",
        *(
            pytest.param(config, marks=pytest.mark.slow)
            for config in (
                "mobilenet_v2.py",
                "quickstart_segmentation.py",
                "fcn_resnet50_coco.py",
                "yolo_v3_coco.py",
                "mask_rcnn_r50_fpn_coco.py",
                "quickstart_ssd.py",
                "quickstart_yolo.py",
                "quickstart_detection.py",
            )
        ),
    ],
)
def test_onnx_runtime_s_answers_are_ours(config, batch):
    done = run_worker(batch, ONNX, config)
    assert done.returncode == 0, done.stderr


@with_jax2onnx
def test_it_runs_by_the_command_line(tmp_path):
    run = fresh(SMALL)
    onnx_program.export(run, 1).save(tmp_path / "m.onnx")
    export.export(run, 1, platforms=("cpu",)).save(tmp_path / "m.stablehlo")
    Image.fromarray(photo()).save(tmp_path / "a.png")
    told = []
    for name in ("m.onnx", "m.stablehlo"):
        flags = ["--output", str(tmp_path / "out"), "--time", "2"]
        assert main(["run", str(tmp_path / name), str(tmp_path / "a.png"), *flags]) == 0
        told += json.loads((tmp_path / "out" / "predictions.json").read_text())["predictions"]
    same(told[0]["top"], told[1]["top"])


@with_jax2onnx
def test_an_operation_that_cannot_go_is_named():
    impossible = Primitive("telepathy")
    impossible.def_abstract_eval(lambda x: x)
    shape = jax.ShapeDtypeStruct((2,), jnp.float32)
    looped = jax.make_jaxpr(lambda x: jax.lax.fori_loop(0, 3, lambda _, x: impossible.bind(x), x))
    with pytest.raises(UserError, match="cannot go to ONNX: jax2onnx has no telepathy"):
        onnx_program.converted(looped(shape), (shape,), ("y",))


def test_without_jax2onnx_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["nowhere", "--format", "onnx"]) == 2
    error = capsys.readouterr().err
    assert "requirements-onnx.txt" in error and error.count("\n") == 1


@pytest.mark.parametrize(("flag", "value"), [("--platforms", "cpu"), ("--batch", "b")])
def test_settings_that_are_not_for_onnx(monkeypatch, capsys, flag, value):
    monkeypatch.setattr(onnx_program, "check_installed", lambda: None)
    assert main(["nowhere", "--format", "onnx", flag, value]) == 2
    error = capsys.readouterr().err
    assert f"{flag} {value}".removesuffix(" cpu") in error and "StableHLO's" in error


def test_without_onnxruntime_a_model_is_not_run(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    artifact = export.export(fresh(SMALL), 1, platforms=("cpu",))
    OnnxArtifact(b"", _on(artifact.description)).save(tmp_path / "m.onnx")
    assert main(["run", str(tmp_path / "m.onnx"), "--time", "1"]) == 2
    error = capsys.readouterr().err
    assert "onnxruntime: pip install" in error and error.count("\n") == 1


@with_jax2onnx
@pytest.mark.parametrize("content", [b"", b"not a model" * 50])
def test_a_damaged_model_is_named(tmp_path, content, capsys):
    artifact = export.export(fresh(SMALL), 1, platforms=("cpu",))
    OnnxArtifact(content, _on(artifact.description)).save(tmp_path / "m.onnx")
    assert main(["run", str(tmp_path / "m.onnx"), "--time", "1"]) == 2
    error = capsys.readouterr().err
    assert "onnxruntime does not read this model" in error and error.count("\n") == 1


def _on(description):
    """Returns the description of an ONNX model."""
    return dataclasses.replace(description, platforms=(ONNX,))


def test_its_requirements_follow_those_of_training():
    """All but JAX, Orbax and the library of training's convolutions are the same lines."""

    def lines(name):
        text = (ROOT / name).read_text().splitlines()
        return {line.split("  #")[0] for line in text if not line.startswith("#")}

    ours = {x for x in lines("requirements.txt") if not x.startswith(("jax>", "orbax", "onednn"))}
    assert ours <= lines("requirements-onnx.txt")
