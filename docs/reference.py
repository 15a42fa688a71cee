"""The reference of public names, read from the sources without importing them."""

import ast
import pathlib
from collections.abc import Iterator

ROOMS = ("ops", "models", "data", "proposals", "tasks", "evaluation", "visualize", "inspect")
ROOMS += ("weights", "report", "training", "structs", "config")
_FENCE = "~~~"


def reference(root: pathlib.Path) -> str:
    """Returns a section for each room of vision_jax: names, signatures, docstrings, as Markdown."""
    return "\n".join(f"\n## vision_jax.{room}\n\n{''.join(_entries(root, room))}" for room in ROOMS)


def _entries(root: pathlib.Path, room: str) -> Iterator[str]:
    """Yields a room's entries in the order of its `__all__`; submodules are left out."""
    package = root / "vision_jax" / room
    file = package / "__init__.py" if package.is_dir() else package.with_suffix(".py")
    tree = ast.parse(file.read_text())
    places = _imports(tree, root) or dict.fromkeys(_definitions(tree), file)
    for name in _public(tree) or sorted(places):
        place = places.get(name)
        node = _definitions(ast.parse(place.read_text())).get(name) if place else None
        if place and node:
            where = f"`{place.relative_to(root).as_posix()}`, line {node.lineno}"
            text = "\n".join([_signature(node), *_docstring(node)])
            yield f"### {room}.{name}\n\n{where}\n\n{_FENCE}text\n{text}\n{_FENCE}\n\n"


def _imports(tree: ast.Module, root: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the file from which a package's `__init__` takes each name."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vision_jax"):
            place = root.joinpath(*str(node.module).split("."))
            file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
            found |= {alias.asname or alias.name: file for alias in node.names}
    return found


def _public(tree: ast.Module) -> list[str]:
    """Returns the names of `__all__`; none where there is none, or it is computed."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value) if isinstance(node.value, ast.List) else []
    return []


def _definitions(tree: ast.Module) -> dict[str, ast.stmt]:
    """Returns a module's public functions, classes and values by their names."""
    found: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node
    return {name: node for name, node in found.items() if not name.startswith("_")}


def _signature(node: ast.stmt) -> str:
    """Writes a definition's first lines: arguments, or a class's fields."""
    if isinstance(node, ast.FunctionDef):
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        return f"{node.name}({ast.unparse(node.args)}){returns}"
    if isinstance(node, ast.ClassDef):
        bases = f"({', '.join(map(ast.unparse, node.bases))})" if node.bases else ""
        fields = [f"  {ast.unparse(part)}" for part in node.body if isinstance(part, ast.AnnAssign)]
        return "\n".join([f"class {node.name}{bases}", *fields])
    return ast.unparse(node)


def _docstring(node: ast.stmt) -> list[str]:
    has_text = isinstance(node, ast.FunctionDef | ast.ClassDef)
    text = ast.get_docstring(node) if has_text else None
    return ["", text] if text else []
