"""What the documentation mentions is there: paths, links, modules, names and flags."""

import ast
import importlib
import importlib.util
import inspect
import pathlib
import re
import shlex

import numpy as np
import pytest

import launch
from tests.ground import tiny_pictures
from vision_jax import config
from vision_jax.config.lab_record import read_lab_record
from vision_jax.report.figures import PICTURES, TABLES

ROOT = pathlib.Path(__file__).parents[2]
WRITTEN = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "lectures").glob("*.md")),
    *sorted((ROOT / "docs" / "papers").glob("*.md")),
    ROOT / "benchmarks" / "README.md",
]
TOPS = ("vision_jax", "experiments", "tests", "benchmarks", "docs", ".ci")
FOREIGN_MODULES = ("pytest", "venv")
ROOMS = ("data", "evaluation", "export", "inspect", "models")
ROOMS += ("ops", "report", "tasks", "training", "weights")
PLACEHOLDER = "NAME"

CODE = re.compile(r"```(\w*)\n(.*?)```|`([^`\n]+)`", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(rf"(?<![\w./])(?:{'|'.join(map(re.escape, TOPS))})/[\w./-]*\w|^\w+\.py$")
DOTTED = re.compile(r"(?<![\w./])(?:vision_jax|tests|benchmarks)(?:\.[A-Za-z_]\w*)+")
SHORT = re.compile(rf"^(?:{'|'.join(ROOMS)})\.[A-Za-z]\w*$")


def codes(text: str) -> list[str]:
    """Returns everything in code style: inline code, and the lines of blocks."""
    found = []
    for _, block, inline in CODE.findall(text):
        found += block.splitlines() if block else [inline]
    return found


def resolves(name: str) -> bool:
    """Says whether a dotted name is a module, or an attribute that one leads to."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            fields = getattr(found, "__dataclass_fields__", {})
            if part not in fields and not hasattr(found, part):
                return False
            found = getattr(found, part, None)
        return True
    return False


def exists(path: str, beside: pathlib.Path) -> bool:
    """Says whether a path is there; of one with a placeholder, its folder."""
    if PLACEHOLDER in path:
        path = path[: path.index(PLACEHOLDER)].rpartition("/")[0]
    experiments = ROOT / "experiments"
    bases = (ROOT, beside, experiments, experiments / "sweeps")
    return any((base / path).exists() for base in bases)


def heading_links(page: pathlib.Path) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def blocks(language: str) -> list:
    """Returns the blocks of one language in all pages, as parameters of a test."""
    return [
        pytest.param(block, id=f"{page.relative_to(ROOT)}-{number}")
        for page in WRITTEN
        for number, (name, block, _) in enumerate(CODE.findall(page.read_text()))
        if name == language
    ]


def commands() -> list[str]:
    """Returns each launch command of the pages, once."""
    lines = [line for page in WRITTEN for line in codes(page.read_text())]
    starts = (
        line[line.index("python launch.py") :] for line in lines if "python launch.py" in line
    )
    return sorted(set(starts))


pages = pytest.mark.parametrize("page", WRITTEN, ids=lambda p: str(p.relative_to(ROOT)))


@pages
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in heading_links(target), link


FILES = ("csv", "json", "py", "txt", "yaml")  # endings that are no attributes


@pages
def test_paths_are_there(page):
    for code in codes(page.read_text()):
        for path in PATH.findall(code):
            assert exists(path, page.parent), f"{path} in `{code}`"


@pages
def test_names_are_there(page):
    for code in codes(page.read_text()):
        names = DOTTED.findall(code)
        if SHORT.match(code):
            names.append(f"vision_jax.{code}")
        for name in names:
            is_file = name.rpartition(".")[2] in FILES
            assert is_file or resolves(name), f"{name} in `{code}`"


@pages
def test_python_commands_run_what_is_there(page):
    for code in codes(page.read_text()):
        for module in re.findall(r"python3? -m ([\w.]+)", code):
            if module not in FOREIGN_MODULES:
                spec = importlib.util.find_spec(module)
                assert spec is not None, code
                is_package = spec.submodule_search_locations is not None
                assert not is_package or importlib.util.find_spec(f"{module}.__main__"), code
        for script in re.findall(r"python3? ([\w./-]+\.py)", code):
            assert (ROOT / script).exists(), code


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder with the pictures that commands name."""
    folder = tmp_path_factory.mktemp("place")
    tiny_pictures.write(folder)
    for name in ("experiments", "benchmarks"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.mark.parametrize("command", commands(), ids=str)
def test_launch_commands_are_accepted(command, place, monkeypatch):
    """Flags, the experiment, its argument and every setting; the run itself does not start."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")  # as in the job array of docs/sweeps-guide.md
    for placeholder, value in (
        ("HOST:PORT", "h:1"),
        (" N", " 2"),
        (" I", " 1"),
        ("'PATTERN'", "x"),
    ):
        command = command.replace(placeholder, value)
    flags, overrides = launch.parse(shlex.split(command)[2:])
    if flags.config is None:
        assert flags.workdir or flags.list, "a run folder is the model"
        return
    tree = config.load(flags.config)
    for path, value in overrides.items():
        config.override(tree, path, value)


@pytest.mark.parametrize("block", blocks("python"))
def test_python_blocks_name_what_is_there(block):
    """Imports and their attributes exist, and calls pass arguments that are taken."""
    tree = ast.parse(block)
    known = {room: importlib.import_module(f"vision_jax.{room}") for room in ROOMS}
    known["node"] = config.node
    for statement in ast.walk(tree):
        if isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                name = f"{statement.module}.{alias.name}"
                assert resolves(name), name
                module = importlib.import_module(statement.module)
                known[alias.name] = getattr(module, alias.name, None) or importlib.import_module(
                    name
                )
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        called = _object(call.func, known)
        if called is config.node:
            called = _object(call.args[0], known)
        if called is not None:
            taken = inspect.signature(called).parameters
            unknown = {keyword.arg for keyword in call.keywords} - set(taken)
            assert not unknown, f"{ast.unparse(call)}: {unknown}"


def _object(node: ast.expr, known: dict):
    """Returns what a dotted expression in a block stands for; None if the block made it."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Attribute):
        holder = _object(node.value, known)
        if holder is None:
            return None
        assert hasattr(holder, node.attr), ast.unparse(node)
        return getattr(holder, node.attr)
    return None


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 1200


def test_the_readmes_commands_are_those_that_tests_read():
    lines = (ROOT / "README.md").read_text().splitlines()
    marker = lines.index("<!-- tests -->")
    assert lines[marker + 1] == "```bash" and lines[marker + 2].endswith("&& python -m pytest")
    first = next(line for line in lines if line.startswith("python3 -m venv"))
    assert first.endswith("&& python launch.py --config experiments/quickstart.py")


def test_every_guide_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text()
    linked = set(LINK.findall(index))
    missing = {page.name for page in (ROOT / "docs").glob("*.md")} - linked - {"index.md"}
    assert not missing
    for folder in (ROOT / "docs" / "lectures", ROOT / "docs" / "papers"):
        linked = set(LINK.findall((folder / "index.md").read_text()))
        written = {page.name for page in folder.glob("*.md")} - {"index.md"}
        assert written == {link for link in linked if not link.startswith("../")}


def test_every_papers_experiment_is_on_a_page():
    """A student comes from a paper's page to its experiments; guides count, too."""
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "papers").glob("*.md")]
    text = "\n".join(page.read_text() for page in pages)
    records = {file.name: read_lab_record(file) for file in (ROOT / "experiments").glob("*.py")}
    of_papers = {name for name, record in records.items() if "paper" in record.fields}
    assert len(of_papers) > 50
    assert not {name for name in of_papers if not re.search(rf"\b{re.escape(name)}", text)}


