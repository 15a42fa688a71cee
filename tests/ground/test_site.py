"""The documentation is built as a site, without a warning."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def test_the_site_is_built_strictly(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", "docs", "."]
    built = subprocess.run([*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    names = (tmp_path / "docs" / "api.html").read_text()
    for name in ("ops.roi_align", "models.ResNet50", "tasks.Detection", "training.Optimizer"):
        assert f"<h3>{name}<" in names, name
    page = (tmp_path / "docs" / "lectures" / "kth.html").read_text()
    assert "vision_jax.report" in page and "Architectures" in page
    page = (tmp_path / "docs" / "papers" / "yolo_v2.html").read_text()
    assert 'class="math' in page and "boxes.py" in page
    index = (tmp_path / "docs" / "index.html").read_text()
    assert 'href="lectures/kth.html"' in index and 'href="papers/yolo_v2.html"' in index
