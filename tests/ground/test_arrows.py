"""Data flows one way: a room imports only from the floors below it, never from its neighbours."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = ROOT / "vision_jax"

# Each stands on those before it.
GROUND = ("config", "system", "structs", "words", "kernels", "ops")
ROOMS = ("data", "proposals", "models", "tasks", "evaluation", "visualize", "inspect")
ABOVE = ("weights", "report")
HALL = ("training", "sweep", "show", "export", "run")  # each stands on those before it
OUTSIDE = ("experiments", "tests", "benchmarks", "launch")

# How a platform computes something fast concerns the operations and the layers alone.
READERS_OF_KERNELS = ("kernels/", "ops/", "models/layers/")

# The rooms within models, and what each may read there beside itself.
MODELS = {
    "layers": (),
    "classifiers": ("layers",),
    "detectors": ("layers", "classifiers"),
    "segmenters": ("layers", "classifiers"),
    "embedders": ("layers", "classifiers"),
    "captioners": ("layers", "classifiers"),
    "stylizers": ("layers", "classifiers"),
}

FILES = sorted(PACKAGE.rglob("*.py"))
# The generators of golden files run beside the references, in environments of their own.
GENERATORS = ROOT / "tests" / "golden" / "generate"
ALL_FILES = [
    *(ROOT.glob("*.py")),
    *(p for top in ("vision_jax", "experiments", "benchmarks") for p in (ROOT / top).rglob("*.py")),
    *(p for p in (ROOT / "tests").rglob("*.py") if GENERATORS not in p.parents),
]


def within(path: pathlib.Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imported(source: str) -> set[str]:
    """Returns the dotted names that a file imports, at any depth of its code.

    `import a.b` and `from a import b` both give 'a.b'; a relative import begins with its dots.
    """
    names = set()
    for statement in ast.walk(ast.parse(source)):
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            module = "." * statement.level + (statement.module or "")
            names |= {f"{module}.{alias.name}" for alias in statement.names}
    return names


def allowed(here: str) -> set[str]:
    """Returns the rooms that a room may import from."""
    if here in GROUND:
        return {*GROUND[: GROUND.index(here) + 1]}
    if here in ROOMS:
        return {*GROUND, here}
    if here in ABOVE:
        return {*GROUND, *ROOMS, here}
    return {*GROUND, *ROOMS, *ABOVE, *HALL[: HALL.index(here) + 1]}


def standing(file: str) -> str:
    """Returns the room that a file stands in; an entry point, `ROOM/__main__.py`, in the hall."""
    return HALL[-1] if file.endswith("/__main__.py") else file.split("/")[0].removesuffix(".py")


def faults(file: str, source: str) -> list[str]:
    """Returns the imports of a file that point up or sideways.

    Args:
      file: its path within the package, such as 'models/layers/norm.py'.
      source: its text.
    """
    return [name for name in sorted(imported(source)) if not _points_down(file, name)]


def _points_down(file: str, name: str) -> bool:
    here = standing(file)
    top, *rest = name.split(".")
    if top in (*OUTSIDE, ""):  # a relative import begins with an empty part
        return False
    if top != "vision_jax" or rest == ["__version__"]:
        return True
    if not rest or here == "__init__" or rest[0] not in allowed(here) or "__main__" in rest:
        return False
    if rest[0] == "kernels":
        return file.startswith(READERS_OF_KERNELS)
    if rest[0] == "models" == here and file != "models/__init__.py":
        room = file.split("/")[1]
        return len(rest) > 1 and rest[1] in (room, *MODELS[room])
    return True


@pytest.mark.parametrize("path", FILES, ids=within)
def test_imports_point_down(path):
    file = within(path)
    here = file.split("/")[0].removesuffix(".py")
    known = ("__init__", *GROUND, *ROOMS, *ABOVE, *HALL)
    assert here in known, f"{here} is not a room of the house"
    assert faults(file, path.read_text()) == [], file


def test_models_lie_in_known_rooms():
    found = {path.name for path in (PACKAGE / "models").iterdir() if path.suffix in ("", ".py")}
    assert found - {"__init__.py", "__pycache__"} <= set(MODELS)


@pytest.mark.parametrize("outside", OUTSIDE)
def test_nobody_may_import_what_stands_outside(outside):
    for source in (
        f"import {outside}",
        f"import {outside}.x",
        f"import {outside}.x as x",
        f"import os, {outside}.x",
        f"from {outside} import x",
        f"from {outside}.x import y",
        f"def f():\n    import {outside}.x",
        f"def f():\n    from {outside} import x",
    ):
        for file in ("run.py", "config/tree.py", "data/sources.py", "models/layers/norm.py"):
            assert faults(file, source), (file, source)


@pytest.mark.parametrize(
    ("file", "source", "name"),
    [
        ("config/nodes.py", "import vision_jax.structs", "vision_jax.structs"),
        ("kernels/moments.py", "from vision_jax.ops import nms", "vision_jax.ops.nms"),
        ("data/sources.py", "from vision_jax import kernels", "vision_jax.kernels"),
        ("data/sources.py", "import vision_jax.models.layers", "vision_jax.models.layers"),
        ("tasks/detection.py", "from vision_jax import models", "vision_jax.models"),
        ("evaluation/voc.py", "import vision_jax.data as d", "vision_jax.data"),
        ("models/__init__.py", "from vision_jax.weights import load", "vision_jax.weights.load"),
        ("models/__init__.py", "from vision_jax import kernels", "vision_jax.kernels"),
        ("weights/load.py", "from vision_jax import export", "vision_jax.export"),
        ("export/folding.py", "import vision_jax.kernels.chunks", "vision_jax.kernels.chunks"),
        ("report/log.py", "from vision_jax.training import step", "vision_jax.training.step"),
        ("training/step.py", "from vision_jax import run", "vision_jax.run"),
        ("show/measure.py", "import vision_jax.run", "vision_jax.run"),
        ("inspect/page.py", "from vision_jax import report", "vision_jax.report"),
        ("inspect/__main__.py", "import experiments.lenet", "experiments.lenet"),
        ("show/faces.py", "import vision_jax.inspect.__main__", "vision_jax.inspect.__main__"),
        ("run.py", "from vision_jax.weights import __main__", "vision_jax.weights.__main__"),
        ("run.py", "from . import report", "..report"),
        ("run.py", "from .report import Log", ".report.Log"),
        ("run.py", "import vision_jax", "vision_jax"),
        ("__init__.py", "from vision_jax import ops", "vision_jax.ops"),
        (
            "models/layers/norm.py",
            "from vision_jax.models.classifiers import resnet",
            "vision_jax.models.classifiers.resnet",
        ),
        (
            "models/classifiers/vgg.py",
            "import vision_jax.models.detectors",
            "vision_jax.models.detectors",
        ),
        (
            "models/detectors/ssd.py",
            "from vision_jax.models.segmenters import fcn",
            "vision_jax.models.segmenters.fcn",
        ),
        (
            "models/detectors/ssd.py",
            "from vision_jax.kernels import moments",
            "vision_jax.kernels.moments",
        ),
        ("models/segmenters/fcn.py", "from vision_jax import models", "vision_jax.models"),
        ("models/segmenters/fcn.py", "from vision_jax.models import vgg", "vision_jax.models.vgg"),
    ],
)
def test_an_import_that_points_up_or_sideways_is_found(file, source, name):
    assert faults(file, source) == [name]
    assert faults(file, f"def f():\n    {source}") == [name]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("__init__.py", '__version__ = "0"'),
        ("ops/conv.py", "from vision_jax.kernels import conv_primitives"),
        ("models/layers/norm.py", "import vision_jax.kernels.moments"),
        ("models/__init__.py", "from vision_jax.models.detectors.ssd import SSD"),
        ("models/detectors/ssd.py", "from vision_jax.models.classifiers.vgg import VGG"),
        ("models/detectors/ssd.py", "from vision_jax.models.detectors.ssd_boxes import boxes"),
        ("weights/tables.py", "from vision_jax import config, models"),
        ("report/versions.py", "from vision_jax import __version__"),
        ("training/initial.py", "from vision_jax import weights"),
        ("show/answers.py", "from vision_jax.training import Checkpoints"),
        ("inspect/__main__.py", "from vision_jax.report import page"),
        ("proposals/__main__.py", "from vision_jax.show import proposals"),
        ("proposals/__main__.py", "from vision_jax import run"),
        ("run.py", "import experiments_of_mine, testsuite"),
        ("run.py", "from vision_jax import report, show, sweep"),
    ],
)
def test_an_import_that_points_down_passes(file, source):
    assert faults(file, source) == []


def test_no_room_without_a_name():
    parts = {part.removesuffix(".py") for path in FILES for part in within(path).split("/")}
    assert not parts & {"utils", "helpers", "misc", "common"}


def test_files_fit_in_a_sitting():
    lengths = {path: len(path.read_text().splitlines()) for path in ALL_FILES}
    long = {str(path.relative_to(ROOT)): count for path, count in lengths.items() if count > 400}
    assert not long
    assert lengths[PACKAGE / "run.py"] <= 200
