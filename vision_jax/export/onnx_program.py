"""The whole answer of a trained network as an ONNX model, made by jax2onnx.

jax2onnx turns a traced program into ONNX, operation by operation. It is given the program as traced
beforehand, since it puts functions of its own in the place of JAX's while it traces. It is told
what the operations of this package are in terms of JAX's own.
"""

import functools
import importlib.util
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from vision_jax.config import UserError
from vision_jax.export import onnx_indexing
from vision_jax.export.artifact import ONNX, OnnxArtifact
from vision_jax.export.program import inputs, whole_answer
from vision_jax.ops.conv import IN_JAX
from vision_jax.show.trained import Run

MISSING = (
    "--format onnx needs jax2onnx, which asks for an older Orbax than training does: make an "
    "environment of its own, python3 -m venv .venv-onnx && .venv-onnx/bin/pip install -r "
    "requirements-onnx.txt, and give this command to .venv-onnx/bin/python"
)
INPUTS = ("images", "size", "scale")
# By the names of this package's primitives: functions that compute the same.
_OURS: Mapping[str, Callable[..., Any]] = {**IN_JAX, "materialize": lambda *values: values}
# And those of JAX's that jax2onnx has not, or for some cases only.
_OF_JAX: Mapping[str, Callable[..., Any]] = {
    "gather": onnx_indexing.gather,
    "scatter": onnx_indexing.scatter,
    "scatter-add": functools.partial(onnx_indexing.scatter, reduction="add"),
    "log2": lambda x, accuracy: jnp.log(x) / np.log(2).astype(x.dtype),
}


def export(run: Run, batch: int = 1, size: tuple[int, int] | None = None) -> OnnxArtifact:
    """Makes the ONNX model of a trained network, with its preprocessing beside it.

    Args:
      run, size: see `program.export`.
      batch: images per call. jax2onnx cannot leave it open: its rules make sizes of it, the rule
        of `pad` in nearly every network.

    Raises:
      UserError: jax2onnx is not installed, no trained network, one that has no program of that
        form, or an operation that jax2onnx or ONNX Runtime has not.
    """
    check_installed()
    answer, description = whole_answer(run, batch, size, (ONNX,))
    shapes = inputs(description)
    program, outputs = jax.make_jaxpr(answer, return_shape=True)(*shapes)
    artifact = OnnxArtifact(converted(program, shapes, sorted(outputs)), description)
    artifact.caller()  # it may lack an operation, which it names
    return artifact


def check_installed() -> None:
    """Refuses to begin where jax2onnx is not installed.

    Raises:
      UserError: it is not.
    """
    if importlib.util.find_spec("jax2onnx") is None:
        raise UserError(MISSING)


def converted(program: Any, shapes: Sequence[jax.ShapeDtypeStruct], names: Sequence[str]) -> bytes:
    """Converts a traced program to a serialised ONNX model.

    Args:
      program: of `INPUTS`, by `jax.make_jaxpr`.
      shapes: of these.
      names: of its outputs.

    Raises:
      UserError: operations that jax2onnx has no form for, by name.
    """
    import jax2onnx
    import onnx_ir
    from jax2onnx.plugins.plugin_system import PLUGIN_REGISTRY, import_all_plugins

    import_all_plugins()
    _teach()
    unknown = sorted({*_operations(program.jaxpr)} - {*PLUGIN_REGISTRY})
    if unknown:
        raise UserError(f"this network cannot go to ONNX: jax2onnx has no {', '.join(unknown)}")
    try:
        model = jax2onnx.to_onnx(
            core.jaxpr_as_fun(program),
            inputs=shapes,
            input_names=INPUTS,
            output_names=names,
            return_mode="ir",
        )
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        # They name the operation, or the rule for it that failed.
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"this network cannot go to ONNX: {reason}") from error
    _choose_booleans_by_logic(model.graph)
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # types of inner values can be inferred
    return onnx_ir.to_proto(model).SerializeToString()


