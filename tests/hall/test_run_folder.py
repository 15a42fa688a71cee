"""The run folder is the model: what looks at a run needs neither its data nor its experiment."""

import json
import pathlib
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

import launch
from vision_jax.training import signature

pytestmark = pytest.mark.usefixtures("at_the_root")

EXPERIMENT = '''
import dataclasses
from vision_jax import data, models, tasks
from vision_jax.config import node
from vision_jax.evaluation import TopK
from vision_jax.training import Experiment, optimizer, schedule

@dataclasses.dataclass(frozen=True)
class Inverted(data.Transform):
    """Turns black into white."""
    by: int = 255

    def __call__(self, example, rng):
        return {**example, "image": self.by - example["image"]}

class Photos(data.ImageFolder):
    """A source of the experiment's own."""

def get_config(arg=""):
    backbone = node(models.ResNetCifar, blocks=1)
    head = node(models.PoolHead, num_classes=None)
    model = node(models.Classifier, backbone=backbone, head=head)
    transforms = (node(Inverted), node(data.StretchTo, size=16))
    source = node(Photos, folder="FOLDER/photos")
    return node(
        Experiment,
        task=node(tasks.Classification, model=model),
        train=node(data.Train, source=source, transforms=transforms, batch_size=8),
        eval=node(data.Eval, source=source, transforms=transforms, batch_size=8),
        metrics={"top": node(TopK, ks=(1,))},
        optimizer=node(
            optimizer.Optimizer,
            rule=node(optimizer.Sgd),
            schedule=node(schedule.Constant, value=0.05),
        ),
        steps=2,
        eval_every=2,
    )
'''


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A run by an experiment with classes of its own, on photos; both are gone afterwards."""
    folder = tmp_path_factory.mktemp("own")
    draw = np.random.default_rng(0)
    for name in ("cat", "dog", "owl"):
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(4):
            pixels = draw.integers(0, 255, (20, 24, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{i}.png")
    (folder / "own_photos.py").write_text(EXPERIMENT.replace("FOLDER", str(folder)))
    run = ["--config", str(folder / "own_photos.py"), "--workdir", str(folder / "run")]
    assert launch.main(run) == 0
    shutil.copytree(folder / "photos" / "owl", folder / "input")
    shutil.rmtree(folder / "photos")
    (folder / "own_photos.py").unlink()
    for module in [name for name in sys.modules if name.endswith("own_photos")]:
        del sys.modules[module]
    return folder


def told(folder: pathlib.Path) -> list[dict]:
    return json.loads((folder / "predictions.json").read_text())["predictions"]


def test_predict_and_summary(own, capsys):
    alone = ["--workdir", str(own / "run"), "--mode"]
    assert launch.main([*alone, "predict", "--input", str(own / "input")]) == 0
    answers = told(own / "run" / "predictions")
    assert [pathlib.Path(answer["file"]).name for answer in answers] == [
        f"{i}.png" for i in range(4)
    ]
    assert all({one["class"] for one in a["top"]} == {"cat", "dog", "owl"} for a in answers)
    capsys.readouterr()
    assert launch.main([*alone, "summary"]) == 0
    assert "1x16x16" in capsys.readouterr().out.replace(" ", "")
    sure = ["--threshold", "1", "--output", str(own / "sure")]
    assert launch.main([*alone, "predict", "--input", str(own / "input"), *sure]) == 0
    assert {(answer["text"], len(answer["top"])) for answer in told(own / "sure")} == {
        ("nothing sure", 0)
    }


def test_the_experiments_own_transform_is_applied(own):
    alone = ["--workdir", str(own / "run"), "--mode", "predict", "--input", str(own / "input")]
    assert launch.main([*alone, "--output", str(own / "plain")]) == 0
    changed = ["--output", str(own / "changed"), "--config.eval.transforms[0].by=200"]
    assert launch.main([*alone, *changed]) == 0
    plain, other = (told(own / name) for name in ("plain", "changed"))
    assert [a["top"] for a in plain] != [a["top"] for a in other]


def test_missing_data_are_named_where_they_are_needed(own, capsys):
    assert launch.main(["--workdir", str(own / "run"), "--mode", "evaluate"]) == 2
    assert str(own / "photos") in capsys.readouterr().err


def test_one_bad_file_does_not_stop_the_others(own, tmp_path, capsys):
    shutil.copytree(own / "input", tmp_path / "in")
    (tmp_path / "in" / "1a.png").write_bytes(b"")
    alone = ["--workdir", str(own / "run"), "--mode", "predict", "--input", str(tmp_path / "in")]
    assert launch.main([*alone, "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "1a.png: cannot be read" in error and "1 of 5 files could not be read" in error
    assert len(told(tmp_path / "out")) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no config.json"),
        ("{", "config.json is damaged"),
        ("[]", "config.json is damaged"),
    ],
)
def test_a_folder_without_a_run_is_one_line(tmp_path, capsys, content, message):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    assert launch.main(["--workdir", str(tmp_path), "--mode", "summary"]) == 2
    assert message in capsys.readouterr().err


def test_a_config_or_a_run_folder_is_needed(capsys):
    for argv in (
        ["--mode", "predict", "--input", "a.jpg"],
        ["--workdir", "runs/none"],
        ["--sweep"],
    ):
        assert launch.main(argv) == 2
        assert "--config EXPERIMENT.py is missing" in capsys.readouterr().err


def test_a_damaged_signature_is_named(own, tmp_path, capsys):
    shutil.copytree(own / "run", tmp_path / "run")
    (tmp_path / "run" / signature.FILE).write_text('{"classes": 3}')
    assert launch.main(["--workdir", str(tmp_path / "run"), "--mode", "summary"]) == 2
    assert "signature.json is damaged" in capsys.readouterr().err


def test_a_network_that_needs_proposals_is_told_at_once(own, capsys):
    config = "experiments/fast_rcnn_vgg16_voc07.py:smoke"
    flags = ["--config", config, "--workdir", str(own / "none"), "--input", str(own / "input")]
    assert launch.main([*flags, "--mode", "predict"]) == 2
    assert "proposals that were made beforehand" in capsys.readouterr().err


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector") / "run"
    config = "experiments/quickstart_detection.py:smoke"
    assert launch.main(["--config", config, "--workdir", str(folder)]) == 0
    return folder


def test_evaluate_writes_what_explain_reads(detector, capsys):
    alone = ["--workdir", str(detector), "--mode"]
    assert launch.main([*alone, "evaluate"]) == 0
    measured = json.loads((detector / "evaluation.json").read_text())["metrics"]
    assert (detector / "report" / "index.html").is_file()
    rows = json.loads((detector / "results.json").read_text())
    assert {row["category_id"] for row in rows} <= set(range(1, 9))
    assert {row["image_id"] for row in rows} <= set(range(16))
    capsys.readouterr()
    assert launch.main([*alone, "explain"]) == 0
    assert "COCO" in capsys.readouterr().out
    assert (detector / "explain.md").is_file()
    assert np.isfinite(measured["eval/ap50"])


def test_another_evaluation_leaves_the_runs_own_alone(detector, capsys):
    changed = ["--config.eval.source.split=validation[:4]"]
    assert launch.main(["--workdir", str(detector), "--mode", "evaluate", *changed]) == 0
    out = capsys.readouterr().out
    assert "not as trained: eval.source.split 'validation[:16]' -> 'validation[:4]'" in out
    assert json.loads((detector / "evaluation" / "evaluation.json").read_text())["images"] == 4
