"""Pages of source files, so that a click leads from a name in the text to its lines."""

import ast
import functools
import html
import pathlib
import re

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from sphinx import addnodes
from sphinx.application import Sphinx

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = "code"  # of the site
PATH = re.compile(r"(?:vision_jax|experiments|benchmarks|tests)/[\w/]+\.py")
NAME = re.compile(r"([A-Za-z_][\w.]*)(?:=.*|\(.*\))?")
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{file}</title>
<link rel="stylesheet" href="{root}_static/pygments.css">
<style>body {{ font: 15px sans-serif; margin: 1.5em }} :target + a {{ background: #fd6 }}</style>
</head><body><p><a href="{root}docs/index.html">vision_jax</a> · {file}</p>{code}</body></html>
"""
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def link_sources(app: Sphinx, tree: nodes.document) -> None:
    """Links a page's mentions of Python files, and of what these define, to pages of the files.

    A name is looked up in the file that is linked next after it, then in the others of the page.
    """
    links = [
        (link, file)
        for link in list(tree.findall(addnodes.download_reference))
        if (file := _file(app, link["reftarget"]))
    ]
    literals = [x for x in tree.findall(nodes.literal) if not isinstance(x.parent, nodes.reference)]
    order = {id(node): number for number, node in enumerate(tree.findall())}
    for literal in literals:
        text = literal.astext()
        if mentioned := [path for path in PATH.findall(text) if (ROOT / path).is_file()]:
            _link(app, literal, mentioned[0])
        elif name := NAME.fullmatch(text):
            place = order[id(literal)]
            following = [file for link, file in links if order[id(link)] > place]
            for file in dict.fromkeys([*following[:1], *(file for _, file in links)]):
                if line := definitions(ROOT / file).get(name[1]):
                    _link(app, literal, file, line)
                    break
    for link, file in links:
        _link(app, link, file)


def write_sources(app: Sphinx, error: Exception | None) -> None:
    """Writes a page for each file that a page of the site leads to, after all others.

    They are plain, without the theme and its side bar; the line that a link leads to is marked.
    """
    look = HtmlFormatter(linenos="inline", lineanchors="L", anchorlinenos=True)
    files = {file for files in _noted(app).values() for file in files}
    for file in sorted(files) if error is None else ():
        page = pathlib.Path(app.outdir, FOLDER, f"{file[:-3]}.html")
        page.parent.mkdir(parents=True, exist_ok=True)
        code = highlight((ROOT / file).read_text(), PythonLexer(), look)
        root = "../" * (file.count("/") + 1)
        page.write_text(PAGE.format(file=html.escape(file), root=root, code=code))


@functools.cache
def definitions(file: pathlib.Path) -> dict[str, int]:
    """Returns the line of each name that a file defines, also of methods and fields.

    Those of classes are there as `Class.name`, and alone where nothing else has that name.
    """
    found: dict[str, int] = {}
    inner: dict[str, list[int]] = {}
    for node in ast.parse(file.read_text()).body:
        for name in _names(node):
            found[name] = node.lineno
        for part in node.body if isinstance(node, ast.ClassDef) else ():
            for name in _names(part):
                found[f"{node.name}.{name}"] = part.lineno
                inner.setdefault(name, []).append(part.lineno)
    return {name: lines[0] for name, lines in inner.items() if len(lines) == 1} | found


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _file(app: Sphinx, target: str) -> str | None:
    """Returns the Python file that a link of the current page leads to, seen from the root."""
    page = ROOT / app.env.docname
    where = ROOT / target[1:] if target.startswith("/") else page.parent / target
    where = where.resolve()
    is_source = where.suffix == ".py" and where.is_file() and where.is_relative_to(ROOT)
    return where.relative_to(ROOT).as_posix() if is_source else None


def _link(app: Sphinx, node: nodes.Element, file: str, line: int | None = None) -> None:
    """Puts a link to a file's page, or a line of it, in a node's place, around what it shows."""
    _noted(app).setdefault(app.env.docname, set()).add(file)
    place = app.builder.get_relative_uri(app.env.docname, f"{FOLDER}/{file[:-3]}")
    shown = node.children if isinstance(node, addnodes.download_reference) else [node.deepcopy()]
    link = nodes.reference(
        "", "", *shown, internal=True, refuri=place + (f"#L-{line}" if line else "")
    )
    node.replace_self(link)


def _noted(app: Sphinx) -> dict[str, set[str]]:
    """Returns the files that each page leads to; kept between builds, as pages are."""
    return app.env.__dict__.setdefault("source_files", {})
