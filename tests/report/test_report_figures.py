"""The lectures' figures are made by one command, and their numbers are right."""

import itertools

import numpy as np
import pytest
from PIL import Image

from vision_jax.report import (
    figures,
    figures_boxes,
    figures_detection,
    figures_networks,
    figures_training,
)
from vision_jax.report.__main__ import main
from vision_jax.report.figures_networks import Table

TABLE = Table("A table", ("thing", "count"), (("a", "1"), ("b", "2")), "A note.")
MARKDOWN = """# A table

| thing | count |
| --- | ---: |
| a | 1 |
| b | 2 |

A note.
"""


def test_one_command_writes_pictures_and_tables(tmp_path, capsys, monkeypatch):
    few = {name: figures.PICTURES[name] for name in ("iou", "roi_pooling")}
    monkeypatch.setattr(figures, "PICTURES", few)
    monkeypatch.setattr(figures, "TABLES", {"counted": lambda: TABLE})
    assert main(["figures", "--out", str(tmp_path / "made")]) == 0
    written = sorted(path.name for path in (tmp_path / "made").iterdir())
    assert written == ["counted.md", "iou.png", "roi_pooling.png"]
    assert len(capsys.readouterr().out.split()) == len(written)
    assert (tmp_path / "made" / "counted.md").read_text() == MARKDOWN


