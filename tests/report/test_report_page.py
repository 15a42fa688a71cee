"""The page of a run, whole or crashed, and what it says about the paper's number."""

import html.parser
import json
import re
import subprocess

import numpy as np
import pytest

from vision_jax import report
from vision_jax.config import UserError
from vision_jax.report.summary import compare, groups, last_values, rates
from vision_jax.report.versions import _git

EXPECT = {"metric": "eval/top1", "value": 0.9, "source": "He et al. 2015, table 6"}


class Page(html.parser.HTMLParser):
    """What a browser would load or close, and the text."""

    def __init__(self, text):
        super().__init__()
        self.images, self.open, self.words, self.links = [], [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.links += [v for k, v in attrs.items() if k in ("src", "href") and "data:" not in v]
        if tag == "img":
            self.images.append(attrs["alt"])
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data + " "


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "a <b> run"
    with report.Log(folder) as log:
        for step in range(1, 6):
            log.metrics(step, {"train/loss": 2 / step, "train/lr": 0.1})
        log.metrics(5, {"eval/top1": 0.875, "eval/loss": 0.5, "baseline/linear": 0.3})
        log.timing(5, {"images_per_second": 1234.0, "compile_seconds": 9.5})
    config = {"tree": {"expect": EXPECT}, "settings": {"task.x": "<tag>"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "versions.json").write_text(json.dumps(report.versions()))
    matrix = np.array([[3, 1], [0, 4]])
    report.save_arrays(folder, "confusion", {"matrix": matrix, "classes": ["cat", "dog"]})
    report.save_arrays(folder, "per_class", {"classes": ["cat", "dog"], "top1": [1.0, 0.75]})
    gallery = report.Gallery(4, ["cat", "dog"])
    images = np.zeros((3, 8, 8, 3), np.uint8)
    logits = np.array([[2.0, 0], [0, 1], [0, 3]])
    gallery.add(images, np.array([0, 0, 1]), logits, np.ones(3, bool), np.arange(3))
    report.save_arrays(folder, "predictions", gallery.result())
    return folder


def test_the_page_holds_everything_in_itself(folder):
    path = report.write_report(folder)
    assert path == folder / "report" / "index.html"
    page = Page(path.read_text())
    assert not page.open and not page.links
    assert "<script" not in path.read_text() and "http" not in path.read_text().split("<pre>")[0]
    for words in ("a <b> run", "0.875", "trained by us", "-0.025", EXPECT["source"], "1,234"):
        assert words in page.words, words
    for words in ("9.5", "not finished", report.versions()["packages"]["jax"], '"<tag>"'):
        assert words in page.words, words
    assert len(page.images) == 4 and all(page.images)
    assert "Confusion matrix of 2 classes; 7 of 8 on the diagonal" in page.images
    assert "3 images with the network's answers, 1 of them wrong" in page.images
    pictures = {p.name for p in path.parent.glob("*.png")}
    assert pictures == {"confusion.png", "curve_loss.png", "curve_lr.png", "predictions.png"}
    assert page.words.index("dog") > 0
    classes = re.search(r"the hardest first.*?</table>", path.read_text(), re.DOTALL).group()
    assert classes.index("dog") < classes.index("cat")


def test_a_finished_run_shows_what_its_end_added(folder):
    (folder / "DONE").write_text(json.dumps({"metrics": {"baseline/chance": 0.125}}))
    page = Page(report.write_report(folder).read_text())
    assert "not finished" not in page.words
    assert "0.125 Baseline: chance baseline/chance" in page.words


@pytest.mark.parametrize("lost", ["config.json", "versions.json", "timing.jsonl", "arrays"])
def test_a_crashed_run_has_a_page_too(folder, lost):
    path = folder / lost
    for file in path.iterdir() if path.is_dir() else [path]:
        file.unlink()
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 6, "train')
    page = Page(report.write_report(folder).read_text())
    assert not page.open and "5 steps" in page.words


def test_a_run_killed_before_its_first_row_has_a_page(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"expect": EXPECT}))
    page = Page(report.write_report(tmp_path).read_text())
    assert "no steps yet" in page.words and "not measured" in page.words


def test_given_weights_that_were_only_evaluated_are_a_parity_run(tmp_path):
    tree = {"expect": EXPECT, "init": {"weights": "resnet50.npz"}}
    (tmp_path / "config.json").write_text(json.dumps({"tree": tree}))
    (tmp_path / "evaluation.json").write_text(json.dumps({"metrics": {"eval/top1": 0.9}}))
    assert "parity: " in Page(report.write_report(tmp_path).read_text()).words


