"""From the command to the first finished training step: imports, data, initialisation, compiling.

The data set is prepared before the clock starts.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from benchmarks.work import Work

ROOT = pathlib.Path(__file__).parent.parent.parent


def warm(shared: pathlib.Path, config: str) -> Work:
    """With a compilation cache that an earlier run has filled."""
    cache = shared / "warm"
    _first_step(config, cache)
    return Work(lambda: _first_step(config, cache), 1)


def cold(shared: pathlib.Path, config: str) -> Work:
    """With an empty compilation cache."""
    _first_step(config, shared / "cold")  # prepares the data set

    def run() -> dict[str, float]:
        shutil.rmtree(shared / "cold", ignore_errors=True)
        return _first_step(config, shared / "cold")

    return Work(run, 1)


def _first_step(config: str, cache: pathlib.Path) -> dict[str, float]:
    """Seconds until the run of one step says that it is done."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "launch.py", "--config", config, "--workdir", f"{folder}/run"]
        command += ["--config.steps=1", "--config.epochs=0"]
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )
        try:
            for line in process.stdout:
                if line.startswith("step 1/1 "):
                    seconds = time.perf_counter() - began
                    return {"wall": seconds, "cpu": seconds}
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
    raise RuntimeError(f"{' '.join(command)} ended without a step")
