"""A network's first variables, drawn apart from the network."""

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.interpreters import partial_eval
from jaxtyping import Array, Key

from vision_jax.config import UserError
from vision_jax.ops import initializers
from vision_jax.ops.initializers import Distribution

Variables = dict[str, Any]
Plan = tuple[Distribution, tuple[int, ...]] | None  # what a variable is drawn from, if from any


def init(model: nn.Module, key: Key[Array, ""], *inputs: Any) -> Variables:
    """Makes a network's first variables, without compiling a large program.

    The network is traced for its shapes alone. Its distributions are drawn on the host, from the
    keys that `model.init` gives them, by a few small programs that all networks share; the bits
    are the same beside any accelerator, and `model.init`'s but for their last.

    Args:
      model: the network.
      key: all of the initialisation derives from it.
      *inputs: the network's arguments, arrays or only their shapes, and numbers that are not
        traced; or, alone, the side of square colour images in pixels, or
        (height, width).

    Returns:
      `params` and further collections, on the default device.

    Raises:
      UserError: a side alone does not tell what the network is to be given, or shapes do not tell
        a variable.
    """
    if len(inputs) == 1 and isinstance(inputs[0], int | tuple):
        inputs = _for_images(model, *np.broadcast_to(inputs[0], 2).tolist())
    if isinstance(key, jax.core.Tracer):
        traced: Variables = model.init(key, *inputs)
        return traced
    with jax.default_device(_host()):
        key = jax.device_put(key, _host())
        treedef, plan, outputs = _traced(model, key, inputs)
        given = iter(outputs)
        started = [_start(planned, given) for planned in plan]
        leaves = map(_finish, plan, started)
    variables: Variables = jax.tree.unflatten(treedef, [jnp.asarray(leaf) for leaf in leaves])
    return variables


def _for_images(model: nn.Module, height: int, width: int) -> tuple[jax.Array, ...]:
    """Makes the arguments of a network that sees images of one size."""
    known = {
        "sizes": jnp.array([[height, width]], jnp.float32),
        "tokens": jnp.zeros((1, 2), jnp.int32),
    }
    _, *others = inspect.signature(model.__call__).parameters.values()
    needed = [p.name for p in others if p.default is p.empty]
    if unknown := [name for name in needed if name not in known]:
        network = type(model).__name__
        raise UserError(f"init: {network} needs {', '.join(unknown)}; give all its inputs")
    return jnp.zeros((1, height, width, 3)), *(known[name] for name in needed)


def _host() -> jax.Device | None:
    """Returns the host's processor, or None if JAX was told to do without it."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None


def _traced(
    model: nn.Module, key: jax.Array, inputs: Sequence[Any]
) -> tuple[Any, list[Plan], list[jax.Array | np.ndarray]]:
    """Traces a network's `init`.

    Returns:
      The tree of its variables; for each what it is drawn from, and its shape, or None; and
      computed, in order, the variables of None, and the keys of those that are drawn.
    """
    given, structure = jax.tree.flatten(inputs)
    arrays = [i for i, x in enumerate(given) if not isinstance(x, bool | int | float)]
    found: list[Any] = []

    def trace(key, images):
        leaves = list(given)
        for i, image in zip(arrays, images, strict=True):
            leaves[i] = image
        with initializers.asked() as requests:
            variables = model.init(key, *jax.tree.unflatten(structure, leaves))
        # What a network was given is the very object that it returns, unless it has changed it.
        known = {id(request.value): request for request in requests}
        leaves, treedef = jax.tree.flatten(variables)
        chosen = [known.get(id(leaf)) for leaf in leaves]
        found.append((treedef, [r and (r.distribution, r.shape) for r in chosen]))
        pairs = zip(leaves, chosen, strict=True)
        return [leaf if r is None else r.key for leaf, r in pairs if _is_computed(r)]

    images = [given[i] for i in arrays]
    shapes = [jax.ShapeDtypeStruct(image.shape, image.dtype) for image in images]
    closed = jax.make_jaxpr(trace)(key, shapes)
    (treedef, plan), *_ = found
    count = len(closed.jaxpr.outvars)
    needed, used = partial_eval.dce_jaxpr(closed.jaxpr, [True] * count)
    values = [value for value, is_used in zip([key, *images], used, strict=True) if is_used]
    if any(isinstance(value, jax.ShapeDtypeStruct) for value in values):
        network = type(model).__name__
        raise UserError(f"init: variables of {network} depend on its inputs; give arrays")
    run = jax.extend.core.jaxpr_as_fun(jax.extend.core.ClosedJaxpr(needed, closed.consts))
    return treedef, plan, run(*values)


def _is_computed(request: initializers.Request | None) -> bool:
    return request is None or request.distribution.kind != "constant"


def _start(planned: Plan, given: Any) -> Any:
    """Begins to make a variable from what was planned for it, and the next of what was computed."""
    if planned is None:
        return next(given)
    distribution, shape = planned
    factor = distribution.factor(shape)
    if distribution.kind == "constant":
        return np.full(shape, factor)
    room = _room(math.prod(shape))
    return _program()(distribution.kind, room, next(given), factor)


def _finish(planned: Plan, drawn: Any) -> Any:
    # A NumPy array, so that the variables are bound to no device.
    drawn = np.asarray(drawn)
    if planned is None or planned[0].kind == "constant":
        return drawn
    shape = planned[1]
    return drawn[: math.prod(shape)].reshape(shape)


@functools.cache
def _program() -> Callable:
    # Products and sums that are optimised to one operation round differently from host to host.
    options = {"xla_backend_optimization_level": 0} if _host() else None
    return jax.jit(
        lambda kind, count, key, factor: initializers.draw(kind, (count,), key, factor),
        static_argnums=(0, 1),
        compiler_options=options,
    )


def _room(count: int) -> int:
    """Returns a number, count or above, such that there are few of them.

    They are the powers of four up to a million, and two in each doubling beyond.
    """
    if count <= 1 << 20:
        return 1 << max(14, 2 * -(-(count - 1).bit_length() // 2))
    step = 1 << (count.bit_length() - 2)
    return -(-count // step) * step
