"""The modes that end in numbers: evaluate, summary, explain."""

import pathlib

import jax
import numpy as np
from ml_collections import ConfigDict

from vision_jax.config import UserError, build
from vision_jax.evaluation import Record, annotated
from vision_jax.evaluation.explain import explain as compare
from vision_jax.evaluation.explain_text import tables
from vision_jax.evaluation.results_file import read_results
from vision_jax.inspect import summarize
from vision_jax.structs import Batch
from vision_jax.tasks import Task
from vision_jax.training import (
    Evaluator,
    Parallel,
    agree,
    folder,
    initial,
    scalars,
    spread,
    vmapped,
)


def evaluate(config: ConfigDict, workdir: pathlib.Path, user_input: str | None = None) -> dict:
    """Measures the run's best checkpoint (or `init.weights`) on the evaluation set.

    Prints the numbers and writes them to evaluation.json. Of several runs in one program each is
    measured: `top1` is their mean, `top1@k` run k's.

    Raises:
      UserError: nothing to evaluate, or no evaluation set.
    """
    _, experiment, lines = agree(spread(config))
    if experiment.eval is None:
        raise UserError("this experiment has no evaluation set (its `eval` is None)")
    parallel = Parallel(experiment.parallel)
    evaluator = Evaluator(experiment.task, experiment.eval, experiment.metrics, parallel)
    several = vmapped.runs(experiment)
    if several is not None and (workdir / initial.CHECKPOINTS).is_dir():
        variables, origin = vmapped.stacked(several, workdir)
        evaluator = several.evaluator(evaluator)
    else:
        variables, origin = initial.trained(experiment, workdir)
    numbers = scalars(evaluator(parallel.put_state(variables)))
    if jax.process_index() == 0:
        workdir.mkdir(parents=True, exist_ok=True)
        folder.write_json(workdir / "evaluation.json", {"weights": origin, "metrics": numbers})
        print("".join(f"{line}\n" for line in lines), end="")
        print(f"evaluated {origin} on {experiment.eval.num_examples} images")
        for name, value in sorted(numbers.items()):
            print(f"{name} {value:.6g}")
    return numbers


def summary(config: ConfigDict, workdir: pathlib.Path, user_input: str | None = None) -> None:
    """Prints the network's table: output shape, parameters, multiply-adds, activation bytes.

    The input is as the experiment feeds it; `--input 224x224x3` gives another. No data set is
    needed where a transform says the size.
    """
    config = spread(config)
    shape = _input_shape(config, user_input)
    task: Task = build(config.task)
    batch = Batch(
        image=np.zeros((1, *shape), np.uint8), valid=np.ones(1, bool), index=np.zeros(1, np.int32)
    )
    print(summarize(task.model, *task.inputs(batch)))


def explain(config: ConfigDict, workdir: pathlib.Path, user_input: str | None = None) -> str:
    """Scores a results file by VOC2007's, VOC2012's and COCO's rules, and tells why they differ.

    `--input` is in COCO's results format; the objects are those of the evaluation set's source, in
    the same pixels. Classes have the source's category numbers, or 1, 2 ... where it has none;
    images its ids. Prints the tables and writes explain.md. Sources hold boxes in 32 bits, so
    an IoU that is a threshold but for rounding may fall otherwise than in pycocotools.

    Raises:
      UserError: no `--input`, an evaluation set without boxes, or a file that does not fit it.
    """
    if user_input is None:
        raise UserError("--mode explain needs --input RESULTS.json, in COCO's results format")
    if config.eval is None:
        raise UserError("this experiment has no evaluation set (its `eval` is None)")
    source = build(config.eval.source)
    numbers = range(len(source))
    ids = [source.image_id(i) for i in numbers]
    classes = source.classes
    categories = source.category_ids or range(1, len(classes) + 1)
    results = read_results(user_input, ids, categories)
    images = [Record(i, 0, 0, annotated(source, i), results[i]) for i in numbers]
    text = tables(compare(images, len(classes)), classes)
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "explain.md").write_text(text)
    print(f"{text}\nwritten: {workdir / 'explain.md'}")
    return text


def _input_shape(config: ConfigDict, user_input: str | None) -> tuple[int, int, int]:
    """Returns height, width and channels of the network's input."""
    if user_input is not None:
        sides = user_input.split("x")
        if len(sides) != 3 or not all(side.isdigit() and int(side) for side in sides):
            raise UserError(
                f"--input {user_input!r}: write height, width and channels as 224x224x3"
            )
        return tuple(map(int, sides))
    for transform in reversed(config.train.transforms):
        if "size" in transform:
            return (transform.size, transform.size, 3)
        if "height" in transform and "width" in transform:
            return (transform.height, transform.width, 3)
    return build(config.train).element().image.shape[-3:]
