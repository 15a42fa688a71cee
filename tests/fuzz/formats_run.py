"""Valid and damaged files of a run folder, and all that reads them."""

import functools
import io
import json
import pathlib
import shutil
import tempfile

import numpy as np

from tests.fuzz.formats_weights import Format
from tests.fuzz.mutations import archive, damaged, json_text
from vision_jax import report
from vision_jax.config import UserError
from vision_jax.training import Checkpoints, folder, restore_params, signature

CONFIG = {
    "target": "vision_jax.training.experiment.Experiment",
    "best": "eval/top1",
    "best_mode": "max",
    "steps": 2,
    "task": {"target": "vision_jax.tasks.classification.Classification", "mean": [0.5]},
    "train": {"target": "vision_jax.data.pipeline.Train", "batch_size": 2, "transforms": []},
    "expect": {"metric": "eval/top1", "value": 0.5, "source": "a paper"},
    "init": {"weights": None},
}
ROWS = [
    {"step": 1, "train/loss": 2.0, "train/lr": 0.1},
    {"step": 2, "train/loss": 1.0, "train/lr": 0.1},
    {"step": 2, "eval/top1": 0.5, "eval/loss": None},
]
FILES = {
    "config.json": CONFIG,
    "DONE": {"step": 2, "metrics": {"eval/top1": 0.5, "baseline/linear": 0.25}},
    "evaluation.json": {"weights": "step 2", "metrics": {"eval/top1": 0.5}},
    "versions.json": {"command": "python launch.py", "packages": {"jax": "1"}, "devices": 1},
    signature.FILE: {"classes": ["a", "b"], "image": [8, 8, 3], "dtype": "uint8", "proposals": 0},
}
LINES = {
    "metrics.jsonl": ROWS,
    "timing.jsonl": [{"step": 1, "seconds": 1.5, "images_per_second": 3.0, "host_peak_bytes": 9}],
}
ARRAYS = {
    "confusion": {"matrix": np.eye(2, dtype=int), "classes": np.array(["a", "b"])},
    "per_class": {"classes": np.array(["a", "b"]), "ap": np.array([0.5, np.nan])},
    "precision_recall": {"precision": np.ones((2, 101)), "classes": np.array(["a", "b"])},
    "predictions": {
        "image": np.zeros((2, 8, 8, 3), np.uint8),
        "label": np.array([0, 1]),
        "predicted": np.array([0, 0]),
        "confidence": np.array([0.5, 0.75]),
        "classes": np.array(["a", "b"]),
    },
    "curves": {"curve/recall/proposals/IoU 0.5": np.array([[1.0, 10], [0.2, 0.9]])},
    "data": {
        "parts": np.array(["training"]),
        "images": np.array([2]),
        "counted": np.array([2]),
        "counts": np.array([[1, 1]]),
        "classes": np.array(["a", "b"]),
        "unit": np.array("images"),
        "image": np.zeros((1, 8, 8, 3), np.uint8),
        "caption": np.array(["a"]),
    },
}


def write_folder(place, rng):
    """Writes a finished run, in which one file or two are damaged."""
    names = [*FILES, *LINES, *ARRAYS]
    hit = [] if rng is None else rng.sample(names, rng.choice((1, 1, 2)))
    for name, tree in FILES.items():
        content = json_text(rng, tree) if name in hit else json.dumps(tree).encode()
        (place / name).write_bytes(content)
    for name, rows in LINES.items():
        lines = [json.dumps(row).encode() for row in rows]
        if name in hit:
            lines = [json_text(rng, row) if rng.random() < 0.7 else row for row in map(dict, rows)]
            lines = [x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines]
        content = b"\n".join(lines) + b"\n"
        both = name in hit and rng.random() < 0.3
        (place / name).write_bytes(damaged(rng, content) if both else content)
    (place / "arrays").mkdir()
    for name, arrays in ARRAYS.items():
        (place / "arrays" / f"{name}.npz").write_bytes(_npz(rng if name in hit else None, arrays))


