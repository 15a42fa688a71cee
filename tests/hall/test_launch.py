"""`launch.py` as a user runs it: mistakes are one line, and every experiment's smoke runs."""

import json
import os
import pathlib
import runpy

import jax
import numpy as np
import pytest
from PIL import Image

import launch
from tests.data import no_tensorflow
from vision_jax.config import build, leaves, load, override
from vision_jax.models.layers import layers_of
from vision_jax.training import spread, stages

ROOT = pathlib.Path(__file__).parents[2]
EXPERIMENTS = sorted(
    str(path.relative_to(ROOT))
    for folder in ("experiments", "experiments/sweeps")
    for path in (ROOT / folder).glob("*.py")
    if "def get_config" in path.read_text()
)
QUICK = "experiments/quickstart.py"
CORE = (QUICK, "experiments/quickstart_detection.py")  # these run on the newest JAX, too
pytestmark = pytest.mark.usefixtures("at_the_root")


def fails(capsys, *argv: str) -> str:
    """Runs a command that must be refused; returns the one line that it prints."""
    assert launch.main(list(argv)) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--config", "experiments/resnet5.py"],
            "not found - did you mean experiments/resnet50.py?",
        ),
        (["--config", QUICK, "--config.sed=3"], "unknown config key 'sed' - did you mean seed?"),
        (["--config", QUICK, "seed=3"], "did you mean --config.seed=3 ?"),
        (["--config", QUICK, "--config.seed"], "has no value - write --config.seed=VALUE"),
        (["--config", QUICK, "--config.seed=None"], "None is not allowed"),
        (["--config", QUICK, "--config.seed=x"], "'seed' takes an int, not 'x'"),
        (["--config", QUICK, "--config.init.weights=no.safetensors"], "no such file"),
        (["--config", QUICK, "--config.steps=5", "--config.epochs=1"], "set exactly one of them"),
        (["--config", QUICK, "--config.epochs=-1"], "epochs=-1.0 must be at least 0"),
        (["--config", QUICK, "--config.ema=0.99"], "config key 'ema' takes a part (Ema)"),
        (["--config", QUICK, "--config.best=eval/top3"], "did you mean eval/top1?"),
        (["--config", QUICK, "--lr=1"], "did you mean --config.optimizer.schedule.then.value=1 ?"),
        (["--config", QUICK, "--config.train.batch_size=10"], "not divisible by 8 devices"),
        (["--config", QUICK, "--config.parallel=smap"], "did you mean"),
        (["--config", QUICK, "--config.dtype=float31"], "unknown dtype 'float31' - did you mean"),
        (["--config", f"{QUICK}:smok"], "unknown config argument 'smok' - did you mean smoke?"),
        (["--config", QUICK, "--mode", "trian"], "did you mean train?"),
        (["--config", QUICK, "--workdr", "x"], "unexpected argument '--workdr'"),
        (["--workdir", "x"], "--config"),
        (["--config", QUICK, "--mode", "predict"], "needs --input"),
        (["--config", QUICK, "--mode", "predict", "--input", "no.png"], "no such image or folder"),
        (["--config", QUICK, "--sweep"], "has no sweep(add) function"),
        (["--config", "experiments/resnet50.py"], "python -m vision_jax.data.prepare imagenet2012"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line(capsys, tmp_path, argv, message):
    if "--workdir" not in argv:
        argv = [*argv, "--workdir", str(tmp_path / "run")]
    assert message in fails(capsys, *argv)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.fixture
def made_quickly(monkeypatch):
    """Programs are optimised little, since compiling is most of a smoke and its steps are few.

    They run on two of the eight devices, where each holds a copy of the state and two cores pay for
    all; eight devices are other tests' subject.
    """
    two = jax.devices()[:2]
    monkeypatch.setattr(jax, "devices", lambda: two)
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def evaluations(folder: pathlib.Path) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "eval/loss" in row]


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, marks=[pytest.mark.core] if file in CORE else [], id=file)
        for file in EXPERIMENTS
    ],
)
@pytest.mark.usefixtures("made_quickly")
def test_smoke(file, tmp_path, capsys):
    assert launch.main(["--config", f"{file}:smoke", "--workdir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert str(tmp_path / "report" / "index.html") in out
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows if "train/loss" in row]
    trained = load(f"{file}:smoke").solver is None
    assert steps == ([1, 2, 3, 4] if trained else [])
    assert all(np.isfinite(row["train/loss"]) for row in rows if "train/loss" in row)
    assert any(name.startswith("eval/") for name in rows[-1])
    assert (tmp_path / "DONE").exists()


def test_experiments_are_listed_with_what_they_are(capsys):
    assert launch.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[0] for line in lines) == EXPERIMENTS
    quick = next(line for line in lines if line.startswith(f"{QUICK} "))
    assert quick.partition("  ")[2].strip() == runpy.run_path(QUICK)["__doc__"].splitlines()[0]
    assert all(line.partition("  ")[2].strip() for line in lines)


