"""The modes that end in numbers: evaluate, summary, explain."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from vision_jax.config import UserError, build
from vision_jax.evaluation import Record, annotated
from vision_jax.evaluation.explain import explain as compare
from vision_jax.evaluation.explain_text import tables
from vision_jax.evaluation.results_file import read_results
from vision_jax.inspect.summary import summarize
from vision_jax.tasks import Detection
from vision_jax.training import Evaluator, Experiment, Parallel, folder, initial, vmapped


def evaluate(config: ConfigDict, workdir: pathlib.Path, given: str | None = None) -> dict:
    """Measures the run's best checkpoint (or `init.weights`) on the evaluation set.

    Prints the numbers and writes them to evaluation.json. Of several runs in one program each is
    measured: `top1` is their mean, `top1@k` run k's.

    Raises:
      UserError: nothing to evaluate, or no evaluation set.
    """
    experiment: Experiment = build(config)
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
    results = evaluator(parallel.put_state(variables))
    numbers = {f"eval/{k}": float(v) for k, v in results.items() if np.ndim(v) == 0}
    if jax.process_index() == 0:
        workdir.mkdir(parents=True, exist_ok=True)
        folder.write_json(workdir / "evaluation.json", {"weights": origin, "metrics": numbers})
        print(f"evaluated {origin} on {experiment.eval.num_examples} images")
        for name, value in sorted(numbers.items()):
            print(f"{name} {value:.6g}")
    return numbers


def summary(config: ConfigDict, workdir: pathlib.Path, given: str | None = None) -> None:
    """Prints the network's table: output shape, parameters, multiply-adds, activation bytes.

    The input is as the experiment feeds it; `--input 224x224x3` gives another. No data set is
    needed where a transform says the size.
    """
    shape = _input_shape(config, given)
    task = build(config.task)
    inputs = [jax.ShapeDtypeStruct((1, *shape), jnp.float32)]
    if isinstance(task, Detection):  # a detector is also told the size of the image's content
        inputs.append(jax.ShapeDtypeStruct((1, 2), jnp.float32))
    print(summarize(task.model, *inputs))


def explain(config: ConfigDict, workdir: pathlib.Path, given: str | None = None) -> str:
    """A results file scored by VOC2007's, VOC2012's and COCO's rules, and why they differ.

    `--input` is in COCO's results format; the objects are those of the evaluation set's source, in
    the same pixels. Classes have the source's category numbers, or 1, 2 ... where it has none;
    images its ids. Prints the tables and writes explain.md. Sources hold boxes in 32 bits, so
    an IoU that is a threshold but for rounding may fall otherwise than in pycocotools.

    Raises:
      UserError: no `--input`, an evaluation set without boxes, or a file that does not fit it.
    """
    if given is None:
        raise UserError("--mode explain needs --input RESULTS.json, in COCO's results format")
    if config.eval is None:
        raise UserError("this experiment has no evaluation set (its `eval` is None)")
    source = build(config.eval.source)
    numbers = range(len(source))
    ids = [source.image_id(i) if hasattr(source, "image_id") else i for i in numbers]
    classes = source.classes
    categories = getattr(source, "category_ids", ()) or range(1, len(classes) + 1)
    found = read_results(given, ids, categories)
    images = [Record(i, 0, 0, annotated(source, i), found[i]) for i in numbers]
    text = tables(compare(images, len(classes)), classes)
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "explain.md").write_text(text)
    print(f"{text}\nwritten: {workdir / 'explain.md'}")
    return text


def _input_shape(config: ConfigDict, given: str | None) -> tuple[int, int, int]:
    if given is not None:
        sides = given.split("x")
        if len(sides) != 3 or not all(side.isdigit() and int(side) for side in sides):
            raise UserError(f"--input {given!r}: write height, width and channels as 224x224x3")
        return tuple(map(int, sides))
    for transform in reversed(config.train.transforms):
        if "size" in transform:
            return (transform.size, transform.size, 3)
        if "height" in transform and "width" in transform:
            return (transform.height, transform.width, 3)
    return build(config.train).element().image.shape[-3:]
