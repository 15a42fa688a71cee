"""The page's parts for a newcomer: the number that decides, the data, what to do next."""

import html.parser
import json
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from vision_jax import data, report
from vision_jax.config import UserError
from vision_jax.report import next_steps
from vision_jax.report.data_section import save_data
from vision_jax.report.end_of_run import Watcher, last_lines, save_evaluation
from vision_jax.report.saved_arrays import checked_arrays
from vision_jax.report.titles import are_fractions, titled, valued
from vision_jax.structs import Batch, Detections, Targets

ROOT = pathlib.Path(__file__).parents[2]
NAMES = ("traffic\nlight", "$x$ <b>", '"&amp;"', "😀", "\x1b[31m", "שלום", "\ud83d", "", "n" * 300)


class Labelled(data.BaseSource):
    """Images of one grey each, of class i % number of classes."""

    def __init__(self, count=18, classes=NAMES):
        self.count, self.names = count, classes

    @property
    def classes(self):
        return self.names

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        if i == 3:
            raise data.RecordError("example 3 is broken")
        image = np.full((20, 30, 3), 10 * i % 250, np.uint8)
        return {"image": image, **self.truth(i)}

    def truth(self, i):
        return {"label": np.int32(i % len(self.names))}


class WithBoxes(Labelled):
    """One object in an even image, two in an odd one, all of class i % 2."""

    def truth(self, i):
        n = 1 + i % 2
        return {
            "boxes": np.tile(np.array([[5.0, 5, 25, 15]], np.float32), (n, 1)),
            "labels": np.full(n, i % 2),
        }


class WithRegions(Labelled):
    """Class 1 in all images, class 2 in even ones, and a void row."""

    def truth(self, i):
        labels = np.zeros((20, 30), np.uint8)
        labels[5:10], labels[0] = 1, 255
        labels[15:] = 2 if i % 2 == 0 else 0
        return {"segmentation": labels}


class Text(html.parser.HTMLParser):
    """A page's text, its commands and its table rows."""

    def __init__(self, page):
        super().__init__()
        self.words, self.commands, self._tag = "", [], ""
        self.feed(page.read_text())

    def handle_starttag(self, tag, attrs):
        self._tag = "command" if ("class", "command") in attrs else tag

    def handle_data(self, data):
        self.words += data + " "
        if self._tag == "command":
            self.commands.append(data)
            self._tag = ""


def config(folder, **tree):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"seed": 0, **tree}))


def test_classes_of_any_name_have_a_page(tmp_path):
    folder = tmp_path / "run"
    n = len(NAMES)
    config(folder, best="eval/ap50")
    with report.Log(folder) as log:
        log.metrics(1, {"eval/ap50": 0.25})
        log.metrics(2, {"eval/ap50": 0.5})
    valid = np.ones((n, 1), bool)
    boxes, labels = np.tile([5.0, 5, 25, 15], (n, 1, 1)), np.arange(n)[:, None]
    batch = Batch(
        image=np.zeros((n, 20, 30, 3), np.uint8),
        valid=np.ones(n, bool),
        index=np.arange(n),
        targets=Targets(
            label=np.arange(n),
            boxes=boxes,
            labels=labels,
            valid=valid,
            segmentation=np.tile(np.arange(n)[:, None, None], (1, 20, 30)),
        ),
        size=np.tile([20.0, 30], (n, 1)),
        scale=np.ones((n, 2)),
        id=np.arange(n),
    )
    watcher = report.Watcher(NAMES, {"training": Labelled(), "evaluation": WithBoxes()})
    outputs = {
        "logits": np.roll(np.eye(n), 1, 1),
        "detections": Detections(boxes, np.full((n, 1), 0.9), labels, valid),
        "segmentation": np.zeros((n, 20, 30), int),
    }
    watcher(outputs, batch)
    results = {
        "confusion": np.eye(n, dtype=int),
        "per_class_ap": np.linspace(0, 1, n),
        "precision_at_recall": np.tile(np.linspace(0, 1, n)[:, None], (1, 101)),
    }
    pictures = report.save_evaluation(folder, results, watcher)
    assert set(pictures) == {"predictions", "detections", "segmentations", "confusion"}
    assert all(picture.dtype == np.uint8 for picture in pictures.values())
    page = report.write_report(folder)
    raw, words = page.read_text(), Text(page).words
    assert "\x1b" not in raw and "<b>" not in raw.replace("<b>0.5", "")
    for name in ("traffic\nlight", "$x$ <b>", '"&amp;"', "😀", "שלום", "n" * 300):
        assert name in words, name
    assert re.search(r"\s�\[31m\s", words) and re.search(r"\s7\s+1\.000", words) is None


