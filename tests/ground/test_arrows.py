"""Data flows one way: a room imports only from floors below it, never from its neighbours."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[2] / "vision_jax"
GROUND = ("config", "memory", "structs", "ops")
ROOMS = ("data", "models", "tasks", "evaluation", "weights", "visualize")
HALL = ("training", "report", "show", "sweep", "run")

FILES = sorted(PACKAGE.rglob("*.py"))


def place(path: pathlib.Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: pathlib.Path) -> set[str]:
    """Top-level parts of vision_jax that a file imports, at any depth of its code."""
    found = set()
    for statement in ast.walk(ast.parse(path.read_text())):
        if isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, f"{path}: relative import"
            names = [f"{statement.module}.{alias.name}" for alias in statement.names]
        else:
            continue
        found |= {n.split(".")[1] for n in names if n.startswith("vision_jax.")}
    return found


def allowed(here: str) -> set[str]:
    if here in GROUND:
        return {*GROUND[: GROUND.index(here) + 1]}
    if here in ROOMS:
        return {*GROUND, here}
    return {*GROUND, *ROOMS, *HALL[: HALL.index(here) + 1]}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    here = place(path)
    if here == "__init__":
        assert not imports(path)
        return
    assert here in (*GROUND, *ROOMS, *HALL), f"{here} is not a room of the house"
    upward = imports(path) - allowed(here) - {"__version__"}
    assert not upward, f"{path.relative_to(PACKAGE)} imports {sorted(upward)}"


def test_nobody_imports_experiments():
    for path in FILES:
        assert "experiments" not in path.read_text().split("import experiments")[0].split("\n"), (
            path
        )
        tree = ast.parse(path.read_text())
        names = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        assert not any(name.startswith(("experiments", "launch")) for name in names), path


def test_no_room_without_a_name():
    names = {path.stem for path in FILES}
    assert not names & {"utils", "helpers", "misc", "common"}
