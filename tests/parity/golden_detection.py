"""Images and targets as torchvision's detectors prepare them, and detections brought back.

Their golden files hold unpadded images in [0, 1] and truth in those images' pixels. Also here: the
comparisons that all detectors' golden tests share, with the tolerances of tests/test_golden.py.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tests.golden.seeded import Golden, subsample, uniform
from vision_jax import weights
from vision_jax.ops import boxes as box_ops
from vision_jax.ops.resize import resize
from vision_jax.structs import Detections, Targets

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Of the one-stage detectors' losses: their names, and ours.
LOSSES = {
    "classification": "class",
    "bbox_regression": "box",
    "bbox_ctrness": "centerness",
    "total": "total",
}
DIVISOR = 32  # padded sides are multiples of it


@dataclasses.dataclass(frozen=True)
class Scene:
    """A golden file's images as the network gets them.

    Attributes:
      image: (b, h, w, 3), normalised, resized, padded.
      sizes: (b, 2), height and width of the content in `image`.
      ratios: (b, 2), new pixels per old pixel (y, x), rounded to float32 as torchvision has them.
      back: (b, 2), old pixels per new pixel, likewise.
      originals: (b, 2), height and width of the images as given.
    """

    image: jnp.ndarray
    sizes: np.ndarray
    ratios: np.ndarray
    back: np.ndarray
    originals: np.ndarray


def scene(golden: Golden, phase: str, dtype: type) -> Scene:
    """Prepares the images of a phase in a dtype (float64 needs x64), by the file's options."""
    options = golden.meta["options"]
    inputs = golden.inputs(phase)
    images = [inputs[f"image{i}"] for i in range(len(inputs))]
    originals = np.array([image.shape[1:] for image in images])
    resized = []
    for image in images:
        x = jnp.asarray(image.transpose(1, 2, 0), dtype)
        x = (x - jnp.asarray(MEAN, dtype)[None, None]) / jnp.asarray(STD, dtype)[None, None]
        short, long = min(x.shape[:2]), max(x.shape[:2])
        scale = min(options["min_size"] / short, options["max_size"] / long)
        size = tuple(int(side * scale) for side in x.shape[:2])
        resized.append(resize(x[None], size)[0])
    sizes = np.array([x.shape[:2] for x in resized])
    height, width = (-(-int(side) // DIVISOR) * DIVISOR for side in sizes.max(0))
    pad = [jnp.pad(x, ((0, height - x.shape[0]), (0, width - x.shape[1]), (0, 0))) for x in resized]
    new, old = np.float32(sizes), np.float32(originals)
    return Scene(jnp.stack(pad), sizes, new / old, old / new, originals)


def truth(golden: Golden, ratios: np.ndarray, dtype: type) -> Targets:
    """Reads the file's boxes and labels in the network's pixels, padded to the longest list.

    Labels are the file's own numbers. Masks and keypoints are left to the tests that have them.
    """
    objects = [
        (golden[f"train/target{i}/boxes"], golden[f"train/target{i}/labels"])
        for i in range(len(ratios))
    ]
    most = max(len(labels) for _, labels in objects)
    boxes = np.zeros((len(objects), most, 4), dtype)
    labels = np.full((len(objects), most), -1, np.int32)
    for row, (corners, classes) in enumerate(objects):
        y, x = ratios[row]
        boxes[row, : len(classes)] = corners.astype(dtype) * np.array([x, y, x, y], np.float32)
        labels[row, : len(classes)] = classes
    return Targets(boxes=jnp.asarray(boxes), labels=jnp.asarray(labels), valid=labels >= 0)


def original_boxes(detections: Detections, scene: Scene, row: int) -> np.ndarray:
    """Returns the valid boxes of one image in pixels of the original."""
    y, x = scene.back[row].astype(detections.boxes.dtype)
    boxes = np.asarray(box_ops.resize(detections.boxes[row], y, x))
    return boxes[np.asarray(detections.valid[row])]


def check_array(golden: Golden, name: str, ours: np.ndarray, dtype: type) -> None:
    """Compares one stored output, in the file's layout."""
    info = golden.meta["outputs"][name]
    assert list(ours.shape) == info["shape"], name
    if "absmax" not in info:  # integers, stored whole
        assert np.array_equal(ours, golden[name]), name
        return
    ours = subsample(ours, info["stride"])
    error = np.abs(ours.astype(np.float64) - golden[name]).max(initial=0)
    golden.errors[name, dtype.__name__] = float(error)
    tolerance = 1e-9 * info["absmax"]
    if dtype is np.float32:
        tolerance = 10 * info["float32_max_abs_diff"]
    assert error <= tolerance, f"{name}: {error} > {tolerance}"


def check_detections(golden: Golden, detections: Detections, scene: Scene, dtype: type) -> None:
    """Compares boxes, scores and labels of every image."""
    for row in range(len(scene.sizes)):
        valid = np.asarray(detections.valid[row])
        stem = f"eval/detections.{row}"
        check_array(golden, f"{stem}.boxes", original_boxes(detections, scene, row), dtype)
        check_array(golden, f"{stem}.scores", np.asarray(detections.scores[row])[valid], dtype)
        check_array(golden, f"{stem}.labels", np.asarray(detections.labels[row])[valid], dtype)


def check_loss(golden: Golden, name: str, value: float, dtype: type) -> None:
    """Compares one of the stored losses, 'total' among them."""
    train = golden.meta["train"]
    expected = train["losses"][name]
    tolerance = 1e-9 * abs(expected)
    if dtype is np.float32:
        # One loss's recorded error may be next to nothing by luck: the largest is for all.
        errors = [abs(train["losses_float32"][k] - v) for k, v in train["losses"].items()]
        tolerance = 10 * max(errors)
    assert abs(float(value) - expected) <= tolerance, f"{name}: {value} for {expected}"


def check_gradients(golden: Golden, gradients: dict[str, np.ndarray], dtype: type) -> None:
    """Compares gradients, in the file's names: norms, in float64 also dots with seeded arrays."""
    names = golden.meta["train"]["grad_names"]
    norms = golden["train/grad_norm"]
    ours = gradient_norms(golden, gradients)
    if dtype is np.float32:
        noise = np.abs(golden["train/grad_norm_float32"] - norms).max()
        assert np.abs(ours - norms).max() <= 10 * noise
        return
    scale = np.maximum(norms, 1e-4 * norms.max())
    for i, name in enumerate(names):
        probe = uniform(gradients[name].shape, golden.meta["seed"], "grad/" + name)
        dot = (gradients[name] * probe.astype(np.float64)).sum()
        assert abs(ours[i] - norms[i]) <= 1e-9 * scale[i], name
        assert abs(dot - golden["train/grad_dot"][i]) <= 1e-9 * scale[i], name


def gradient_norms(golden: Golden, gradients: dict[str, np.ndarray]) -> np.ndarray:
    """Computes the norms that the file has, in its order."""
    names = golden.meta["train"]["grad_names"]
    return np.array([np.linalg.norm(gradients[name].astype(np.float64)) for name in names])


def check_training(
    golden: Golden, model: nn.Module, variables: Any, scene: Scene, targets: Targets, dtype: type
) -> None:
    """Compares losses and gradients of a one-stage detector, which draws nothing at random."""
    run = jax.jit(trainer(model, variables, scene, targets, dtype))
    terms, gradients = run(variables["params"])
    check_losses(golden, terms, dtype)
    gradients = weights.to_reference(jax.tree.map(np.asarray, gradients), model)
    check_gradients(golden, gradients, dtype)


def trainer(
    model: nn.Module, variables: Any, scene: Scene, targets: Targets, dtype: type
) -> Callable[[Any], tuple[dict, Any]]:
    """Makes the function from parameters to losses, 'total' among them, and gradients."""
    sizes, valid = jnp.asarray(scene.sizes, dtype), jnp.ones(len(scene.sizes), bool)

    def run(params):
        def total(params):
            outputs = model.apply({**variables, "params": params}, scene.image, sizes, targets)
            terms = model.loss(outputs, targets, valid)
            means = {name: x / weight for name, (x, weight) in terms.items()}
            return sum(means.values()), means

        (loss, terms), gradients = jax.value_and_grad(total, has_aux=True)(params)
        return {**terms, "total": loss}, gradients

    return run


def check_losses(golden: Golden, terms: dict[str, Any], dtype: type) -> None:
    """Compares all losses of a one-stage detector."""
    assert set(terms) == {LOSSES[name] for name in golden.meta["train"]["losses"]}
    for name in golden.meta["train"]["losses"]:
        check_loss(golden, name, terms[LOSSES[name]], dtype)