def test_the_number_that_decides_comes_first_with_its_title(tmp_path):
    config(tmp_path, best="eval/miou")
    with report.Log(tmp_path) as log:
        for step in (1, 2):
            values = {"eval/loss": 1.5, "eval/pixel_accuracy": 0.5, "eval/miou": 1.0}
            log.metrics(step, {**values, "train/loss": 2.0})
    page = report.write_report(tmp_path)
    cards = re.findall(r'class="(card[^"]*)"><b>([^<]*)</b><span>([^<]*)</span>', page.read_text())
    assert cards == [
        ("card first", "1.000", "Mean IoU"),
        ("card", "0.500", "Pixel accuracy"),
        ("card", "1.5", "Loss"),
    ]
    alts = re.findall(r'alt="(\w+) over steps', page.read_text())
    assert alts[0] == "miou" and set(alts) == {"miou", "loss", "pixel_accuracy"}


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("eval/top1", "Top-1 accuracy"),
        ("eval/top5@2", "Top-5 accuracy@2"),
        ("eval/ap50", "AP at IoU 0.5"),
        ("baseline/linear", "Baseline: linear"),
        ("train/loss/rpn_box", "Train/loss: rpn box"),
        ("eval/mean_class_accuracy", "Mean class accuracy"),
        ("miou", "Mean IoU"),
    ],
)
def test_metrics_have_titles(name, title):
    assert titled(name) == title


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("eval/top1", 1.0, "1.000"),
        ("eval/top1", 0.91400001, "0.914"),
        ("eval/loss", 0.29193, "0.2919"),
        ("eval/skipped", 1234.0, "1,234"),
        ("eval/psnr", 31.25, "31.25"),
        ("eval/ap", float("nan"), "–"),
    ],
)
def test_values_have_fixed_digits(name, value, text):
    assert valued(name, value) == text


def test_fractions_are_told_by_name_and_value():
    assert are_fractions("top1", [0.0, 1.0, np.nan]) and not are_fractions("top1", [0.5, 1.5])
    assert not are_fractions("loss", [0.5]) and not are_fractions("train/loss/box", [0.5])
    assert not are_fractions("lr", [0.1]) and not are_fractions("top1", [np.nan])


@pytest.mark.parametrize(
    ("source", "counts", "unit"),
    [
        # Number 3, which cannot be read, is of class 1, with two objects.
        (Labelled(18, ("a", "b")), [9, 8], "images"),
        (WithBoxes(18, ("a", "b")), [9, 16], "objects"),
        (WithRegions(18, ("a", "b", "c")), [17, 17, 9], "images with any pixel of a class"),
    ],
)
def test_the_data_are_counted_and_shown(tmp_path, source, counts, unit):
    config(tmp_path)
    save_data(tmp_path, {"training": source, "evaluation": Labelled(4, source.classes)})
    saved = report.load_arrays(tmp_path, "data")
    assert saved["counts"][0].tolist() == counts and saved["counted"].tolist() == [17, 3]
    assert saved["images"].tolist() == [18, 4]
    assert len(saved["image"]) == 8
    words = Text(report.write_report(tmp_path)).words
    for text in ("training: images", "18", "evaluation: images", "Examples of training"):
        assert text in words
    picture = np.asarray(Image.open(tmp_path / "report" / "data.png"))
    assert (picture == 10 * 9).all(-1).any()  # image 9 is among the examples


def test_many_examples_are_counted_by_an_even_choice(tmp_path):
    config(tmp_path)
    save_data(tmp_path, {"training": Labelled(100_000, ("a", "b"))})
    saved = report.load_arrays(tmp_path, "data")
    assert saved["counted"].tolist() == [200] and saved["counts"].sum() == 200
    assert "200 of 100,000 images" in Text(report.write_report(tmp_path)).words


def test_commands_to_copy_stand_on_the_page(tmp_path):
    folder = tmp_path / "my run's"
    config(folder, task={"target": "vision_jax.tasks.detection.Detection"}, best="eval/ap")
    made_with = {"command": "python launch.py --config experiments/x.py"}
    (folder / "versions.json").write_text(json.dumps(made_with))
    stopped = Text(report.write_report(folder)).commands
    assert stopped[0] == "python launch.py --config experiments/x.py"
    run = f"'{tmp_path}/my run'\"'\"'s'"
    for mode in ("predict", "evaluate", "inspect"):
        assert any(c.startswith(f"python launch.py --mode {mode} --workdir {run}") for c in stopped)
    assert any("own_detection.py" in c for c in stopped)
    assert f"python -m vision_jax.inspect {run} --input PICTURE.jpg" in stopped
    assert f"python -m vision_jax.export {run} --out model.stablehlo" in stopped
    for command in next_steps._OWN.values():
        assert (ROOT / command.partition(":")[0]).is_file()
    assert any(c.endswith(f"--config.init.weights={run}") for c in stopped)
    (folder / "DONE").write_text("{}")
    assert made_with["command"] not in Text(report.write_report(folder)).commands
    (line,) = [x for x in last_lines(folder, folder, {}).splitlines() if x.startswith("next: ")]
    assert f"--mode predict --workdir {run}" in line


