"""Runs an entry: a process per variant, strictly in turn, several rounds."""

import contextlib
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks import peaks
from benchmarks.entries import Entry, Variant
from vision_jax.system import large_pages as memory

ROOT = pathlib.Path(__file__).parent.parent
# A GPU is shared with the peer's process; TensorFlow is kept from chatting.
_ENVIRONMENT = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "3"}
# JAX's CPU counts operations for the GPU. On the CPU no side may take a GPU that there is.
_ON_GPU = {"JAX_PLATFORMS": "cuda,cpu"}
_ON_CPU = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
_SETTLE_SECONDS = 0.3  # thread pools keep spinning for a moment after their work


class WorkerFailed(Exception):
    """A variant's process ended; the message is the end of what it printed."""


def measure(
    entry: Entry,
    rounds: int,
    quick: bool,
    say: Callable[[str], None],
    gpus: Sequence[str] = (),
) -> dict[str, Any]:
    """An entry's record: seconds of each round by variant, rates, ratios, facts.

    Where ours says how many operations and bytes a unit takes, each variant's facts have the shares
    of what the GPU could do, counted alike, since all do the same work.

    Args:
      entry: what to run. Variants whose packages are missing are left out and named.
      rounds: 0 takes the entry's own number.
      quick: the entry's quick settings and one round.
      say: told what happens.
      gpus: names of the machine's.

    Raises:
      WorkerFailed: ours failed, or its outputs differ from the peer's.
      ValueError: the entry needs more GPUs, and `quick` is False.
    """
    settings = {**entry.settings, **(entry.quick if quick else {})}
    on_gpu = 0 < entry.gpus <= len(gpus)
    if entry.gpus > len(gpus) and not quick:
        raise ValueError(missing(entry, gpus))
    rounds = 1 if quick else rounds or entry.rounds
    record: dict[str, Any] = {
        "unit": entry.unit,
        "clock": entry.clock,
        "bar": entry.bar,
        "settings": settings,
        "rounds": rounds,
        "left_out": {},
        "load_before": round(os.getloadavg()[0], 2),
    }
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        shared = pathlib.Path(folder)
        workers = _start(entry, settings, on_gpu, shared, record["left_out"], say)
        try:
            record["output_difference"] = _compare(entry, workers, shared)
            for number in range(rounds):
                for worker in workers.values():
                    time.sleep(_SETTLE_SECONDS)
                    worker.round()
                say(f"  round {number + 1}/{rounds}")
            record["variants"] = {name: w.finish(entry.clock) for name, w in workers.items()}
        finally:
            for worker in workers.values():
                worker.kill()
    record["ratios"] = ratios(record["variants"])
    if on_gpu:
        _add_shares(record["variants"], gpus[0])
    return record


def missing(entry: Entry, gpus: Sequence[str]) -> str | None:
    """Why the machine cannot run an entry, in one line; None if it can."""
    if entry.gpus <= len(gpus):
        return None
    wanted = "a GPU" if entry.gpus == 1 else f"{entry.gpus} GPUs"
    return f"{entry.name} is left out: it needs {wanted}, and there is {len(gpus) or 'none'}"


def ratios(variants: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Our speed over each peer's: of median rounds and of best ones. Above 1 is faster."""
    ours = variants["ours"]
    return {
        name: {
            "median": ours["median_rate"] / peer["median_rate"],
            "best": ours["best_rate"] / peer["best_rate"],
        }
        for name, peer in variants.items()
        if name != "ours"
    }


def rates(seconds: Sequence[float], units: int) -> dict[str, Any]:
    """Units per second of the median and of the fastest round, with all rounds' seconds."""
    return {
        "seconds": [round(s, 6) for s in seconds],
        "units": units,
        "median_rate": units / statistics.median(seconds),
        "best_rate": units / min(seconds),
    }


def _add_shares(variants: dict[str, dict[str, Any]], gpu: str) -> None:
    ours = variants["ours"]
    if "flops" in ours and "bytes" in ours:
        for variant in variants.values():
            rate = variant["median_rate"]
            variant.update(peaks.shares(rate, ours["flops"], ours["bytes"], gpu))


class _Worker:
    def __init__(self, name: str, variant: Variant, task: dict[str, Any], on_gpu: bool):
        self.name, self.times = name, []
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
        environment = {**_ENVIRONMENT, **os.environ, **(_ON_GPU if on_gpu else _ON_CPU)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", json.dumps({"name": name, **task})],
            cwd=ROOT,
            env=memory.with_large_pages(environment) if variant.large_pages else environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def ready(self) -> None:
        self.work = self._answer()

    def round(self) -> None:
        self.times.append(self._ask("round"))

    def finish(self, clock: str) -> dict[str, Any]:
        found = rates([times[clock] for times in self.times], self.work["units"])
        return {**found, **self.work["facts"], **self._ask("end")}

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        self._errors.close()

    def _ask(self, question: str) -> dict[str, Any]:
        # If it is gone, the missing answer says so, with its last words.
        with contextlib.suppress(BrokenPipeError):
            print(question, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        self._process.wait()
        self._errors.seek(0)
        words = [line for line in self._errors.read().splitlines() if line.strip()]
        last = words[-1] if words else f"exit code {self._process.returncode}"
        raise WorkerFailed(f"{self.name}: {last}")


def _start(
    entry: Entry,
    settings: dict[str, Any],
    on_gpu: bool,
    shared: pathlib.Path,
    left_out: dict[str, str],
    say: Callable[[str], None],
) -> dict[str, _Worker]:
    """Workers that are ready, ours last: peers leave their weights in the shared folder."""
    workers = {}
    for name in sorted(entry.variants, key=lambda name: name == "ours"):
        variant = entry.variants[name]
        missing = [need for need in variant.needs if importlib.util.find_spec(need) is None]
        if missing:
            left_out[name] = f"{missing[0]} is not installed"
            say(f"  {name} is left out: {left_out[name]}")
            continue
        own = {**settings, **variant.settings}
        if entry.gpus:
            own["device"] = "cuda" if on_gpu else "cpu"
        task = {"target": variant.target, "settings": own, "cores": entry.cores}
        say(f"  preparing {name}")
        worker = _Worker(name, variant, {**task, "shared": str(shared)}, on_gpu)
        try:
            worker.ready()
        except WorkerFailed as error:
            worker.kill()
            if name == "ours":
                for other in workers.values():
                    other.kill()
                raise
            left_out[name] = str(error)
            say(f"  {name} is left out: {error}")
            continue
        workers[name] = worker
    return workers


def _compare(entry: Entry, workers: dict[str, _Worker], shared: pathlib.Path) -> float | None:
    """The largest difference of our outputs from the first peer's, relative to their largest."""
    peer = next((name for name in entry.variants if name in workers and name != "ours"), None)
    if entry.tolerance is None or peer is None:
        return None
    with np.load(shared / "ours.npz") as ours, np.load(shared / f"{peer}.npz") as theirs:
        differences = [
            np.abs(ours[name] - theirs[name]).max() / (np.abs(theirs[name]).max() or 1)
            for name in theirs.files
        ]
    difference = float(np.max(differences))  # not a number if any is none
    if not difference <= entry.tolerance:
        raise WorkerFailed(f"outputs differ from {peer}'s by {difference:.2g} of their largest")
    return difference
