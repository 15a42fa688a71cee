"""Tables over seeds, and when a claim is shown."""

import csv
import math

import pytest

from vision_jax.report import WALL, Claim, SweepRow, write_sweep
from vision_jax.report.claims import compare, decide


def verdict(*arguments, **more):
    return compare(*arguments, **more).verdict


def test_a_claim_needs_twice_the_standard_error():
    # Both have variance 1; the error of the difference is sqrt(2 / 3) = 0.816.
    low, high = [0.0, 1.0, 2.0], [1.7, 2.7, 3.7]
    assert verdict(high, low) == "shown"
    assert verdict(low, high) == "opposite"
    decision = compare([1.6, 2.6, 3.6], low)
    assert decision.verdict == "undecided" == verdict(low, [1.6, 2.6, 3.6])
    # The smallest effect that these seeds could have shown is 2 · 0.816.
    assert decision.margin == pytest.approx(2 * math.sqrt(2 / 3))
    assert decision.reason == "1.6 would have been shown"
    assert decision.means == pytest.approx((2.6, 1.0))


def test_a_claim_needs_three_finite_seeds():
    low = [0.0, 0.1, 0.2]
    assert compare([9.0, 9.1], low).reason == "2 and 3 runs, 3 needed"
    assert compare([9.0, 9.1, 9.2], low[:2]).reason == "3 and 2 runs, 3 needed"
    assert compare([9.0, 9.1, math.nan], low).reason == "a run diverged"
    assert verdict([9.0, 9.1, 9.2], low) == "shown"


def test_equal_values_show_nothing():
    assert compare([1.0] * 3, [1.0] * 3).reason == "all runs are equal"


def rows():
    found = []
    for depth, tops in ((20, (0.90, 0.91, 0.92)), (56, (0.80, 0.81, 0.82))):
        for seed, top in enumerate(tops):
            overrides = {"task.model.depth": depth, "seed": seed}
            found.append(SweepRow(f"d{depth}s{seed}", overrides, {"eval/top1": top}))
    found.append(SweepRow("d110", {"task.model.depth": 110, "seed": 0}, None))
    return found


def test_seeds_are_taken_together(tmp_path):
    table = write_sweep(tmp_path, rows())
    lines = table.read_text().splitlines()
    assert lines[:5] == [
        "| depth | n | eval/top1 |",
        "| --- | --- | --- |",
        "| 20 | 3 | 0.91 ± 0.01 |",
        "| 56 | 3 | 0.81 ± 0.01 |",
        "| 110 | 0 | – |",
    ]
    assert lines[-1] == "Not finished: d110."
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_weights_of_a_runs_own_seed_are_no_other_setting(tmp_path):
    found = []
    for seed in (1, 10):
        for beams in (1, 3):
            changes = {"task.beams": beams, "init.weights": f"runs/a-seed{seed}", "seed": seed}
            found.append(SweepRow(f"{beams}-{seed}", changes, {"eval/cider_d": beams + seed}))
    write_sweep(tmp_path, found, [])
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[2:4] == [
        "| 1 | runs/a-seed* | 2 | 6.5 ± 6.4 |",
        "| 3 | runs/a-seed* | 2 | 8.5 ± 6.4 |",
    ]