def _choose_booleans_by_logic(graph: Any) -> None:
    """Replaces each Where of booleans, which ONNX Runtime has not, by And, Or and Not."""
    import onnx_ir

    nodes = [n for n in onnx_ir.traversal.RecursiveGraphIterator(graph) if n.op_type == "Where"]
    for node in nodes:
        if all(v.dtype != onnx_ir.DataType.BOOL for v in (*node.inputs[1:], *node.outputs)):
            continue
        name, (choice, first, second) = node.outputs[0].name, node.inputs
        other = onnx_ir.node("Not", [choice], name=f"{name}_other")
        one = onnx_ir.node("And", [choice, first], name=f"{name}_one")
        two = onnx_ir.node("And", [other.outputs[0], second], name=f"{name}_two")
        for new in (other, one, two):
            new.outputs[0].name = f"{new.name}_value"
        node.graph.insert_before(node, (other, one, two))
        node.replace_input_with(0, one.outputs[0])
        node.replace_input_with(1, two.outputs[0])
        node.resize_inputs(2)
        node.op_type = "Or"


def _operations(jaxpr: core.Jaxpr) -> Iterator[str]:
    """Yields the names of a program's operations, also of those in loops and branches."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for inner in core.jaxprs_in_params(equation.params):
            yield from _operations(inner)


@functools.cache
def _teach() -> None:
    """Tells jax2onnx what it does not know, or not in all cases."""
    for name, function in {**_OURS, **_OF_JAX}.items():
        _register(name, functools.partial(_inline, function))
    _register(onnx_indexing.TAKE_ROWS.name, _take_rows)
    _register(onnx_indexing.PUT_ROWS.name, _put_rows)


def _register(name: str, rule: Callable[[Any, Any], None]) -> None:
    """Gives jax2onnx a rule, of its context and an equation, for a primitive."""
    from jax2onnx.plugins.plugin_system import PrimitiveLeafPlugin, register_primitive

    class Plugin(PrimitiveLeafPlugin):
        """Calls the rule."""

        def lower(self, ctx: Any, equation: Any) -> None:
            rule(ctx, equation)

    register_primitive(jaxpr_primitive=name, context="vision_jax", component=name)(Plugin)


def _inline(function: Callable[..., Any], ctx: Any, equation: Any) -> None:
    """Puts the operations of a function in the place of a primitive, whose settings it takes."""
    from jax2onnx.plugins.jax.lax._control_flow_utils import lower_jaxpr_eqns

    avals = [v.aval for v in equation.invars]
    closed = jax.make_jaxpr(functools.partial(function, **equation.params))(*avals)
    inner = closed.jaxpr
    for variable, value in zip(inner.constvars, closed.consts, strict=True):
        ctx.bind_const_for_var(variable, np.asarray(value))
    for variable, outer in zip(inner.invars, equation.invars, strict=True):
        ctx.bind_value_for_var(variable, ctx.get_value_for_var(outer))
    lower_jaxpr_eqns(ctx, inner, source=equation.primitive.name)
    for variable, outer in zip(inner.outvars, equation.outvars, strict=True):
        ctx.bind_value_for_var(outer, ctx.get_value_for_var(variable))


def _take_rows(ctx: Any, equation: Any) -> None:
    """Reads rows by Gather."""
    rows, row = (ctx.get_value_for_var(v) for v in equation.invars)
    result = ctx.builder.Gather(rows, row, axis=0, _outputs=[ctx.fresh_name("take_rows")])
    _finish(ctx, equation, result)


def _put_rows(ctx: Any, equation: Any) -> None:
    """Writes rows by ScatterND."""
    import onnx_ir

    rows, row, new = (ctx.get_value_for_var(v) for v in equation.invars)
    to = onnx_ir.DataType.INT64
    wide = ctx.builder.Cast(row, to=to.value, _outputs=[ctx.fresh_name("row_numbers")])
    wide.type, wide.shape = onnx_ir.TensorType(to), row.shape
    reduction, names = equation.params["reduction"], [ctx.fresh_name("put_rows")]
    result = ctx.builder.ScatterND(rows, wide, new, reduction=reduction, _outputs=names)
    _finish(ctx, equation, result)


def _finish(ctx: Any, equation: Any, result: Any) -> None:
    """Makes a value the equation's result, of that type and shape."""
    (variable,) = equation.outvars
    described = ctx.get_value_for_var(variable)
    result.type, result.shape = described.type, described.shape
    ctx.bind_value_for_var(variable, result)
