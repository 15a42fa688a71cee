"""Exports fresh networks, and compares what the programs tell with what the networks tell."""

import dataclasses
import pathlib
import sys
import tempfile

import jax
import numpy as np
from PIL import Image

from vision_jax import export
from vision_jax.config import as_node, build, load
from vision_jax.data.loading import fed
from vision_jax.export import onnx_program, program
from vision_jax.export.runner import Runner
from vision_jax.report.rendering import render
from vision_jax.show.trained import Run, run_of


class Fresh(Run):
    """An experiment whose network is as it was initialised."""

    def predictor(self):
        task = self.experiment.task
        return task, task.init(jax.random.key(3), self.signature.element()), "fresh"


def fresh(config):
    run = run_of(load(config), pathlib.Path("no run folder"))
    return Fresh(**{field.name: getattr(run, field.name) for field in dataclasses.fields(run)})


def photo(seed=0, height=90, width=120):
    small = np.random.default_rng(seed).integers(0, 255, (9, 12, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height)))


def told_by_the_network(run, artifact, image):
    """What the network that was exported tells of an image, with the same preparation."""
    task, variables, _ = run.predictor()
    batch = fed(image, build(as_node(artifact.description.transforms)))
    outputs = jax.jit(task.predict)(variables, batch)
    shown = {name: outputs[name] for name in task.shown}
    return render(task.describe, shown, batch, image, run.signature.classes)[0]


def same(found, expected):
    """Folded norms change the last bits; labels and numbers of objects are as they were."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), (found.keys(), expected.keys())
        for key in expected.keys() - {"text", "mask"}:
            same(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected), (len(found), len(expected))
        for a, b in zip(found, expected, strict=True):
            same(a, b)
    elif isinstance(expected, float):
        assert abs(found - expected) <= 2e-3 + 1e-3 * abs(expected), (found, expected)
    else:
        assert found == expected, (found, expected)


def compare(config, batch, platforms):
    run = fresh(f"experiments/{config}:smoke")
    if platforms == ("onnx",):
        artifact = onnx_program.export(run, batch)
    else:
        artifact = export.export(run, batch, platforms=platforms)
    with tempfile.TemporaryDirectory() as folder:
        artifact.save(pathlib.Path(folder) / "m.stablehlo")
        loaded = export.load(pathlib.Path(folder) / "m.stablehlo")
    runner = Runner(loaded)
    for seed in range(2):
        image = photo(seed)
        same(runner.answer(image)[0], told_by_the_network(run, artifact, image))
    if batch is not None and platforms != ("onnx",):
        return
    transforms = build(as_node(artifact.description.transforms))
    batches = [fed(photo(seed), transforms) for seed in range(batch or 3)]
    stacked = jax.tree.map(lambda *x: np.concatenate(x), *batches)
    call = loaded.caller()
    together = call(stacked.image, stacked.size, stacked.scale)
    if batch is not None:
        answer = jax.jit(program.whole_answer(run, batch, None, platforms)[0])
        expected = answer(stacked.image, stacked.size, stacked.scale)
    else:
        alone = [call(b.image, b.size, b.scale) for b in batches]
        expected = jax.tree.map(lambda *x: np.concatenate(x), *alone)
    assert together.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(together[name], value, rtol=1e-3, atol=2e-3)


if __name__ == "__main__":
    number, names, experiment = sys.argv[1:]
    count = None if number == "b" else int(number)
    compare(experiment, count, tuple(names.split(",")))
