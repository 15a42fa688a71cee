"""Named variants of a network: its constructor with some of the arguments fixed."""

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, TypeVar, no_type_check

Made = TypeVar("Made")


@no_type_check  # a checker's wrapper would stand between it and the module that calls it
def variant(name: str, make: Callable[..., Made], doc: str, /, **fixed: Any) -> Callable[..., Made]:
    """Makes the function `name`, which calls `make` with the arguments `fixed`.

    It is a function as if it were written out: with its name, docstring and a signature that holds
    the arguments which are left, so that configs, `help` and `pickle` know it.

    Args:
      name: of the variable, in the calling module, that the result is assigned to.
      make: the network's constructor.
      doc: the docstring; `make`'s describes the arguments.
      **fixed: arguments of `make`, by name.

    Raises:
      TypeError: `make` does not take one of them.
    """
    signature = inspect.signature(make)
    signature.bind_partial(**fixed)

    @functools.wraps(make)
    def variant_of(*args: Any, **kwargs: Any) -> Made:
        return make(**fixed, **left.bind(*args, **kwargs).arguments)

    parameters = [p for p in signature.parameters.values() if p.name not in fixed]
    left = signature.replace(parameters=parameters)
    variant_of.__signature__ = left
    variant_of.__name__ = variant_of.__qualname__ = name
    variant_of.__module__ = sys._getframe(1).f_globals["__name__"]
    variant_of.__doc__ = doc
    variant_of.__annotations__ = {
        key: hint for key, hint in make.__annotations__.items() if key not in fixed
    }
    del variant_of.__wrapped__
    return variant_of
