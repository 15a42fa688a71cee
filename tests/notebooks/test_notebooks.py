"""Notebooks run from a fresh kernel, are short, and are stored without outputs."""

import pathlib
import re

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
QUICK = "detection_by_hand"  # needs no training
MOST_LINES = 60
FEW = "2"  # steps


def cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_notebooks_are_short_and_without_outputs():
    assert any(path.stem == QUICK for path in NOTEBOOKS)
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        lines = [line for cell in cells(notebook) for line in cell.source.splitlines()]
        assert sum(bool(line.strip()) for line in lines) <= MOST_LINES, path.name
        assert max(map(len, lines)) <= 100, path.name
        assert not any(cell.outputs or cell.execution_count for cell in cells(notebook)), path.name
        assert notebook.cells[0].cell_type == "markdown", path.name


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[] if path.stem == QUICK else [pytest.mark.slow], id=path.stem)
        for path in NOTEBOOKS
    ],
)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XLA_FLAGS", "")  # one device, as on a laptop
    notebook = nbformat.read(path, as_version=4)
    for cell in cells(notebook):
        cell.source = re.sub(
            r"^((?:\w+, )?STEPS = (?:\d+, )?)\d+$", rf"\g<1>{FEW}", cell.source, flags=re.M
        )
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert any(cell.outputs for cell in cells(notebook))