def test_user_errors_are_one_line(tmp_path):
    with pytest.raises(UserError, match="no run in"):
        report.write_report(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json is damaged") as error:
        report.write_report(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("config", "command", "rows", "kind"),
    [
        ({}, "python launch.py --config e/x.py", [{"step": 1, "train/loss": 1.0}], "trained"),
        ({}, "python launch.py --config e/x.py:depth=20,smoke", [], "smoke"),
        ({}, "python launch.py --config e/smoke.py", [], "trained"),
        ({"init": {"weights": "w.npz"}}, "", [{"step": 0, "eval/top1": 0.5}], "parity"),
        ({"init": {"weights": "w.npz"}}, "", [{"step": 1, "train/loss": 0.5}], "trained"),
        ({"init": {"weights": None}}, "", [], "trained"),
    ],
)
def test_kinds_of_numbers_are_told_apart(config, command, rows, kind):
    assert compare({**config, "expect": EXPECT}, {"command": command}, rows).kind == kind


def test_a_smoke_run_has_no_difference_to_the_paper():
    rows = [{"step": 1, "eval/top1": 0.4}]
    smoke = compare({"expect": EXPECT}, {"command": "launch.py --config x.py:smoke"}, rows)
    assert smoke.difference == "–" and smoke.ours == 0.4


def test_expect_may_leave_out_the_prefix_or_be_absent():
    short = {**EXPECT, "metric": "top1"}
    found = compare({"expect": short}, {}, [{"step": 1, "eval/top1": 0.95}])
    assert (found.metric, found.ours, found.difference) == ("eval/top1", 0.95, "+0.05")
    assert compare({"expect": None}, {}, []) is None and compare({}, {}, []) is None


def test_curves_that_end_alike_share_an_axis():
    rows = [
        {"step": 1, "train/lr": 0.1, "train/loss": 3.0, "train/top1": 0.1},
        {"step": 2, "train/lr": 0.1, "train/loss": None, "train/top1": 0.2},
        {"step": 2, "eval/top1": 0.3, "baseline/linear": 0.2},
    ]
    found = groups(rows)
    assert list(found) == ["loss", "top1", "lr"]
    assert list(found["top1"]) == ["train/top1", "eval/top1"]
    steps, losses = found["loss"]["train/loss"]
    assert steps.tolist() == [1, 2] and losses[0] == 3 and np.isnan(losses[1])
    assert last_values(rows)["train/top1"] == 0.2


def test_terms_of_a_loss_stand_beside_it_unless_there_is_one():
    one = [{"step": s, "train/loss": 2.0, "train/loss/class": 2.0} for s in (1, 2)]
    assert {k: list(v) for k, v in groups(one).items()} == {"loss": ["train/loss"]}
    two = [{**row, "train/loss/box": 1.0, "eval/loss": 3.0} for row in one]
    names = ["train/loss", "train/loss/class", "train/loss/box", "eval/loss"]
    assert {k: list(v) for k, v in groups(two).items()} == {"loss": names}


def test_rates_count_every_attempt():
    timing = [
        {"step": 1, "seconds": 50.0, "images_per_second": 0.0, "host_peak_bytes": 3_000_000},
        {"step": 9, "seconds": 70.0, "images_per_second": 10.0, "compile_seconds": 4.0},
        {"step": 5, "seconds": 20.0, "images_per_second": 30.0, "host_peak_bytes": 2_000_000},
        {"step": 9, "seconds": 30.0, "images_per_second": 20.0, "compile_seconds": 1.0},
    ]
    assert rates(timing) == {
        "images_per_second_(median)": 20.0,
        "time_(preparing, compiling, training and evaluation)": "1m40s in 2 attempts",
        "host_peak_MB": 3,
        "compile_seconds": 5.0,
    }
    assert rates([]) == {}


@pytest.mark.parametrize("batch_size", [1, 7, 40])
def test_the_gallery_does_not_depend_on_the_batch_size(batch_size):
    rng = np.random.default_rng(0)
    n = 40
    labels, logits = rng.integers(0, 3, n), np.round(rng.normal(size=(n, 3)) * 2)
    images = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, 2, 2, 1))
    logits[5] = np.nan
    gallery = report.Gallery(10, "abc")
    for start in range(0, n, batch_size):
        rows = slice(start, start + batch_size)
        valid = np.arange(n)[rows] != 8
        gallery.add(images[rows], labels[rows], logits[rows], valid, np.arange(n)[rows])
    found = gallery.result()
    shown = found["image"][:, 0, 0, 0].tolist()
    odds = np.exp(np.nan_to_num(logits))
    confidence = odds.max(1) / odds.sum(1)
    confidence[5] = 0
    predicted = np.nan_to_num(logits).argmax(1)
    wrong = [i for i in range(n) if (predicted[i] != labels[i] or i == 5) and i != 8]
    assert shown[:5] == sorted(wrong, key=lambda i: (-round(confidence[i], 12), i))[:5]
    right = shown[5:]
    assert len(set(right)) == 5 and not set(right) & {*wrong, 8}
    assert max(right) - min(right) > n // 2
    np.testing.assert_array_equal(found["label"], labels[shown])
    np.testing.assert_allclose(found["confidence"], confidence[shown])


def test_the_gallery_fills_up_with_what_there_is():
    images, ids = np.zeros((6, 2, 2, 3), np.uint8), np.arange(6)
    for right, expected in ((6, (0, 4)), (1, (3, 1)), (0, (4, 0))):
        gallery = report.Gallery(4)
        labels = np.where(ids < right, 0, 1)
        gallery.add(images, labels, np.tile([1.0, 0.0], (6, 1)), ids >= 0, ids)
        found = gallery.result()
        wrong = int((found["label"] != found["predicted"]).sum())
        assert (wrong, len(found["label"]) - wrong) == expected
    assert len(report.Gallery(4).result()["image"]) == 0


def test_versions_name_packages_devices_and_commit():
    found = report.versions()
    assert found["packages"]["numpy"] == np.__version__
    assert found["devices"] == 8 and found["backend"] == "cpu"
    assert json.loads(json.dumps(found)) == found


def test_commit_is_none_outside_a_checkout_of_this_package(tmp_path):
    assert _git(tmp_path) == (None, None)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "__init__.py").write_text("")  # there, but not tracked
    assert _git(tmp_path) == (None, None)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    commit, dirty = _git(tmp_path)
    assert re.fullmatch(r"[0-9a-f]{40}", commit) and dirty is False
    (tmp_path / "__init__.py").write_text("1")
    assert _git(tmp_path) == (commit, True)