@pytest.mark.slow
def test_every_figure_is_drawn_the_same_again(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        assert main(["figures", "--out", str(folder)]) == 0
    written = sorted(path.name for path in first.iterdir())
    pictures = {f"{name}.png" for name in figures.PICTURES}
    assert set(written) == pictures | {f"{name}.md" for name in figures.TABLES}
    for name in written:
        assert (first / name).read_bytes() == (second / name).read_bytes()
        if name in pictures:
            picture = np.asarray(Image.open(first / name))
            assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def _drawn(monkeypatch, figure, *arguments, room=figures):
    """The arrays that a figure draws, by their titles; those without one by their order."""
    found = {}

    def noted(values, groups=None, title=""):
        found.setdefault(title, (np.asarray(values), groups))
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr(room, "grid", noted)
    figure(*arguments)
    return found


def test_max_unpooling_has_the_lectures_numbers(monkeypatch):
    found = _drawn(monkeypatch, figures.max_unpooling)
    np.testing.assert_array_equal(found["max pooling 2×2"][0], [[5, 6], [7, 8]])
    back, groups = found["max unpooling:\nat the positions"]
    expected = [[0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]]
    np.testing.assert_array_equal(back, expected)
    np.testing.assert_array_equal(groups, np.array(expected) - 1)


def test_the_matrix_times_the_image_is_the_convolution(monkeypatch):
    found = _drawn(monkeypatch, figures.convolution_matrix)
    assert found["M_F: a row for each response, a column for each pixel"][0].shape == (4, 16)
    np.testing.assert_array_equal(found["vec(S)"][0].ravel(), found["S"][0].ravel())


@pytest.mark.parametrize("f, s, p, side", figures.GEOMETRIES)
def test_both_ways_of_a_transposed_convolution_agree(monkeypatch, f, s, p, side):
    found = _drawn(monkeypatch, figures.transposed_convolution, f, s, p, side)
    large = (side - 1) * s + f - 2 * p
    np.testing.assert_array_equal(found["the same"][0], found[f"{large}×{large}"][0])


@pytest.mark.parametrize("stride", figures.STRIDES)
def test_a_response_is_the_sum_over_what_it_reads(monkeypatch, stride):
    found = _drawn(monkeypatch, figures.convolution, stride)
    responses, taps = found["S"][0], found["F"][0]
    assert responses.shape == (4 // stride, 4 // stride)
    for column, title in enumerate(("S₁₁ reads these", "S₁₂ reads these")):
        pixels, groups = found[title]
        read = pixels[groups == column].reshape(3, 3)
        assert (read * taps).sum() == responses[0, column]


def test_a_convolution_answers_for_each_window(monkeypatch):
    found = _drawn(monkeypatch, figures.windows_as_convolution)
    (image, inside), taps = found["a larger map"], found["weights"][0]
    every = found["an answer for each window"][0]
    slow = [[(image[y : y + 3, x : x + 3] * taps).sum() for x in range(2)] for y in range(2)]
    np.testing.assert_array_equal(every, slow)
    assert found["its answer"][0].item() == (image[inside == 0].reshape(3, 3) * taps).sum()


def test_a_transposed_line_adds_copies_of_the_filter(monkeypatch):
    found = _drawn(monkeypatch, figures.transposed_line)
    (a, b), (x, y, z) = figures.LINE[0], figures.LINE_FILTER[0]
    total = found["copies overlap, and add up"][0]
    np.testing.assert_array_equal(total[0], [a * x, a * y, a * z + b * x, b * y, b * z])


def test_iou_is_counted_in_cells(monkeypatch):
    found = _drawn(monkeypatch, figures_detection.intersection_over_union, room=figures_detection)
    assert list(found) == ["A: 16 cells", "B: 16 cells", "A and B: 6", "A or B: 26"]


def test_regions_are_pooled_as_in_the_lecture(monkeypatch):
    found = _drawn(monkeypatch, figures_detection.region_pooling, room=figures_detection)
    np.testing.assert_array_equal(found["the largest of each block"][0], [[5, 6], [9, 10]])


def test_the_greatest_overlap_that_is_left_is_assigned(monkeypatch):
    found = _drawn(monkeypatch, figures_detection.assignment, room=figures_detection)
    steps = [title for title in found if title.startswith("step")]
    overlaps, taken = zip(*(found[title] for title in steps), strict=True)
    best = [overlaps[0][taken[step] == step].item() for step in range(3)]
    assert best == sorted(best, reverse=True) and best[0] == overlaps[0].max()
    owners = found["box of each anchor,\n0: background"][0].ravel()
    for title in steps:
        _, box, anchor = [int(word) for word in title.replace(":", "").split() if word.isdigit()]
        assert owners[anchor - 1] == box


def test_suppression_keeps_what_hardly_overlaps(monkeypatch):
    captions = []
    monkeypatch.setattr(
        figures_detection, "panel", lambda images, texts, **_: captions.extend(texts)
    )
    figures_detection.suppression()
    assert captions == [
        "6 candidates",
        "keep 0.9, remove 0.8, 0.7",
        "keep 0.85, remove 0.6",
        "keep 0.4, remove none",
    ]


def _captions(monkeypatch, figure, room):
    """The captions of the panel that a figure ends with."""
    found = []
    monkeypatch.setattr(room, "panel", lambda images, texts, **_: found.extend(texts))
    figure()
    return found


def test_proposals_are_off_by_the_lectures_numbers(monkeypatch):
    captions = _captions(monkeypatch, figures_boxes.box_offsets, figures_boxes)
    numbers = [caption.rpartition("= ")[2] for caption in captions]
    assert numbers == ["(0, 0, 0, 0)", "(0.25, 0, 0, 0)", "(0, 0, -0.125, 0)"]


def test_the_cell_with_the_middle_answers(monkeypatch):
    drawn = {}

    def noted(canvas, cells, matches, truth, **_):
        drawn.update(cells=cells, matches=matches, truth=truth)
        return canvas

    monkeypatch.setattr(figures_boxes, "draw_matches", noted)
    (caption,) = _captions(monkeypatch, figures_boxes.yolo_cells, figures_boxes)
    assert caption.endswith("= 1470 numbers")  # the paper's 7 · 7 · 30
    for number, (x1, y1, x2, y2) in enumerate(drawn["truth"]):
        (own,) = np.unique(drawn["cells"][drawn["matches"] == number], axis=0)
        assert own[0] <= (x1 + x2) / 2 < own[2] and own[1] <= (y1 + y2) / 2 < own[3]


def test_the_cheapest_assignment_is_cheaper_than_any_other(monkeypatch):
    found = _drawn(monkeypatch, figures_boxes.bipartite_matching, room=figures_boxes)
    (cost, alone), (_, chosen) = found.values()
    own = [np.flatnonzero(row >= 0).item() for row in chosen]
    every = itertools.permutations(range(cost.shape[1]), len(cost))
    least = min(every, key=lambda columns: cost[range(len(cost)), columns].sum())
    assert own == list(least)
    assert len({*(np.flatnonzero(row >= 0).item() for row in alone)}) < len(cost)  # a contest


def test_objects_become_the_lectures_tokens():
    rows = {row[0]: row[1:] for row in figures_boxes.pix2seq_sequences().rows}
    objects = {"327 370 653 444 1001", "544 135 987 338 1004", "508 518 805 892 1004"}
    assert all({*row[:-1]} == objects and row[-1] == "0" for row in rows.values())
    assert len({row for name, row in rows.items() if name.startswith("random")}) > 1
    by_area = rows["by falling area of the boxes"]
    assert by_area[0] == "508 518 805 892 1004" and by_area[2] == "327 370 653 444 1001"


def test_mixed_labels_are_shares(monkeypatch):
    captions = _captions(monkeypatch, figures_training.mixup, figures_training)
    for caption in captions[2:]:
        own, other = (float(part.split()[1]) for part in caption.split(", "))
        assert own + other == pytest.approx(1) and 0.1 < own < 0.9


def test_labels_are_smoothed_in_both_forms():
    rows = {row[0]: [float(x) for x in row[1:]] for row in figures_training.label_smoothing().rows}
    assert rows["ε/n to every class"] == [0.02, 0.02, 0.92, 0.02, 0.02]
    assert rows["ε/(n - 1) to every other class"] == [0.025, 0.025, 0.9, 0.025, 0.025]


@pytest.mark.slow
def test_every_augmentation_changes_the_image(monkeypatch):
    shown = []
    monkeypatch.setattr(figures_training, "panel", lambda images, *_, **__: shown.extend(images))
    figures_training.augmentations()
    image, draws = shown[0], shown[2 * figures_training.DRAWS :]
    assert len(draws) == figures_training.DRAWS * len(figures_training.AUGMENTATIONS)
    changed = [np.abs(draw.astype(int) - image).mean() for draw in draws]
    per_kind = np.reshape(changed, (-1, figures_training.DRAWS))
    assert (per_kind.max(1) > 3).all()


def test_the_resolution_costs_more_than_the_way_up():
    rows = {row[0]: row[1:] for row in figures_networks.resolutions(64).rows}
    full, pooled, both = (float(row[-1].split()[0].replace(",", "")) for row in rows.values())
    assert full > 10 * both and 1.9 < both / pooled < 2.1


def test_stacked_filters_see_what_one_larger_filter_does(monkeypatch):
    found = _drawn(monkeypatch, figures_networks.stacked_filters, room=figures_networks)
    assert [values.shape for values, _ in found.values()] == [(3, 3), (5, 5), (7, 7)]
    assert [values.sum() for values, _ in found.values()] == [9, 81, 729]


def test_vgg_has_the_lectures_memory_and_parameters():
    table = figures_networks.vgg_memory()
    cells = {row[0]: row[1:] for row in table.rows}
    assert len(cells) == 1 + 13 + 5 + 3 + 1
    assert cells["conv1_1"] == ("224×224×64", "3,211,264", "12,845,056", f"{1728 + 64:,}")
    assert cells["pool5"] == ("7×7×512", "25,088", "100,352", "0")
    assert cells["fc6"][-1] == f"{102760448 + 4096:,}"
    assert cells["total"][-1] == "138,357,544"
    assert cells["total"][1] == f"{sum(int(row[2].replace(',', '')) for row in table.rows[:-1]):,}"


def test_small_filters_cost_what_the_lecture_says():
    table = figures_networks.small_filters(side=8, depth=4)
    cells = {row[0]: row[1:] for row in table.rows}
    assert cells["one 7×7"] == ("7×7", "784", "49 D²", f"{49 * 16 * 64:,}")
    assert cells["three 3×3"] == ("7×7", "432", "27 D²", f"{27 * 16 * 64:,}")
    assert cells["two 3×3"][0] == cells["one 5×5"][0] == "5×5"
    assert cells["1×1, 3×3, 1×1 at half the depth"][2] == "3.25 D²"


def test_inception_saves_by_one_by_one_convolutions():
    rows = {row[0]: row[1:] for row in figures_networks.inception_savings().rows}
    size = 28 * 28
    naive = size * 192 * (64 + 9 * 128 + 25 * 32)
    reduced = size * (192 * (64 + 96 + 16 + 32) + 9 * 96 * 128 + 25 * 16 * 32)
    expected = (f"{naive / 1e6:.0f} M", f"{reduced / 1e6:.0f} M", f"{1 - reduced / naive:.0%}")
    assert rows["inception3a"] == ("28×28×192", *expected, str(64 + 128 + 32 + 192), "256")
    assert rows["inception5b"][0] == "7×7×832" and rows["inception5b"][-1] == "1024"


def test_receptive_fields_and_costs_are_those_of_the_papers():
    rows = {row[0]: row[1:] for row in figures_networks.receptive_fields().rows}
    assert rows["VGG-16 pool5"] == ("212×212", "32")
    assert rows["AlexNet pool5"] == ("195×195", "32")
    few = {"VGG-11": figures_networks.CLASSIFIERS["VGG-11"]}
    assert figures_networks.costs(few).rows == (("VGG-11", "224×224", "132.9 M", "7,609 M"),)