def test_csv_holds_every_run_exactly(tmp_path):
    write_sweep(tmp_path, rows())
    with open(tmp_path / "results.csv", newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 7
    assert [float(row["eval/top1"]) for row in found[:3]] == [0.90, 0.91, 0.92]
    assert found[6] == {"name": "d110", "task.model.depth": "110", "seed": "0", "eval/top1": ""}


def test_verdicts_are_in_the_table(tmp_path):
    deep, shallow = {"task.model.depth": 56}, {"task.model.depth": 20}
    claims = [
        Claim("deeper is worse", "eval/top1", higher=shallow, lower=deep),
        Claim("deeper is better", "eval/top1", higher=deep, lower=shallow, scale="1,000 layers"),
        Claim("deepest is best", "eval/top1", higher={"task.model.depth": 110}, lower=deep),
    ]
    lines = write_sweep(tmp_path, rows(), claims).read_text().splitlines()[-3:]
    # Seed by seed the difference is the same, so that its error is rounding alone.
    assert lines[0].startswith("| deeper is worse | eval/top1 | +0.1 ± ")
    assert lines[0].endswith(" | shown |")
    assert lines[1].startswith("| deeper is better | eval/top1 | -0.1 ± ")
    assert lines[1].endswith(" | opposite; published at 1,000 layers |")
    assert lines[2] == "| deepest is best | eval/top1 | – | undecided: 0 and 3 runs, 3 needed |"


def test_keys_that_end_alike_are_written_out(tmp_path):
    found = [SweepRow("x", {"a.rate": 1, "b.rate": 2}, {"eval/top1": 0.5})]
    text = write_sweep(tmp_path, found).read_text()
    assert text.startswith("| a.rate | b.rate | n | eval/top1 |")
    assert text.splitlines()[2] == "| 1 | 2 | 1 | 0.5 |"


@pytest.mark.parametrize("value", [math.nan, None])
def test_a_diverged_run_is_not_left_out(tmp_path, value):
    values = [0.9, 0.91, value]
    found = [SweepRow(str(i), {"seed": i}, {"eval/top1": v}) for i, v in enumerate(values)]
    assert "| 3 | nan ± nan |" in write_sweep(tmp_path, found).read_text()


def test_a_sweep_without_a_finished_run_has_a_table(tmp_path):
    table = write_sweep(tmp_path, [SweepRow("x", {"lr": 0.1, "seed": 0}, None)])
    assert "| 0.1 | 0 |" in table.read_text() and not (tmp_path / "plot.png").exists()


def test_pairs_are_compared_seed_by_seed():
    first, second = [0.1, 0.5, 0.9], [0.2, 0.6, 1.01]
    assert verdict(second, first, paired=True) == "shown"
    assert verdict(second, first) == "undecided"
    assert verdict(first, second, paired=True) == "opposite"
    assert verdict([0.2, 0.6, 0.5], first, paired=True) == "undecided"
    assert verdict([*second, 1.0], first, paired=True) == "undecided"


def test_rows_are_paired_by_their_seeds_in_any_order():
    values = {"a": {0: 0.1, 1: 0.5, 2: 0.9}, "b": {2: 1.01, 0: 0.2, 1: 0.6}}
    found = [
        SweepRow(f"{kind}{seed}", {"kind": kind, "seed": seed}, {"eval/top1": value})
        for kind, of_seed in values.items()
        for seed, value in of_seed.items()
    ]
    claim = Claim("b beats a", "eval/top1", higher={"kind": "b"}, lower={"kind": "a"})
    decision = decide(claim, found)
    assert decision.verdict == "shown" and decision.difference == pytest.approx(0.31 / 3)
    # Without one of the seeds the sides are no pairs, and their spread decides nothing.
    more = SweepRow("a3", {"kind": "a", "seed": 3}, {"eval/top1": 0.5})
    assert decide(claim, [*found, more]).verdict == "undecided"
    twice = SweepRow("a2", {"kind": "a", "seed": 2}, {"eval/top1": 0.9})
    assert decide(claim, [*found, twice]).verdict == "undecided"


def test_a_claim_of_equality_compares_seed_by_seed(tmp_path):
    found = [
        SweepRow(f"{kind}{seed}", {"kind": kind, "seed": seed}, {"eval/loss": loss + seed})
        for kind, loss in (("a", 1.0), ("b", 1.0001), ("c", 1.5))
        for seed in range(3)
    ]
    same, other = [
        Claim("no change", "eval/loss", {"kind": "a"}, {"kind": kind}, within=1e-3)
        for kind in ("b", "c")
    ]
    lines = write_sweep(tmp_path, found, [same, other]).read_text().splitlines()[-2:]
    assert [line.split(" | ")[-1] for line in lines] == ["shown |", "opposite |"]
    close = compare([1.0, 2.0, 3.0], [1.0, 2.0, 3.1], within=0.01)
    assert close.reason == "a seed's runs differ by 0.1, 0.01 is allowed"
    assert verdict([1.0, 2.0], [1.0, 2.0], within=1.0) == "undecided"
    assert verdict([1.0, 2.0, math.nan], [1.0, 2.0, math.nan], within=1.0) == "undecided"
    assert verdict([1.0] * 4, [1.0] * 3, within=1.0) == "undecided"


def test_a_table_says_seeds_budget_wall_time_and_regime(tmp_path):
    found = [
        SweepRow(f"{k}", {"kind": "a", "seed": k}, {"eval/top1": 0.5, WALL: 90.0}) for k in range(2)
    ]
    table = write_sweep(tmp_path, found, budget="2 runs of 5 steps", regime="tiny images.")
    lines = table.read_text().splitlines()
    assert lines[0] == "| kind | n | eval/top1 |"  # the time is not a metric
    assert lines[4:] == [
        "- Seeds: 2 for each row.",
        "- Budget: 2 runs of 5 steps.",
        "- Wall time: 3.0 minutes for 2 runs.",
        "- Regime: tiny images.",
    ]
    assert f",{WALL}" in (tmp_path / "results.csv").read_text().splitlines()[0]
    found.append(SweepRow("2", {"kind": "b", "seed": 0}, {"eval/top1": 0.5}))
    text = write_sweep(tmp_path, found).read_text()
    assert "- Seeds: 2 to 1 for each row." not in text and "- Seeds: 1 to 2 for each row." in text
    assert "- Wall time: not recorded." in text and "Budget" not in text


def test_bubbles_are_drawn_where_their_columns_are(tmp_path):
    metrics = {"eval/top1": 0.5, "parameters": 100.0, "multiply_adds": 1000.0}
    found = [SweepRow(f"net-seed{i}", {"seed": i}, metrics) for i in range(2)]
    columns = ("multiply_adds", "eval/top1", "parameters")
    write_sweep(tmp_path, found, bubbles=columns)
    assert (tmp_path / "bubbles.png").read_bytes().startswith(b"\x89PNG")
    write_sweep(tmp_path / "none", found, bubbles=("missing", *columns[1:]))
    assert not (tmp_path / "none" / "bubbles.png").exists()
