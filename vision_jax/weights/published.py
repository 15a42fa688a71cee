"""A published network, ready to answer, or to be trained on."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from vision_jax.config import UserError, override
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
    model, prepare = _whole(name)
    return Pretrained(model, jax.tree.map(jnp.asarray, load(name, model)), prepare)


def use_published(config: ConfigDict, name: str) -> None:
    """Puts a published network into an experiment, with its weights and the colours that it reads.

    An experiment's own network is often another form of it, for which the same names fit.

    Args:
      config: of an experiment on the network's task; changed in place.
      name: of the zoo.

    Raises:
      UserError: see `pretrained`.
    """
    model, prepare = _whole(name)
    override(config, "task.model", model)
    override(config, "task.mean", prepare.mean)
    override(config, "task.std", prepare.std)
    override(config, "init.weights", name)
    override(config, "init.reinitialize", None)
    override(config, "expect", None)  # the number is of the experiment's own network


def _whole(name: str) -> tuple[nn.Module, zoo.Preprocessing]:
    """Returns a row's network and preprocessing.

    Raises:
      UserError: an unknown name, or a file of a part of a network.
    """
    entry = zoo.find(name)
    if entry.preprocessing is None:
        raise UserError(
            f"{name} is a part of a network, which only starts a training: name it as "
            "--config.init.weights, or read it with weights.load"
        )
    return entry.network(), entry.preprocessing
