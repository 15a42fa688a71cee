"""The modes that only look: evaluate, predict, inspect, summary, explain.

Each is `mode(config, workdir, given)`, where `given` is the flag `--input`.
"""

import contextlib
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from vision_jax import visualize
from vision_jax.config import UserError, build
from vision_jax.data.decode import decode_image
from vision_jax.data.loading import unannotated
from vision_jax.evaluation import Objects, Record
from vision_jax.evaluation.explain import explain as compare
from vision_jax.evaluation.explain_text import tables
from vision_jax.evaluation.results_file import read_results
from vision_jax.models.summary import summarize
from vision_jax.structs import Batch
from vision_jax.training import Evaluator, Experiment, Parallel, folder, initial

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
PICTURED = 32  # images on an inspection's panel
SIDE = 256  # pixels of one with boxes


def evaluate(config: ConfigDict, workdir: pathlib.Path, given: str | None = None) -> dict:
    """Measures the run's best checkpoint (or `init.weights`) on the evaluation set.

    Prints the numbers and writes them to evaluation.json.

    Raises:
      UserError: nothing to evaluate, or no evaluation set.
    """
    experiment: Experiment = build(config)
    if experiment.eval is None:
        raise UserError("this experiment has no evaluation set (its `eval` is None)")
    parallel = Parallel(experiment.parallel)
    evaluator = Evaluator(experiment.task, experiment.eval, experiment.metrics, parallel)
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


def predict(config: ConfigDict, workdir: pathlib.Path, given: str | None = None) -> list[dict]:
    """Answers for an image or a folder of images: predictions.json and annotated PNGs.

    Raises:
      UserError: no `--input`, one that does not exist, holds no image, or cannot be decoded.
    """
    files = _image_files(given)
    experiment: Experiment = build(config)
    variables, origin = initial.trained(experiment, workdir)
    task = experiment.task
    forward = jax.jit(lambda v, batch: {k: task.predict(v, batch)[k] for k in task.shown})
    target = workdir / "predictions"
    target.mkdir(parents=True, exist_ok=True)
    answers = []
    for file in files:
        image = _read(file, experiment.train.element().image.shape[-1])
        example = unannotated(image)
        for transform in experiment.eval.transforms if experiment.eval else ():
            example = transform(example, np.random.default_rng(0))
        fed = np.asarray(example["image"])[None]
        batch = Batch(image=fed, valid=np.ones(1, bool), index=np.zeros(1, np.int32))
        (answer,) = task.describe(forward(variables, batch), experiment.train.classes)
        picture = target / f"{file.name.replace('.', '_')}.png"  # a.png and a.jpg may both be there
        drawn = visualize.panel([image], [answer["text"]], side=max(224, min(image.shape[:2])))
        Image.fromarray(drawn).save(picture)
        answers.append({"file": str(file), "picture": str(picture), **answer})
        print(f"{file}: {answer['text']}")
    folder.write_json(target / "predictions.json", {"weights": origin, "predictions": answers})
    print(f"written: {target / 'predictions.json'} and {len(answers)} pictures beside it")
    return answers


def inspect(config: ConfigDict, workdir: pathlib.Path, given: str | None = None) -> None:
    """Pictures of what the network is fed, augmentation and all, in training and evaluation."""
    experiment: Experiment = build(config)
    target = workdir / "inspect"
    target.mkdir(parents=True, exist_ok=True)
    key = jax.random.fold_in(jax.random.key(experiment.seed), 0)
    with contextlib.closing(experiment.train.batches(0, experiment.data_seed)) as batches:
        batch = next(batches)
    image, lam = jax.jit(experiment.task.prepare)(batch, key)
    _picture(target / "train.png", experiment, np.asarray(image), batch, lam)
    if experiment.eval is not None:
        with contextlib.closing(experiment.eval.batches()) as batches:
            batch = next(iter(batches))
        image = np.asarray(jax.jit(experiment.task.normalize)(batch.image))
        image = image if image.ndim == 4 else image[:, 0]
        _picture(target / "eval.png", experiment, image, batch, None)


