"""The loss networks of style transfer and super-resolution, and how their losses are set up."""

from ml_collections import ConfigDict

from vision_jax import data, models, tasks
from vision_jax.config import UserError, node, suggest
from vision_jax.models.classifiers.vgg import CONFIGURATIONS
from vision_jax.tasks import CAFFE_MEAN, CAFFE_STD, IMAGENET_MEAN, IMAGENET_STD
from vision_jax.training import optimizer, schedule
from vision_jax.weights import hed

RANDOM = "random"
# By the option `network`: VGG's configuration, the zoo's name of its weights, what it sees.
NETWORKS = {
    "vgg16": ("D", "torchvision/vgg16-397923af", (IMAGENET_MEAN, IMAGENET_STD)),
    "vgg19": ("E", "torchvision/vgg19-dcbb9e9d", (IMAGENET_MEAN, IMAGENET_STD)),
    "hed": ("D", hed.NAME, (CAFFE_MEAN, CAFFE_STD)),
    RANDOM: ("D", "", (IMAGENET_MEAN, IMAGENET_STD)),  # untrained
}
GATYS = tuple((f"conv{stage}_1", 0.2) for stage in range(1, 6))
JOHNSON = tuple((name, 0.25) for name in ("conv1_2", "conv2_2", "conv3_3", "conv4_3"))
SMOKE_SIDE = 64  # pixels of a smoke's images


def known(name: str) -> str:
    """Returns the name of a loss network; refuses others.

    Raises:
      UserError: naming those that there are.
    """
    if name not in NETWORKS:
        raise UserError(f"network={name!r}{suggest(name, NETWORKS)}")
    return name


def weights(name: str) -> str | None:
    """Returns the name of a loss network's weights, of the zoo or of a package.

    It is None for the untrained one, whose maps know colours and textures, and no things.
    """
    return NETWORKS[name][1] or None


def loss_network(name: str, pool: str, smoke: bool) -> ConfigDict:
    """Makes the node of a VGG that gives all of its layers; a narrow one in a smoke."""
    kernels = CONFIGURATIONS[NETWORKS[name][0]]
    layers = tuple(
        f"conv{stage}_{i}"
        for stage, convolutions in enumerate(kernels, start=1)
        for i in range(1, len(convolutions) + 1)
    )
    return node(models.VGG, kernels=kernels, pool=pool, keep=layers, width=4 if smoke else 64)


def loss_in(name: str, content: tuple, style: tuple, form: str) -> ConfigDict:
    """Makes the node of a loss in the maps of a loss network."""
    mean, std = NETWORKS[name][2]
    return node(tasks.Perceptual, content=content, style=style, form=form, mean=mean, std=std)


def pictures(text: str, side: int) -> tuple[ConfigDict, ...]:
    """Makes the nodes of style pictures, of a text of files with semicolons between them.

    Args:
      text: 'a.jpg;b.jpg'.
      side: pixels of the longer side; 0 leaves pictures as they are.

    Raises:
      UserError: a picture that is not there.
    """
    names = [name.strip() for name in text.replace('"', "").split(";") if name.strip()]
    for name in names:
        if not data.place(name).is_file():
            raise UserError(f"style={name!r}: no such file")
    return tuple(node(data.Picture, file=name, side=side) for name in names)


def adam(rate: float) -> ConfigDict:
    """Makes Adam at a constant rate, for the network beside a frozen loss network."""
    return node(
        optimizer.Optimizer,
        rule=node(optimizer.AdamW),
        schedule=node(schedule.Constant, value=rate),
        trainable=("network/.*",),
    )
