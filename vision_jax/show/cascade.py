"""What a cascade saves: windows and faces left after each network, and the time beside the last.

    python -m vision_jax.show.cascade runs/cnn_cascade

Runs a trained `models.CNNCascade` on its evaluation images, and its last network alone on all
windows of the same images, in turns; prints what each network leaves, and the median times. The
numbers go to cascade.json in the run folder.
"""

import argparse
import contextlib
import dataclasses
import itertools
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from vision_jax import models
from vision_jax.config import CommandLine, UserError, whole
from vision_jax.evaluation import VOC, CascadeStages
from vision_jax.show.trained import Run, run_of
from vision_jax.structs import Batch
from vision_jax.system import output
from vision_jax.training import folder, signature

FILE = "cascade.json"
_BUILT = {"metrics": {}, "baselines": {}}  # the evaluation set is


def measure(workdir: pathlib.Path, images: int = 32, rounds: int = 5) -> dict[str, Any]:
    """Measures a run's cascade beside its last network alone.

    Args:
      workdir: of a run, or of a staged one.
      images: of the evaluation set that are looked at, about.
      rounds: turns that are timed.

    Returns:
      `cascade` and `alone`, each with `stages` (the results of `CascadeStages`), `ap50`, and
      `ms_per_image`, and `ratio`, how many times the cascade is faster.

    Raises:
      UserError: the run has no such network, no checkpoint, or no evaluation set.
    """
    run = run_of(signature.read_config(workdir), workdir, _BUILT)
    task, variables, _ = run.predictor()
    if not isinstance(task.model, models.CNNCascade):
        raise UserError(f"{str(workdir)!r} is no run of a models.CNNCascade")
    batches = _batches(run, images)
    alone = dataclasses.replace(task, model=task.model.clone(alone=True))
    answers = {"cascade": _compiled(task, variables), "alone": _compiled(alone, variables)}
    found: dict[str, Any] = {name: _measured(answer, batches) for name, answer in answers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in answers}
    for _, (name, answer) in itertools.product(range(rounds), answers.items()):
        began = time.perf_counter()
        for batch in batches:
            jax.block_until_ready(answer(batch)["detections"])
        seconds[name].append(time.perf_counter() - began)
    count = sum(int(np.sum(batch.valid)) for batch in batches)
    for name, values in seconds.items():
        found[name]["ms_per_image"] = 1000 * statistics.median(values) / count
    found["images"] = count
    found["ratio"] = found["alone"]["ms_per_image"] / found["cascade"]["ms_per_image"]
    folder.write_json(run.workdir / FILE, found)
    return found


def told(found: dict[str, Any]) -> str:
    """Writes the numbers of `measure` as a table."""
    stages = found["cascade"]["stages"]
    lines = ["             windows per image   faces covered"]
    titles = {"12": "all windows", "24": "after 12", "48": "after 24", "_left": "after 48"}
    for place, title in titles.items():
        windows, recall = stages[f"windows{place}"], stages.get(f"recall{place}", float("nan"))
        lines.append(f"{title:12} {windows:17.2f} {recall:15.3f}")
    for name, title in (("cascade", "the cascade"), ("alone", "the last network alone")):
        ms, ap50 = found[name]["ms_per_image"], found[name]["ap50"]
        lines.append(f"{title}: {ms:.2f} ms per image, AP50 {ap50:.3f}")
    lines.append(f"{found['ratio']:.1f} times as fast on {found['images']} images")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; see the module."""
    raw = argparse.RawDescriptionHelpFormatter
    name = "python -m vision_jax.show.cascade"
    parser = CommandLine(prog=name, description=__doc__, formatter_class=raw)
    parser.add_argument("run", type=pathlib.Path, help="run folder")
    parser.add_argument("--images", type=whole(1), default=32)
    parser.add_argument("--rounds", type=whole(1), default=5)
    try:
        given = parser.parse_args(arguments)
        print(told(measure(given.run, given.images, given.rounds)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    return 0


def _batches(run: Run, images: int) -> list[Batch]:
    pipeline = run.experiment.eval
    if pipeline is None:
        raise UserError("this experiment has no evaluation set (its `eval` is None)")
    count = min(-(-images // pipeline.batch_size), pipeline.steps)
    with contextlib.closing(pipeline.batches()) as batches:
        return list(itertools.islice(batches, count))


def _compiled(task: Any, variables: Any) -> Callable[[Batch], dict[str, Any]]:
    predict = jax.jit(task.predict)
    return lambda batch: predict(variables, batch)


def _measured(answer: Callable, batches: list[Batch]) -> dict[str, Any]:
    """Returns the results of `CascadeStages` as `stages`, and `ap50`."""
    stages, voc = CascadeStages(), VOC(1, inclusive=False)
    sums, rows = stages.empty(), voc.empty()
    for batch in batches:
        outputs = answer(batch)
        new = stages.update(outputs, batch)
        sums = {
            k: (total + np.float64(new[k][0]), count + np.int64(new[k][1]))
            for k, (total, count) in sums.items()
        }
        found = jax.tree.map(np.asarray, outputs["detections"])
        rows = voc.collect(rows, {"detections": found}, batch)
    results = {k: v for k, v in stages.result(sums).items() if isinstance(v, float)}
    return {"stages": results, "ap50": float(voc.result(rows)["ap50"])}


if __name__ == "__main__":
    output.outlive_reader()
    sys.exit(main())