def test_a_papers_page_leads_to_code_and_claims():
    made = {f"{name}.png" for name in PICTURES} | {f"{name}.md" for name in TABLES}
    headings = ("What it brought", "The picture", "Equations", "In the code", "Experiments")
    claims = (ROOT / "docs" / "claims.md").read_text()
    for page in (ROOT / "docs" / "papers").glob("*.md"):
        if page.name == "index.md":
            continue
        text = page.read_text()
        for heading in (*headings, "Claims"):
            assert f"\n## {heading}\n" in text, f"{page.name}: {heading}"
        assert re.search(r"\]\(\.\./\.\./vision_jax/[\w/]+\.py\)", text), page.name
        assert set(re.findall(r"`figures/([\w.]+)`", text)) <= made, page.name
        for sweep in re.findall(r"experiments/sweeps/(\w+)\.py", text):
            missing = f"## {sweep}-twin" in claims and f"claims.md#{sweep}-twin" not in text
            assert not missing, f"{page.name}: no link to the claims of {sweep}"
        files = [link for link in LINK.findall(text) if link.endswith(".py")]
        code = "".join((page.parent / file).read_text() for file in files)
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        for names in re.findall(r"`([A-Za-z_][\w.]*)(?:=[^`]*)?`", prose):
            for name in names.split("."):
                assert re.search(rf"\b{name}\b", code), f"{page.name}: {name} is in no file linked"


def test_the_lectures_figures_are_made_by_their_command():
    named = set()
    for page in (ROOT / "docs" / "lectures").glob("*.md"):
        named |= set(re.findall(r"`figures/([\w.]+)`", page.read_text()))
    made = {f"{name}.png" for name in PICTURES} | {f"{name}.md" for name in TABLES}
    assert named <= made, named - made
    assert made <= named, "a figure that no lecture's page names"


@pytest.mark.slow
def test_the_readmes_functions_run():
    (block,) = re.findall(r"```python\n(import jax.*?)```", (ROOT / "README.md").read_text(), re.S)
    names: dict = {}
    exec(compile(block, "README.md", "exec"), names)
    valid = np.asarray(names["detections"].valid)
    assert valid.ndim == 2 and names["outputs"]["anchors"].shape[-1] == 4


@pytest.mark.parametrize("top", ["vision_jax", "experiments", "benchmarks"])
def test_modules_that_code_names_as_commands_are_there(top):
    for file in sorted((ROOT / top).rglob("*.py")):
        for module in re.findall(r"python -m ([a-z_.]*[a-z_])", file.read_text()):
            if module.split(".")[0] in TOPS:
                assert importlib.util.find_spec(module), f"{file}: python -m {module}"
