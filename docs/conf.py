"""The documentation as a site, by Sphinx and MyST.

python -m sphinx -W --keep-going -c docs . build/site

The sources are the repository's own pages, whose links lead to files beside them; so the source
folder is the root, and all but the pages is left out.
"""

import pathlib
import re
import sys

from sphinx.application import Sphinx

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))
import mathml  # noqa: E402 - beside this file, which is no module of a package
from reference import reference  # noqa: E402
from sources import link_sources, write_sources  # noqa: E402

INDEX, REFERENCE = "docs/index", "docs/api"
FOLDERS = ("docs/lectures/index", "docs/papers/index")
LINK = re.compile(r"\]\(([^)#\s:]+\.md)\)")

project = html_title = "vision_jax"
root_doc = INDEX
extensions = ["myst_parser"]
include_patterns = ["*.md", "docs/**", "benchmarks/README.md"]
exclude_patterns = ["docs/notebooks", ".*", "build", "data", "experiments", "runs", "tests"]
html_theme = "furo"
myst_heading_anchors = 4  # as GitHub makes them
myst_enable_extensions = ["dollarmath"]
html_math_renderer = mathml.NAME


def add_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Appends what the side bar shows: the pages that an index links to, each once."""
    if name not in (INDEX, *FOLDERS):
        return
    folder = (ROOT / name).parent
    files = [(folder / link).resolve() for link in dict.fromkeys(LINK.findall(source[0]))]
    if name == INDEX:
        files.append(ROOT / "CHANGELOG.md")
    else:
        files = [file for file in files if file.parent == folder]
    pages = [f"/{file.relative_to(ROOT).with_suffix('').as_posix()}" for file in files]
    source[0] += "\n".join(["\n```{toctree}", ":hidden:", *pages, "```\n"])


def add_reference(app: Sphinx, name: str, source: list[str]) -> None:
    """Appends the public names to the page that is made for them."""
    if name == REFERENCE:
        source[0] += reference(ROOT)


def setup(app: Sphinx) -> None:
    """Connects what is added to pages; called by Sphinx."""
    app.connect("source-read", add_contents)
    app.connect("source-read", add_reference)
    # Before Sphinx collects linked files as downloads, by listeners of the usual priority, 500.
    app.connect("doctree-read", link_sources, priority=400)
    app.connect("build-finished", write_sources)
    app.add_html_math_renderer(mathml.NAME, (mathml.inline, None), (mathml.block, None))
