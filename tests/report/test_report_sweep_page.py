"""The page of all sweeps is made of the committed results, and says so where there are none."""

import pathlib

import pytest

from vision_jax.config import UserError
from vision_jax.report.__main__ import main
from vision_jax.report.sweep_page import sweep_page

ROOT = pathlib.Path(__file__).parents[2]
TABLE = """| width | n | eval/top1 |
| --- | --- | --- |
| 8 | 3 | 0.5 ± 0.1 |

| claim | metric | difference | verdict |
| --- | --- | --- | --- |
| wide beats narrow | eval/top1 | +0.2 ± 0.1 | shown |
| deep beats wide | eval/top1 | +0.1 ± 0.2 | not shown; would show at ImageNet |
"""


@pytest.fixture
def sweeps(tmp_path):
    folder = tmp_path / "sweeps"
    results = folder / "results" / "my_widths-twin"
    results.mkdir(parents=True)
    (results / "table.md").write_text(TABLE)
    (results / "plot.png").write_bytes(b"")
    (folder / "my_widths.py").write_text('"""Does width help,\nor does it not?\n\nMore."""')
    return folder


def test_a_section_holds_question_command_table_and_links(sweeps, tmp_path):
    page = tmp_path / "docs" / "sweeps.md"
    assert main(["sweeps", "--sweeps", str(sweeps), "--out", str(page)]) == 0
    text = page.read_text()
    assert "| [my_widths-twin](#my_widths-twin) | 1 of 2 |" in text
    assert "\nDoes width help, or does it not?\n" in text and "More." not in text
    assert f"`python launch.py --config {sweeps.as_posix()}/my_widths.py:twin --sweep`" in text
    assert TABLE in text
    for link in ("my_widths.py", "results/my_widths-twin/plot.png"):
        assert f"](../sweeps/{link})" in text
        assert (page.parent / "../sweeps" / link).exists()


def test_a_sweep_without_claims_has_none(sweeps, tmp_path):
    table = sweeps / "results" / "my_widths-twin" / "table.md"
    table.write_text(TABLE.partition("\n\n")[0])
    assert "| 0 of 0 |" in sweep_page(sweeps, tmp_path)


def test_missing_files_are_one_line(sweeps, tmp_path, capsys):
    (sweeps / "my_widths.py").unlink()
    with pytest.raises(UserError, match="there is no sweep"):
        sweep_page(sweeps, tmp_path)
    page = tmp_path / "page.md"
    assert main(["sweeps", "--sweeps", str(tmp_path / "none"), "--out", str(page)]) == 2
    assert "no results in" in capsys.readouterr().err and not page.exists()


def test_the_committed_page_is_of_the_committed_results(monkeypatch):
    monkeypatch.chdir(ROOT)
    committed = pathlib.Path("docs/sweeps.md")
    expected = sweep_page("experiments/sweeps", committed.parent)
    assert committed.read_text() == expected, "run python -m vision_jax.report sweeps"
