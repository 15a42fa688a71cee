"""The modes that end in numbers: evaluate, summary, explain."""

import json
import pathlib

import jax
import numpy as np
from ml_collections import ConfigDict

from vision_jax import report
from vision_jax.config import UserError, build
from vision_jax.data import ByName, Source
from vision_jax.data.by_name import missing_names
from vision_jax.evaluation import Record, annotated
from vision_jax.evaluation.explain import explain as compare
from vision_jax.evaluation.explain_text import tables
from vision_jax.evaluation.results_file import Row, ToResults, category_ids, read_results
from vision_jax.inspect import summarize
from vision_jax.show.asked import NOTHING, Asked
from vision_jax.show.trained import last_stage, run_of, tell
from vision_jax.structs import Batch
from vision_jax.system import disk
from vision_jax.training import (
    Evaluator,
    Experiment,
    Parallel,
    folder,
    initial,
    scalars,
    signature,
    vmapped,
)
from vision_jax.training.evaluate import Evaluate

RESULTS = "results.json"


def evaluate(config: ConfigDict, workdir: pathlib.Path, asked: Asked = NOTHING) -> dict:
    """Measures the run's best checkpoint (or `init.weights`) on the evaluation set.

    Prints the numbers, and writes evaluation.json, the report, and a detector's results.json in
    COCO's format: into the run folder, or, where the evaluation is not the one of the training,
    into its folder `evaluation`. Of several runs in one program each is measured: `top1` is their
    mean, `top1@k` run k's, and results.json is run 0's.

    Raises:
      UserError: nothing to evaluate, or no evaluation set.
    """
    run = run_of(config, workdir, {"baselines": {}})
    experiment = run.experiment
    if experiment.eval is None:
        raise UserError("this experiment has no evaluation set (its `eval` is None)")
    target = asked.output or (run.workdir if run.as_trained else run.workdir / "evaluation")
    metrics, several = dict(experiment.metrics), run.several
    if several is None:
        metrics |= _results_metric(experiment, target)
    parallel = Parallel(experiment.parallel)
    evaluator: Evaluate = Evaluator(experiment.task, experiment.eval, metrics, parallel)
    if several is None:
        variables, origin = initial.trained(experiment, run.workdir)
    else:
        variables, origin = vmapped.stacked(several, run.workdir)
        evaluator = several.evaluator(evaluator)
    tell([*run.lines, f"evaluating {origin} on {experiment.eval.num_examples} images …"])
    watcher = report.Watcher.of(experiment.eval)
    results = evaluator(parallel.put_state(variables), watch=watcher) or {}
    numbers = scalars(results)
    if jax.process_index() == 0:
        disk.make_folder(target)
        report.save_evaluation(target, results, watcher)
        record = {"weights": origin, "metrics": numbers, "images": experiment.eval.num_examples}
        folder.write_json(target / "evaluation.json", {**record, "told": run.lines})
        for name, value in sorted(numbers.items()):
            print(f"{name} {value:.6g}")
        print(f"report: {report.write_report(target)}")
    return numbers


def _results_metric(experiment: Experiment, target: pathlib.Path) -> dict[str, ToResults]:
    """Returns what writes results.json, for a task that finds objects."""
    if "detections" not in experiment.task.shown:
        return {}

    def write(rows: list[Row]) -> None:
        if jax.process_index() == 0:
            report.write_atomically(target / RESULTS, json.dumps(rows).encode())

    return {RESULTS: ToResults(experiment.eval.source, write)}


def summary(config: ConfigDict, workdir: pathlib.Path, asked: Asked = NOTHING) -> None:
    """Prints the network's table: output shape, parameters, multiply-adds, activation bytes.

    The input is as the experiment feeds it; `--input 224x224x3` gives another. No data set is
    needed where the run folder or a transform says the size.
    """
    run = run_of(config, workdir)
    shape = run.signature.image if asked.input is None else _sides(asked.input)
    batch = Batch(
        image=np.zeros((1, *shape[-3:]), np.uint8),
        valid=np.ones(1, bool),
        index=np.zeros(1, np.int32),
    )
    task = run.experiment.task
    tell(run.lines)
    print(summarize(task.model, *task.inputs(batch)))


def explain(config: ConfigDict, workdir: pathlib.Path, asked: Asked = NOTHING) -> str:
    """Scores a results file by VOC2007's, VOC2012's and COCO's rules, and tells why they differ.

    `--input` is in COCO's results format; without it it is the results.json of `evaluate`. The
    objects are those of the evaluation set's source, in the same pixels. Classes have the source's
    category ids, or 1, 2 ... where it has none; images its ids. Prints the tables and writes
    explain.md. Sources hold boxes in 32 bits, so an IoU that is a threshold but for rounding may
    fall otherwise than in pycocotools.

    Raises:
      UserError: no results, an evaluation set without boxes, or a file that does not fit it.
    """
    config, workdir = last_stage(config, workdir)
    if config.eval is None:
        raise UserError("this experiment has no evaluation set (its `eval` is None)")
    target = asked.output or workdir
    if asked.input is None and not (target / RESULTS).is_file():
        raise UserError(
            f"--mode explain: {target / RESULTS} is not there; --mode evaluate writes it, or name "
            "another file in COCO's results format by --input"
        )
    source = _as_trained(build(config.eval.source), workdir)
    numbers = range(len(source))
    ids = [source.image_id(i) for i in numbers]
    results = read_results(asked.input or str(target / RESULTS), ids, category_ids(source))
    images = [Record(i, 0, 0, annotated(source, i), results[i]) for i in numbers]
    text = tables(compare(images, len(source.classes)), source.classes)
    disk.make_folder(target)
    (target / "explain.md").write_text(text)
    print(f"{text}\nwritten: {target / 'explain.md'}")
    return text


def _as_trained(source: Source, workdir: pathlib.Path) -> Source:
    """Returns a source with the classes of the run in the folder, which `evaluate` numbers by."""
    run = signature.read(workdir)
    names = run.classes if run is not None else ()
    if not names or source.classes == names or missing_names(source.classes, names):
        return source
    return ByName(source, names=names)


def _sides(text: str) -> tuple[int, ...]:
    """Reads height, width and channels of the network's input."""
    sides = text.split("x")
    if len(sides) != 3 or not all(side.isdigit() and int(side) for side in sides):
        raise UserError(f"--input {text!r}: write height, width and channels as 224x224x3")
    return tuple(map(int, sides))
