"""The pages of all sweeps are made of the committed results, and say so where there are none."""

import pathlib

import pytest

from vision_jax.config import UserError
from vision_jax.report.__main__ import main
from vision_jax.report.sweep_file import stored_sweeps
from vision_jax.report.sweep_page import claim_page, sweep_page, table_of

ROOT = pathlib.Path(__file__).parents[2]
SWEEP = '''"""Does width help,
or does it not?

lecture  the first one
paper    Somebody, "Wide", 2020
cost     full: 9 runs of 9 epochs; twin: 6 runs of 5 steps
regime   few images,
         few steps

More.
"""

from vision_jax.report import Claim


def sweep(add, argument=""):
    for width in (8, 16):
        add(f"w{width}", argument=argument, width=width)


def claims(argument=""):
    sides = {"higher": {"width": 16}, "lower": {"width": 8}}
    return (
        Claim("wide beats narrow", "eval/top1", **sides, published="91 against 90 %"),
        Claim("wide is slower", "eval/seconds", **sides, scale="ImageNet"),
    )
'''
RESULTS = """name,argument,width,seed,eval/top1,eval/seconds
w8@0,twin,8,0,0.5,2.0
w8@1,twin,8,1,0.6,1.0
w8@2,twin,8,2,0.7,3.0
w16@0,twin,16,0,0.7,2.0
w16@1,twin,16,1,0.8,2.0
w16@2,twin,16,2,0.91,2.5
"""
TABLE = """| argument | width | n | eval/top1 | eval/seconds |
| --- | --- | --- | --- | --- |
| twin | 8 | 3 | 0.6 ± 0.1 | 2 ± 1 |
| twin | 16 | 3 | 0.8033 ± 0.11 | 2.167 ± 0.29 |

- Seeds: 3 for each row.
- Budget: 6 runs of 5 steps.
- Wall time: not recorded.
- Regime: few images, few steps.

| claim | metric | difference | verdict |
| --- | --- | --- | --- |
| wide beats narrow | eval/top1 | +0.2033 ± 0.0067 | shown |
| wide is slower | eval/seconds | +0.1667 ± 0.88 | undecided: 0.88 would have been shown; \
published at ImageNet |
"""


@pytest.fixture
def sweeps(tmp_path):
    folder = tmp_path / "sweeps"
    results = folder / "results" / "my_widths-twin"
    results.mkdir(parents=True)
    (results / "results.csv").write_text(RESULTS)
    (results / "plot.png").write_bytes(b"")
    (folder / "my_widths.py").write_text(SWEEP)
    return folder


def test_a_section_holds_question_command_table_and_links(sweeps, tmp_path):
    page = tmp_path / "docs" / "sweeps.md"
    assert main(["sweeps", "--sweeps", str(sweeps), "--out", str(page)]) == 0
    text = page.read_text()
    assert "| [my_widths-twin](#my_widths-twin) | 1 | 0 | 1 |" in text
    assert "\nDoes width help, or does it not?\n" in text and "More." not in text
    assert f"`python launch.py --config {sweeps.as_posix()}/my_widths.py:twin --sweep`" in text
    assert TABLE in text
    assert (sweeps / "results" / "my_widths-twin" / "table.md").read_text() == TABLE
    for link in ("my_widths.py", "results/my_widths-twin/plot.png"):
        assert f"](../sweeps/{link})" in text
        assert (page.parent / "../sweeps" / link).exists()


def test_a_page_of_claims_has_lecture_paper_both_numbers_verdict_and_command(sweeps, tmp_path):
    page = tmp_path / "docs" / "claims.md"
    assert main(["claims", "--sweeps", str(sweeps), "--out", str(page)]) == 0
    text = page.read_text()
    assert "Of 2 claims: 1 shown, 0 opposite, 1 undecided." in text
    for line in (
        "- Lecture: the first one",
        '- Paper: Somebody, "Wide", 2020',
        "- Twin: few images, few steps",
        f"- Command: `python launch.py --config {sweeps.as_posix()}/my_widths.py:twin --sweep`",
        "| wide beats narrow | 91 against 90 % | eval/top1: 0.8033 against 0.6;"
        " +0.2033 ± 0.0067 | shown |",
        "| wide is slower | – | eval/seconds: 2.167 against 2; +0.1667 ± 0.88 |"
        " undecided: 0.88 would have been shown |",
    ):
        assert line in text.splitlines()
    assert not (sweeps / "results" / "my_widths-twin" / "table.md").exists()


def test_a_sweep_without_claims_has_none(sweeps, tmp_path):
    file = sweeps / "my_widths.py"
    file.write_text(file.read_text().partition("\n\ndef claims")[0])
    stored = stored_sweeps(sweeps)
    assert "| 0 | 0 | 0 |" in sweep_page(stored, tmp_path)
    assert "Of 0 claims" in claim_page(stored, tmp_path)


def test_what_does_not_fit_is_one_line(sweeps, tmp_path, capsys):
    page = tmp_path / "page.md"
    results = sweeps / "results" / "my_widths-twin" / "results.csv"
    results.write_text(RESULTS + "w32,twin,32,0,0.5,1.0\n")
    assert main(["sweeps", "--sweeps", str(sweeps), "--out", str(page)]) == 2
    assert "has the run 'w32', which" in capsys.readouterr().err
    results.write_text(RESULTS.replace("width", "model.width"))
    assert main(["claims", "--sweeps", str(sweeps), "--out", str(page)]) == 2
    assert "has the setting 'model.width', which" in capsys.readouterr().err
    (sweeps / "my_widths.py").unlink()
    with pytest.raises(UserError, match="there is no sweep"):
        stored_sweeps(sweeps)
    assert main(["sweeps", "--sweeps", str(tmp_path / "none"), "--out", str(page)]) == 2
    assert "no results in" in capsys.readouterr().err and not page.exists()


def test_the_committed_pages_are_of_the_committed_results(monkeypatch):
    monkeypatch.chdir(ROOT)
    stored = stored_sweeps("experiments/sweeps")
    for sweep in stored:
        file = sweep.file
        assert (sweep.folder / "table.md").read_text() == table_of(sweep), file.spec
        assert file.budget and file.regime, file.spec
    for make, page in ((sweep_page, "docs/sweeps.md"), (claim_page, "docs/claims.md")):
        committed = pathlib.Path(page)
        again = f"run python -m vision_jax.report {committed.stem}"
        assert committed.read_text() == make(stored, committed.parent), again
