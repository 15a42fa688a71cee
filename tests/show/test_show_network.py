"""`python -m vision_jax.inspect` as a user calls it: pages, and mistakes in one line."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import launch
from vision_jax import weights
from vision_jax.config import UserError, load
from vision_jax.inspect import Network
from vision_jax.inspect.__main__ import main
from vision_jax.report.network_parts import Subject
from vision_jax.show.network import label_of
from vision_jax.training import make_experiment
from vision_jax.weights import zoo

pytestmark = pytest.mark.usefixtures("at_the_root")
CIFAR = "akamaster/resnet20-12fca82f"
SHORT = ["--steps", "2", "--parts", "filters,activations,saliency,grad_cam"]


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 48, 3), np.uint8)
    file = tmp_path / "cat.png"
    Image.fromarray(pixels).save(file)
    return str(file)


def fails(capsys, *argv):
    assert main(argv) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "name a run folder or a network of the zoo, or --config"),
        (["torchvision/resnet19", "--input", "PICTURE"], "no name of the zoo - did you mean"),
        (["tests", "--input", "PICTURE"], "'tests' holds no run: it has no config.json"),
        ([CIFAR], "name a picture: --input PICTURE"),
        ([CIFAR, "--input", "dog.png"], "--input 'dog.png': no such picture"),
        ([CIFAR, "--input", "docs"], "'docs' is a folder; name one picture of it"),
        ([CIFAR, "--input", "README.md"], "README.md cannot be read"),
        ([CIFAR, "--input", "PICTURE", "--parts", "filtres"], "did you mean filters?"),
        ([CIFAR, "--input", "PICTURE", "--steps", "0"], "--steps: '0' must be a whole number"),
        ([CIFAR, "--input", "PICTURE", "--weights", "x.pth"], "--weights goes with --config"),
        ([CIFAR, "--input", "PICTURE", "--config.seed"], "has no value"),
        (
            ["--config", "experiments/quickstart.py", "--input", "PICTURE"],
            "--config experiments/quickstart.py needs --weights FILE",
        ),
        (
            ["--config", "experiments/quickstart.py", "--input", "PICTURE", "--config.sed=1"],
            "unknown config key 'sed' - did you mean seed?",
        ),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line(capsys, picture, argv, message, published):
    assert message in fails(capsys, *(picture if a == "PICTURE" else a for a in argv))


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A row of the zoo whose file is ours: seeded weights."""
    entry = zoo.find(CIFAR)
    file = tmp_path / "home" / "weights" / entry.place
    file = file.with_suffix(".safetensors")
    file.parent.mkdir(parents=True)
    model = entry.network()
    images = jnp.zeros((1, 32, 32, 3))
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    draw = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda x: np.asarray(draw.uniform(0.5, 1, x.shape) / np.sqrt(x.size), np.float32), shapes
    )
    weights.save(file, variables, model, "akamaster")
    rows = dict(zoo.entries()) | {CIFAR: entry.replace(digest=None, file=file.name)}
    monkeypatch.setattr(zoo, "entries", lambda: rows)
    monkeypatch.setenv("VISION_JAX_HOME", str(tmp_path / "home"))
    return CIFAR


def test_a_name_of_the_zoo_has_a_page(tmp_path, picture, published, capsys):
    folder = tmp_path / "page"
    argv = [published, "--input", picture, "--output", str(folder), *SHORT]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert f"page: {folder / 'index.html'}" in out
    text = (folder / "index.html").read_text()
    assert f"<h1>{published}</h1>" in text and "cat.png" in text
    assert (folder / "grad_cam.png").exists() and (folder / "filters.png").exists()
    assert "did you mean" in fails(capsys, *argv, "--endpoint", "stage4")
    assert "give a number below 10" in fails(capsys, *argv, "--class", "10")


def test_a_run_has_a_page_in_its_folder(tmp_path, picture, capsys):
    run = tmp_path / "run"
    config = ["--config", "experiments/quickstart.py:smoke"]
    assert launch.main([*config, "--workdir", str(run)]) == 0
    capsys.readouterr()
    assert main([str(run), "--input", picture, "--class", "star", *SHORT]) == 0
    text = (run / "network" / "index.html").read_text()
    assert "First-layer filters" in text and "step 4" in text
    assert "did you mean star?" in fails(capsys, str(run), "--input", picture, "--class", "stra")


class Recolouring(nn.Module):
    """A network that answers with an image, and with no classes."""

    @nn.compact
    def __call__(self, images, train=False):
        return {"image": nn.Conv(3, (1, 1))(images)}


def test_a_network_without_classes_has_none_to_explain():
    images = jnp.zeros((1, 8, 8, 3))
    network = Network(Recolouring(), Recolouring().init(jax.random.key(0), images))
    subject = Subject("repainted", network, images, (0.0,) * 3, (1.0,) * 3)
    with pytest.raises(UserError, match="--class '3': this network has no classes"):
        label_of("3", subject)


@pytest.mark.slow
def test_weights_without_a_head_explain_no_class(tmp_path, picture, capsys):
    """A backbone's file leaves the head as it was drawn, and that is said instead of explained."""
    spec = "experiments/resnet18.py:smoke"
    experiment = make_experiment(load(spec))
    model = experiment.task.model
    variables = experiment.task.init(jax.random.key(0), experiment.train.element())
    file = tmp_path / "trunk.safetensors"
    whole = weights.to_reference(variables, model)
    save_file({k: np.asarray(v) for k, v in whole.items() if not k.startswith("fc.")}, file)
    argv = ["--config", spec, "--weights", str(file), "--input", picture]
    assert main([*argv, "--output", str(tmp_path / "page"), *SHORT]) == 0
    out = capsys.readouterr().out
    assert "saliency: left out: not in the weights" in out
    assert "filters: left out" not in out
