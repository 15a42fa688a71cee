"""The documentation is built as a site, without a warning."""

import pathlib
import re
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
    assert 'class="math' in page and "<msub>" in page  # drawn by the browser itself
    (line,) = set(re.findall(r'href="[./]*/code/vision_jax/ops/boxes.html#L-(\d+)"', page))
    source = (tmp_path / "code" / "vision_jax" / "ops" / "boxes.html").read_text()
    assert re.search(rf'id="L-{line}".*def</span>.*decode_yolo', source)
    foreign = re.compile(r'<(?:script|link|img)\b[^>]*?(?:src|href)="(?:\w+:)?//')
    assert not any(foreign.search(file.read_text()) for file in tmp_path.rglob("*.html"))
    index = (tmp_path / "docs" / "index.html").read_text()
    assert 'href="lectures/kth.html"' in index and 'href="papers/yolo_v2.html"' in index