def test_settings_are_listed_as_the_flags_that_set_them(capsys):
    spec = f"{QUICK}:smoke"
    assert launch.main(["--config", spec, "--keys", "--config.seed=3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "--config.seed=3" in lines and "--config.steps=4" in lines
    flags, overrides = launch.parse(["--config", spec, *lines])
    assert len(overrides) == len(lines) and flags.config == spec


def test_a_lab_record_names_its_own_command():
    for file in EXPERIMENTS:
        text = runpy.run_path(file)["__doc__"]
        assert f"--config {file}" in text, f"{file}: no command in its docstring"


@pytest.mark.parametrize("file", EXPERIMENTS)
def test_one_flag_sets_the_dtype_of_all_layers(file, tmp_path):
    config = load(f"{file}:smoke")
    override(config, "dtype", "bfloat16")
    for path, value in leaves(config):  # None until the data are looked at
        if path.endswith("num_classes") and value is None:
            override(config, path, 2)
    runs = stages.resolve(config, tmp_path) if config.stages else [(config, tmp_path)]
    for stage, _ in runs:
        model = build(spread(stage).task).model
        known = {"bfloat16"} if model is not None else set()  # given proposals have no network
        assert {layers.dtype for layers in layers_of(model)} == known


def test_determinism_reaches_every_part(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr("vision_jax.run.train", lambda config, workdir: given.append(config))
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))
    argv = ["--config", "experiments/quickstart_detection.py:smoke", "--workdir", str(tmp_path)]
    for more in ([], ["--config.deterministic=True"]):
        launch.main([*argv, *more])
    plain, repeatable = (spread(config).task.model.head.pool.deterministic for config in given)
    assert (plain, repeatable) == (False, True)
    assert "--xla_gpu_deterministic_ops=true" in os.environ["XLA_FLAGS"]


def test_look_modes_after_a_run(tmp_path, capsys):
    run = ["--config", f"{QUICK}:smoke", "--workdir", str(tmp_path / "run")]
    assert launch.main(run) == 0
    assert launch.main(run) == 0
    assert "finished already; report:" in capsys.readouterr().out

    assert launch.main([*run, "--mode", "evaluate"]) == 0
    measured = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    # Of equals the newest is the best one.
    best = max(evaluations(tmp_path / "run"), key=lambda row: (row["eval/top1"], row["step"]))
    assert measured["weights"].endswith(f"step {best.pop('step')}")
    assert measured["metrics"] == best

    images = tmp_path / "images"
    images.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    for name in ("a.png", "b.jpg"):
        Image.fromarray(pixels).save(images / name)
    (images / "notes.txt").write_text("not an image")
    assert launch.main([*run, "--mode", "predict", "--input", str(images)]) == 0
    answers = json.loads((tmp_path / "run" / "predictions" / "predictions.json").read_text())
    assert [pathlib.Path(a["file"]).name for a in answers["predictions"]] == ["a.png", "b.jpg"]
    for answer in answers["predictions"]:
        assert abs(sum(c["probability"] for c in answer["top"]) - 1) < 0.9
        with Image.open(answer["picture"]) as picture:
            assert picture.size[0] >= 32

    assert launch.main([*run, "--mode", "inspect"]) == 0
    for name in ("train", "eval"):
        with Image.open(tmp_path / "run" / "inspect" / f"{name}.png") as picture:
            assert np.asarray(picture).std() > 5

    other = [*run, "--config.seed=7"]
    assert "holds a run with another config: seed 0 -> 7" in fails(capsys, *other)


def test_summary_needs_no_data(capsys):
    assert launch.main(["--config", "experiments/resnet50.py", "--mode", "summary"]) == 0
    out = capsys.readouterr().out
    assert "25,557,032" in out
    assert launch.main(["--config", "experiments/resnet_cifar10.py", "--mode", "summary"]) == 0
    assert "32x32x16" in capsys.readouterr().out
    detector = "experiments/faster_rcnn_r50_fpn_coco.py"
    assert launch.main(["--config", detector, "--mode", "summary"]) == 0
    assert "rpn" in capsys.readouterr().out


def test_training_and_evaluation_without_tensorflow(tmp_path):
    """Both modes in a process in which importing TensorFlow fails."""
    code, out, err = no_tensorflow.run(
        "import importlib.util, sys, launch\n"
        "run = ['--config', 'experiments/quickstart.py:smoke', '--workdir', sys.argv[1]]\n"
        "assert launch.main(run) == 0\n"
        "assert launch.main([*run, '--mode', 'evaluate']) == 0\n"
        "assert importlib.util.find_spec('tensorflow') is None\n",
        tmp_path,
    )
    assert code == 0, out + err
    assert "TensorFlow" not in err
