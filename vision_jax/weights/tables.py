"""Which tables there are for which network, by the class name of its trunk."""

from typing import Any

from vision_jax.config import UserError
from vision_jax.weights import akamaster, torchvision
from vision_jax.weights.engine import Table

TABLES: dict[str, tuple[Table, ...]] = {
    "ResNet": (Table("torchvision", torchvision.resnet),),
    "ResNetCifar": (Table("akamaster", akamaster.resnet_cifar),),
}


def tables_for(model: Any) -> tuple[Table, ...]:
    """The tables of a network.

    Raises:
      UserError: there are none.
    """
    for part in (model, getattr(model, "trunk", None)):
        if type(part).__name__ in TABLES:
            return TABLES[type(part).__name__]
    name = type(getattr(model, "trunk", model)).__name__
    raise UserError(f"no weights table for {name} - known: {', '.join(sorted(TABLES))}")
