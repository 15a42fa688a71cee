"""Parity of DeepMask and SharpMask: masks, scores, windows of a larger image, losses, gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.seeded import Golden, subsample, uniform
from tests.parity.golden_cases import FOLDER
from vision_jax import models, weights
from vision_jax.structs import Targets

pytestmark = pytest.mark.golden
FILES = ("models_thirdparty/deepmask_resnet50", "models/deepmask_losses")


@pytest.mark.parametrize("file", [*FILES, "models/sharpmask_resnet50"])
def test_window_equals_the_references(file):
    golden = Golden(FOLDER / f"{file}.npz")
    model = network(golden)
    state = weights.from_reference(golden.state_dict(), model)
    assert sum(a.size for a in jax.tree.leaves(state["params"])) == golden.meta["param_count"]
    for kind in (np.float32, np.float64):
        with jax.enable_x64(kind is np.float64):
            variables = jax.tree.map(lambda a, kind=kind: jnp.asarray(a, kind), state)
            check_eval(golden, model, variables, kind)
            if "train" in golden.meta:
                check_train(golden, model, variables, kind)


def network(golden):
    """Makes the network of a golden file, which ran without dropout."""
    make = models.SharpMaskResNet50 if "sharp" in golden.meta["name"] else models.DeepMaskResNet50
    golden.errors = {}
    return make().clone(dropout=0.0, scales=(1.0,))


def images(golden, phase, kind):
    return jnp.asarray(golden.inputs(phase)["x"].transpose(0, 2, 3, 1), kind)


def on_windows(model, variables, x, **more):
    """Returns mask and score of images that are windows, and collections where they change."""
    targets = Targets(boxes=jnp.zeros((len(x), 1, 4), x.dtype))
    return model.apply(variables, x, jnp.zeros((len(x), 2), x.dtype), targets, **more)


def check_eval(golden, model, variables, kind):
    """Compares what the file holds of evaluation: of windows, and of a larger image."""
    names = ("0", "1") if "eval/0" in golden.meta["outputs"] else ("mask", "score")

    run = jax.jit(functools.partial(on_windows, model))
    outputs = run(variables, images(golden, "eval", kind))
    check(golden, f"eval/{names[0]}", np.asarray(outputs["mask_logits"])[:, None], kind)
    score = np.asarray(outputs["objectness_logits"])[..., None, None]
    check(golden, f"eval/{names[1]}", score, kind)
    if "dense" in golden.meta:
        run = jax.jit(functools.partial(model.apply, method=every_window))
        masks, scores = run(variables, images(golden, "dense", kind))
        check(golden, "dense/mask", np.asarray(masks)[None], kind)
        check(golden, "dense/score", np.asarray(scores).transpose(0, 3, 1, 2), kind)


def every_window(model, images):
    """Computes all windows of an image as it is: their coarse masks, and scores."""
    features = model.window_features(model.backbone(images))
    flat = features.reshape(-1, features.shape[-1])
    return model.window_logits(flat, []), model.window_scores(features)


def check_train(golden, model, variables, kind):
    """Compares losses and gradients: DeepMask's on batch statistics, SharpMask's refinement's."""
    train = golden.meta["train"]
    shape = train["mask_label_shape"]
    bits = np.unpackbits(golden["train/mask_label"])[: np.prod(shape)].reshape(shape)[:, 0]
    labels = jnp.asarray(bits, kind) * 2 - 1
    signs = jnp.asarray(golden["train/score_label"].reshape(-1), kind)
    x, sharp = images(golden, "train", kind), model.refinement is not None
    modes = {} if sharp else {"train": True, "mutable": ["batch_stats"]}

    # The file has SharpMask's gradients of its last layer alone.
    refinement = variables["params"].get("refinement", {})
    trained = refinement["logits"] if sharp else variables["params"]

    def losses(trained):
        params = trained
        if sharp:
            params = variables["params"] | {"refinement": refinement | {"logits": trained}}
        found = on_windows(model, {**variables, "params": params}, x, **modes)
        outputs = found if sharp else found[0]
        mask = jax.nn.softplus(-labels * outputs["mask_logits"]).mean()
        score = jax.nn.softplus(-signs * outputs["objectness_logits"][:, 0]).mean()
        return {"mask": mask} if sharp else {"mask": mask, "score": score}, outputs

    @jax.jit
    def run(trained):
        values, back, outputs = jax.vjp(losses, trained, has_aux=True)
        ones = {name: jax.tree.map(jnp.zeros_like, values) for name in values}
        each = {name: back({**zeros, name: jnp.ones((), kind)})[0] for name, zeros in ones.items()}
        return values, each, outputs

    values, gradients, outputs = run(trained)
    for name, value in values.items():
        check(golden, f"train/loss_{name}", np.asarray(value), kind)
    if not sharp:
        whole = model.clone(size=shape[-1])  # the labels are those of the mask's own pixels
        targets = Targets(masks=jnp.asarray(bits[:, None] > 0), valid=(signs > 0)[:, None])
        terms = whole.loss(outputs, targets, jnp.ones(len(x), bool))
        total = sum(total for total, _ in terms.values())
        check(golden, "train/combined_loss", np.asarray(total), kind)
    for name, tree in gradients.items():
        if sharp:
            zeros = jax.tree.map(np.zeros_like, variables["params"])
            tree = zeros | {"refinement": zeros["refinement"] | {"logits": tree}}
        check_gradients(golden, name, weights.to_reference(tree, model), kind)


def check_gradients(golden, name, theirs, kind):
    """Compares norms of gradients, and their products with seeded arrays."""
    norms, dots = [], []
    for key in golden.meta["train"]["grad_names"]:
        array = np.asarray(theirs[key], np.float64)
        norms.append(np.linalg.norm(array))
        probe = uniform(array.shape, golden.meta["seed"], "grad/" + key)
        dots.append((array * probe.astype(np.float64)).sum())
    check(golden, f"train/grad_norm_{name}", np.asarray(norms), kind)
    check(golden, f"train/grad_dot_{name}", np.asarray(dots), kind)


def check(golden, name, ours, kind):
    """Compares one output with what is stored of it, some of it rounded to float32."""
    info, stored = golden.meta["outputs"][name], golden[name].reshape(-1)
    assert list(ours.shape) == info["shape"], name
    ours = subsample(ours, info["stride"]).astype(np.float64)
    error = np.abs(ours - stored).max()
    if kind is np.float32 or stored.dtype == np.float64:  # else all that shows is the rounding
        golden.errors[name, kind.__name__] = float(error)
    allowed = 10 * info["float32_max_abs_diff"] if kind is np.float32 else 1e-9 * info["absmax"]
    rounding = np.finfo(stored.dtype).eps / 2 * info["absmax"]
    assert error <= max(allowed, rounding), f"{name}: {error}"
