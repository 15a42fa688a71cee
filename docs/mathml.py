"""Equations as MathML, which browsers draw by themselves: a page loads nothing from elsewhere."""

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

NAME = "mathml"


def inline(writer: HTML5Translator, node: nodes.math) -> None:
    """Writes an equation within a line."""
    writer.body.append(f'<span class="math">{_mathml(node, as_block=False)}</span>')
    raise nodes.SkipNode


def block(writer: HTML5Translator, node: nodes.math_block) -> None:
    """Writes an equation with lines of its own, which can be moved where it is too wide."""
    equation = _mathml(node, as_block=True)
    writer.body.append(f'<div class="math" style="overflow-x: auto">{equation}</div>\n')
    raise nodes.SkipNode


def _mathml(node: nodes.Element, as_block: bool) -> str:
    try:
        return latex2mathml.tex2mathml(node.astext(), as_block=as_block)
    except MathError as error:
        logging.getLogger(__name__).warning("equation: %s", error, location=node)
        return ""