def summary(config: ConfigDict, workdir: pathlib.Path, given: str | None = None) -> None:
    """Prints the network's table: output shape, parameters, multiply-adds, activation bytes.

    The input is as the experiment feeds it; `--input 224x224x3` gives another. No data set is
    needed where a transform says the size.
    """
    shape = _input_shape(config, given)
    model = build(config.task).model
    print(summarize(model, jax.ShapeDtypeStruct((1, *shape), jnp.float32)))


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
    images = [Record(i, 0, 0, _annotated(source, i), found[i]) for i in numbers]
    text = tables(compare(images, len(classes)), classes)
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "explain.md").write_text(text)
    print(f"{text}\nwritten: {workdir / 'explain.md'}")
    return text


MODES: dict[str, Callable] = {
    "evaluate": evaluate,
    "predict": predict,
    "inspect": inspect,
    "summary": summary,
    "explain": explain,
}


def _annotated(source, i: int) -> Objects:
    """The objects of example i; its image is not decoded."""
    example = source[i]
    if "boxes" not in example:
        raise UserError("the evaluation set has no boxes; does its source ask for 'objects'?")
    flags = {key: example.get(key) for key in ("difficult", "crowd")}
    return Objects(
        boxes=np.asarray(example["boxes"], np.float64),
        labels=np.asarray(example["labels"], np.int64),
        **{k: None if v is None else np.asarray(v, bool) for k, v in flags.items()},
    )


def _picture(file: pathlib.Path, experiment: Experiment, image, batch: Batch, lam) -> None:
    """A panel of normalised images in colours again: boxes, labels and mixing weights."""
    task, classes = experiment.task, experiment.train.classes
    shown = (image * np.asarray(task.std) + np.asarray(task.mean)).clip(0, 1)[:PICTURED]
    targets, pictures, captions = batch.targets, list(shown), []
    for row, picture in enumerate(shown):
        if targets.boxes is not None:
            labels = np.where(targets.valid[row], targets.labels[row], -1)
            large = visualize.enlarge(picture, SIDE)  # so that captions have room
            boxes = targets.boxes[row] * (large.shape[0] / picture.shape[0])
            pictures[row] = visualize.draw_boxes(large, boxes, labels, classes)
        text = "" if targets.label is None else _names(targets.label[row], classes)
        captions.append(text if lam is None else f"{text} λ={float(lam[row]):.2f}")
    side = 128 if targets.boxes is None else SIDE
    Image.fromarray(visualize.panel(pictures, captions, side=side)).save(file)
    print(f"written: {file}")


def _names(label: np.ndarray, classes: tuple[str, ...]) -> str:
    """'cat', or 'cat, dog' for a vector of labels."""
    named = [int(label)] if np.ndim(label) == 0 else np.flatnonzero(label).tolist()
    return ", ".join(classes[i] if 0 <= i < len(classes) else str(i) for i in named)


def _input_shape(config: ConfigDict, given: str | None) -> tuple[int, int, int]:
    if given is not None:
        sides = given.split("x")
        if len(sides) != 3 or not all(side.isdigit() and int(side) for side in sides):
            raise UserError(f"--input {given!r}: write height, width and channels as 224x224x3")
        return tuple(map(int, sides))
    for transform in reversed(config.train.transforms):
        if "size" in transform:
            return (transform.size, transform.size, 3)
    return build(config.train).element().image.shape[-3:]


def _image_files(given: str | None) -> list[pathlib.Path]:
    if given is None:
        raise UserError("--mode predict needs --input IMAGE or --input FOLDER")
    path = pathlib.Path(given)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise UserError(f"--input {given!r} holds no image ({', '.join(IMAGE_SUFFIXES)})")
        return files
    if not path.is_file():
        raise UserError(f"--input {given!r}: no such image or folder")
    return [path]


def _read(file: pathlib.Path, channels: int) -> np.ndarray:
    try:
        return decode_image(file.read_bytes(), channels)
    except (ValueError, OSError) as error:
        raise UserError(f"--input {str(file)!r}: {error}") from error