def test_a_stage_without_an_evaluation_is_asked_nothing(tmp_path):
    config(tmp_path, task={"target": "vision_jax.tasks.detection.Detection"}, eval=None)
    (tmp_path / "DONE").write_text("{}")
    commands = Text(report.write_report(tmp_path)).commands
    for word in ("--mode predict", "--mode evaluate", "vision_jax.export"):
        assert not any(word in command for command in commands)
    assert last_lines(tmp_path, tmp_path, {}).splitlines()[-1] == f"report: {tmp_path}"


def test_page_and_terminal_tell_one_time(tmp_path):
    config(tmp_path)
    rows = [
        {"step": 1, "seconds": 50.0},
        {"step": 2, "seconds": 30.0},
        {"step": 3, "seconds": 47.4},
    ]
    (tmp_path / "timing.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = Text(report.write_report(tmp_path)).words
    told = "1m37s in 2 attempts"
    assert f"time (preparing, compiling, training and evaluation) {told}" in words
    assert last_lines(tmp_path, tmp_path, {}).startswith(f"done in {told} (preparing, ")


def test_a_run_that_is_stopped_has_a_page_with_its_curves(tmp_path, capsys):
    config(tmp_path, best="eval/top1")
    log = report.Log(tmp_path)
    with pytest.raises(UserError, match="stopped"), log, report.so_far(log):
        for step in (1, 2):
            log.metrics(step, {"train/loss": 1.0 / step})
        raise UserError("stopped")
    page = tmp_path / "report" / "index.html"
    assert f"report so far: {page}" in capsys.readouterr().out
    assert "not finished" in Text(page).words and (tmp_path / "report" / "curve_loss.png").exists()


def test_a_page_that_cannot_be_written_hides_no_error(tmp_path):
    log = report.Log(tmp_path)
    with pytest.raises(UserError, match="stopped"), log, report.so_far(log):
        log.metrics(1, {"train/loss": 1.0})
        (tmp_path / "report").write_text("a file where the folder should be")
        raise UserError("stopped")


def test_a_later_evaluation_replaces_the_numbers(tmp_path):
    config(tmp_path, best="eval/top1")
    with report.Log(tmp_path) as log:
        log.metrics(1, {"eval/top1": 0.25})
    (tmp_path / "DONE").write_text(json.dumps({"metrics": {"eval/top1": 0.25, "baseline/x": 0.1}}))
    record = {"weights": "checkpoint 1", "metrics": {"eval/top1": 0.5}}
    (tmp_path / "evaluation.json").write_text(json.dumps(record))
    words = Text(report.write_report(tmp_path)).words
    assert "0.500 Top-1 accuracy" in words and "evaluated: checkpoint 1" in words
    assert "0.100 Baseline: x" in words


def test_a_folder_of_nothing_but_an_evaluation_has_a_page(tmp_path):
    record = {"weights": "w.npz", "metrics": {"eval/top1": 0.5, "eval/ap": None}}
    (tmp_path / "evaluation.json").write_text(json.dumps(record))
    report.save_arrays(tmp_path, "confusion", {"matrix": np.eye(2), "classes": ["a\n", "$"]})
    found = Text(report.write_report(tmp_path))
    assert "0.500 Top-1 accuracy" in found.words and "not finished" not in found.words
    assert not found.commands


def test_pictures_of_an_evaluation_go_to_tensorboard(tmp_path):
    with report.Log(tmp_path) as log:
        log.pictures(3, {"predictions": np.full((4, 5, 3), 7, np.uint8)})
    content = b"".join(p.read_bytes() for p in (tmp_path / "events").iterdir())
    assert b"pictures/predictions" in content and b"\x89PNG" in content


def test_a_network_with_more_classes_than_the_data_has_a_whole_page(tmp_path):
    """Those beyond the data's have numbers for names."""
    results = {
        "confusion": np.eye(4, dtype=np.int64),
        "per_class_ap": np.array([0.5, 0.25, np.nan, np.nan]),
        "precision_at_recall": np.ones((4, 101)),
    }
    save_evaluation(tmp_path, results, Watcher(("cat", "dog")))
    for name in ("confusion", "per_class", "precision_recall"):
        arrays = checked_arrays(tmp_path, name)
        assert arrays["classes"].tolist() == ["cat", "dog", "2", "3"], name
