"""A network as one function of images, with the maps of the parts that it is made of."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.config import UserError
from vision_jax.inspect.programs import Outputs

# Outputs of four axes that are answers, or what answers are read from.
_ANSWERS = ("logits", "deltas", "class", "box", "subnet", "image", "images")


@dataclasses.dataclass(frozen=True, eq=False)  # compared by identity, so that it can be jitted
class Network:
    """A network with its variables: images (b, h, w, c) to a flat dict of arrays.

    The dict has the network's outputs, and the maps that its direct parts return, so that the
    backbone's endpoints are there whether or not the network hands them on. It is evaluated, not
    trained.

    Attributes:
      model, variables: the network.
      others: its arguments after the images, such as a detector's sizes.
    """

    model: nn.Module
    variables: dict[str, Any]
    others: tuple = ()

    def __call__(self, images: Float[Array, "b h w c"]) -> Outputs:
        outputs, state = self.model.apply(
            self.variables,
            images,
            *self.others,
            capture_intermediates=_is_part,
            mutable=["intermediates"],
        )
        arrays = {name: x for name, x in outputs.items() if isinstance(x, jax.Array)}
        return _maps_of_parts(state.get("intermediates", {})) | arrays

    def maps(self, images: Float[Array, "b h w c"]) -> dict[str, tuple[int, int, int]]:
        """Lists the feature maps (b, i, j, d) that it computes: name to (i, j, d), large first.

        Maps of one size are in the order in which they are computed.
        """
        names: list[str] = []

        def listed(x: Array) -> Outputs:
            outputs = self(x)
            names.extend(outputs)  # a dict that leaves a traced function is sorted
            return outputs

        shapes = jax.eval_shape(listed, images)
        maps = {
            name: shapes[name].shape[1:]
            for name in names
            if shapes[name].ndim == 4
            and jnp.issubdtype(shapes[name].dtype, jnp.floating)
            and name.rpartition("_")[2] not in _ANSWERS
        }
        return dict(sorted(maps.items(), key=lambda item: -item[1][0] * item[1][1]))

    def first_convolution(
        self, images: Float[Array, "b h w c"]
    ) -> tuple[str, Float[np.ndarray, "kh kw ci o"]]:
        """Finds the kernel that reads the images: its layer's path, and its values.

        Raises:
          UserError: the network has no convolution.
        """
        paths: list[tuple[str, ...]] = []

        def noted(call: Any, args: tuple, kwargs: dict[str, Any], context: Any) -> Any:
            result = call(*args, **kwargs)
            kernel = context.module.variables.get("params", {}).get("kernel")
            if not paths and kernel is not None and kernel.ndim == 4:
                paths.append(context.module.path)
            return result

        with nn.intercept_methods(noted):
            # A function of its own: what was traced before would not be called again.
            jax.eval_shape(lambda x: self(x), images)
        if not paths:
            raise UserError("the network has no convolution, so it has no filters to show")
        kernel = self.variables["params"]
        for name in paths[0]:
            kernel = kernel[name]
        return "/".join(paths[0]), np.asarray(kernel["kernel"], np.float32)


def _is_part(module: nn.Module, method: str) -> bool:
    return len(module.path) == 1 and method == "__call__"


def _maps_of_parts(intermediates: dict[str, Any]) -> Outputs:
    """Names the maps that parts return: an endpoint by its own name, a single map by its part's.

    Of a part that is called several times, such as a head on each level, the first call counts.
    """
    maps: Outputs = {}
    for part, calls in intermediates.items():
        first = calls["__call__"][0]
        if isinstance(first, dict):
            maps |= {name: x for name, x in first.items() if isinstance(x, jax.Array)}
        elif isinstance(first, tuple):
            maps |= {f"{part}_{i}": x for i, x in enumerate(first) if isinstance(x, jax.Array)}
        elif isinstance(first, jax.Array):
            maps[part] = first
    return maps
