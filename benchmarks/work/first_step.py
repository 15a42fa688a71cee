"""From the command to its first answer: a finished training step, or a picture's prediction.

Imports, data, initialisation, compiling; the data set, and the run that predicts, are prepared
before the clock starts.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from benchmarks.work import Work

ROOT = pathlib.Path(__file__).parent.parent.parent


def warm(shared: pathlib.Path, config: str, predicts: bool = False) -> Work:
    """With a compilation cache that an earlier run has filled."""
    answer = _prepared(shared / "warm", config, predicts)
    answer()
    return Work(answer, 1)


def cold(shared: pathlib.Path, config: str, predicts: bool = False) -> Work:
    """With an empty compilation cache."""
    answer = _prepared(shared / "cold", config, predicts)

    def run() -> dict[str, float]:
        shutil.rmtree(_cache(shared / "cold"), ignore_errors=True)  # small programs are not kept
        return answer()

    return Work(run, 1)


def _prepared(folder: pathlib.Path, config: str, predicts: bool) -> Callable[[], dict[str, float]]:
    """Makes a run of one step and a picture to predict; returns what measures an answer."""
    run, pictures = folder / "run", folder / "pictures"
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(_cache(folder))}
    subprocess.run(
        _training(config, run), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True
    )
    pictures.mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(picture).save(pictures / "noise.png")
    predicting = [sys.executable, "launch.py", "--mode", "predict"]
    predicting += ["--workdir", str(run), "--input", str(pictures)]

    def first_prediction() -> dict[str, float]:
        return _seconds(predicting, environment, "noise.png: ")

    def first_step() -> dict[str, float]:
        with tempfile.TemporaryDirectory() as fresh:
            return _seconds(
                _training(config, pathlib.Path(fresh) / "run"), environment, "step 1/1 "
            )

    return first_prediction if predicts else first_step


def _cache(folder: pathlib.Path) -> pathlib.Path:
    return folder / "cache"


def _training(config: str, run: pathlib.Path) -> list[str]:
    command = [sys.executable, "launch.py", "--config", config, "--workdir", str(run)]
    return [*command, "--config.steps=1", "--config.epochs=0"]


def _seconds(command: list[str], environment: dict[str, str], awaited: str) -> dict[str, float]:
    """Seconds until a command prints a line with a text; it is then killed."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        for line in process.stdout:
            if awaited in line:
                seconds = time.perf_counter() - began
                return {"wall": seconds, "cpu": seconds}
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    raise RuntimeError(f"{' '.join(command)} ended without a line with {awaited!r}")