def _npz(rng, arrays):
    """Returns arrays as a file; without some, of other shapes and types, or of damaged bytes."""
    arrays = dict(arrays)
    buffer = io.BytesIO()
    kind = 1.0 if rng is None else rng.random()
    name = None if rng is None else rng.choice(list(arrays))
    if kind < 0.1:
        del arrays[name]
    elif kind < 0.5:
        odd = (np.zeros(()), np.zeros((0, 3)), np.array(["x\n", "$"]), np.full(2, 2**40))
        arrays[name] = rng.choice(
            (*odd, np.ones((1, 1, 1, 1, 1)), np.array([1j]), np.full(2, np.inf))
        )
    np.savez_compressed(buffer, **arrays)
    content = buffer.getvalue()
    if 0.5 <= kind < 0.75:
        return archive(rng, content)
    return damaged(rng, content) if 0.75 <= kind < 1.0 else content


def read_folder(place):
    """Reads a run folder as training, the looking modes and the report do."""
    steps = (
        lambda: report.write_report(place),
        lambda: folder.finished(place),
        lambda: signature.read(place),
        lambda: signature.read_config(place),
        lambda: _resumed(place),
        lambda: report.write_report(place),
    )
    for number, step in enumerate(steps):
        try:
            step()
        except UserError as error:
            assert "\n" not in str(error), f"step {number}: {error!r}"


def _resumed(place):
    """Opens the rows as a run does that goes on."""
    stream = io.StringIO()
    with report.Log(place, resumed=2, stream=stream) as log:
        log.metrics(3, {"train/loss": 1.0})
    said = stream.getvalue()
    assert "\x1b" not in said and "\x00" not in said, said


def _state(step):
    rng = np.random.default_rng(step)
    kernel = rng.normal(size=(30, 20)).astype(np.float32)
    return {"step": np.int32(step), "params": {"a": {"kernel": kernel}, "b": kernel[0].copy()}}


@functools.cache
def _checkpoints():
    """Returns a folder with two checkpoints."""
    place = pathlib.Path(tempfile.mkdtemp()) / "checkpoints"
    checkpoints = Checkpoints(place, best_metric="eval/top1")
    for step in (1, 2):
        checkpoints.save(step, _state(step), {"evaluated": True}, {"eval/top1": step / 2})
    checkpoints.close()
    return place


def write_checkpoint(place, rng):
    shutil.copytree(_checkpoints(), place / "checkpoints")
    if rng is None:
        return
    found = [p for p in (place / "checkpoints").rglob("*") if p.is_file()]
    # Some have names that are drawn anew each time.
    files = sorted(
        found, key=lambda p: (p.parent, p.name[:30] * (len(p.name) < 30), p.stat().st_size)
    )
    for path in rng.sample(files, rng.choice((1, 1, 1, 3))):
        content = path.read_bytes()
        try:
            tree = json.loads(content)
        except ValueError:
            tree = None
        if rng.random() < 0.1:
            path.unlink()
        elif tree is not None and rng.random() < 0.6:
            path.write_bytes(json_text(rng, tree))
        else:
            path.write_bytes(damaged(rng, content))


def read_checkpoint(place):
    """Restores as a resumed run does; what comes back must be what was saved."""
    checkpoints = Checkpoints(place / "checkpoints", best_metric="eval/top1")
    try:
        restored = checkpoints.restore(_state(0))
        assert restored is not None
        step = int(restored[0]["step"])
        np.testing.assert_array_equal(
            restored[0]["params"]["a"]["kernel"], _state(step)["params"]["a"]["kernel"]
        )
        checkpoints.best_step()
    finally:
        checkpoints.close()
    restore_params(place / "checkpoints", {"params": _state(0)["params"]})


FORMATS = {
    "run_folder": Format(write_folder, read_folder),
    "checkpoint": Format(write_checkpoint, read_checkpoint),
}
