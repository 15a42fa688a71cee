"""A published network, ready to answer."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from vision_jax.config import UserError
from vision_jax.weights import zoo
from vision_jax.weights.loading import load
from vision_jax.weights.restoring import Tree


class Pretrained(NamedTuple):
    """A published network.

    Fields:
      model: in the publisher's configuration.
      variables: {'params': …, 'batch_stats': …}.
      prepare: from pictures to the network's images, as the publisher makes them.
    """

    model: nn.Module
    variables: Tree
    prepare: zoo.Preprocessing


def pretrained(name: str) -> Pretrained:
    """Makes a published network with its weights, which are fetched at the first call.

        model, variables, prepare = weights.pretrained("torchvision/resnet50-0676ba61")
        prepared = prepare(["cat.jpg"])
        logits = model.apply(variables, prepared.images)["logits"]

    A detector is called with `prepared.images, prepared.sizes`, and `prepared.boxes_in_picture`
    brings its boxes back.

    Args:
      name: of the zoo, see `python -m vision_jax.weights list`.

    Raises:
      UserError: an unknown name, a file of a part of a network, or one that cannot be fetched.
    """
    entry = zoo.find(name)
    if entry.preprocessing is None:
        raise UserError(
            f"{name} is a part of a network, which only starts a training: name it as "
            "--config.init.weights, or read it with weights.load"
        )
    model = entry.network()
    variables = jax.tree.map(jnp.asarray, load(name, model))
    return Pretrained(model, variables, entry.preprocessing)
