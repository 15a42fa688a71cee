"""The lectures' tables of networks: memory, parameters, receptive fields, savings.

Every number is read from a network of this package by tracing it; nothing is run.
"""

import dataclasses
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vision_jax import models
from vision_jax.inspect import receptive_field, summarize
from vision_jax.models.classifiers.googlenet import TABLE, Inception
from vision_jax.models.layers import Conv
from vision_jax.visualize.grids import beside, grid

_MILLION = 1e6
# The classifiers of the lectures, each with the side of its images.
CLASSIFIERS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "AlexNet": (models.AlexNet2014, 224),
    "ZFNet": (models.ZFNet, 224),
    "VGG-11": (models.VGG11, 224),
    "VGG-16": (models.VGG16, 224),
    "VGG-19": (models.VGG19, 224),
    "GoogLeNet": (models.GoogLeNet2014, 224),
    "Inception v3": (models.InceptionV3, 299),
    "ResNet-18": (models.ResNet18, 224),
    "ResNet-34": (models.ResNet34, 224),
    "ResNet-50": (models.ResNet50, 224),
    "ResNet-101": (models.ResNet101, 224),
    "ResNet-152": (models.ResNet152, 224),
    "MobileNet v1": (models.MobileNetV1, 224),
    "MobileNet v2": (models.MobileNetV2, 224),
}


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of a lecture.

    Attributes:
      title: a headline.
      head: names of its columns.
      rows: cells as text, as many in each as in the head.
      note: a paragraph below it.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """Returns it as Markdown; numbers stand to the right."""
        rule = ["---", *["---:"] * (len(self.head) - 1)]
        lines = [f"| {' | '.join(cells)} |" for cells in (self.head, rule, *self.rows)]
        return "\n".join([f"# {self.title}\n", *lines, f"\n{self.note}"]).rstrip() + "\n"


def vgg_memory() -> Table:
    """Counts VGG-16's activations and parameters, layer by layer, for an image of 224×224."""
    names = []
    for stage, depth in enumerate((2, 2, 3, 3, 3), 1):
        names += [*(f"conv{stage}_{number}" for number in range(1, depth + 1)), f"pool{stage}"]
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    backbone = models.VGG(keep=tuple(name for name in names if name.startswith("conv")))
    variables = jax.eval_shape(backbone.init, jax.random.key(0), image)
    maps = jax.eval_shape(backbone.apply, variables, image)
    shapes = {"input": image.shape[1:], **{name: maps[name].shape[1:] for name in names}}
    counts: dict[str, int] = {}
    for layer in summarize(models.VGG16(), image).layers:
        name = layer.path.split("/")[1]
        counts[name] = counts.get(name, 0) + layer.parameters
        if layer.path.startswith("head/") and layer.parameters:
            shapes[name] = layer.output[1:]
    rows = [
        ("×".join(map(str, shape)), name, int(np.prod(shape)), counts.get(name, 0))
        for name, shape in shapes.items()
    ]
    values, parameters = (sum(row[i] for row in rows) for i in (2, 3))
    cells = [(name, size, f"{n:,}", f"{4 * n:,}", f"{p:,}") for size, name, n, p in rows]
    total = ("total", "", f"{values:,}", f"{4 * values:,}", f"{parameters:,}")
    note = (
        f"Together {parameters / _MILLION:.0f} M parameters, biases included, and"
        f" {values / _MILLION:.1f} M values of 4 bytes each: {4 * values / _MILLION:.0f} MB for one"
        " image, forward. Most memory is in the first convolutions, most parameters in the first"
        " fully connected layer. One lecture gives 24 M values as the total, which is more than"
        " its rows add up to."
    )
    head = ("layer", "output", "values", "bytes", "parameters")
    return Table("VGG-16: memory and parameters", head, (*cells, total), note)


class _Convolutions(nn.Module):
    """Square convolutions one after the other, without biases.

    Fields:
      kernels: their sides.
      features: their channels.
    """

    kernels: tuple[int, ...]
    features: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        for number, (kernel, features) in enumerate(zip(self.kernels, self.features, strict=True)):
            name = f"conv{number}"
            x = Conv(features, kernel, padding=kernel // 2, use_bias=False, name=name)(x)
        return {"output": x}


def small_filters(side: int = 56, depth: int = 64) -> Table:
    """Compares filters that see as much: one 7×7, three 3×3, and a bottleneck of 1×1."""
    kinds = {
        "one 7×7": ((7,), (depth,)),
        "three 3×3": ((3, 3, 3), (depth,) * 3),
        "one 5×5": ((5,), (depth,)),
        "two 3×3": ((3, 3), (depth,) * 2),
        "one 3×3": ((3,), (depth,)),
        "1×1, 3×3, 1×1 at half the depth": ((1, 3, 1), (depth // 2, depth // 2, depth)),
    }
    image = jax.ShapeDtypeStruct((1, side, side, depth), jnp.float32)
    rows = []
    for name, (kernels, features) in kinds.items():
        model = _Convolutions(kernels, features)
        cost = summarize(model, image)
        seen, _ = receptive_field.theoretical(model, (side, side, depth))["output"].size
        share = cost.parameters / depth**2
        cells = (f"{seen}×{seen}", f"{cost.parameters:,}", f"{share:g} D²")
        rows.append((name, *cells, f"{cost.multiply_adds:,}"))
    head = ("layers", "sees", "parameters", "in D", f"multiply-adds, {side}×{side}")
    note = f"D = {depth} channels in and out, stride 1, padding that keeps the size, no biases."
    return Table("Small filters", head, tuple(rows), note)


def resolutions(side: int = 224) -> Table:
    """Counts VGG-16's convolutions at the image's resolution throughout, and with its pooling."""
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    kernels = [kernel for stage in models.VGG().kernels for kernel in stage]
    widths = [min(64 << stage, 512) for stage, own in enumerate(models.VGG().kernels) for _ in own]
    kinds = {
        "VGG-16's convolutions, all at the image's size": _Convolutions(
            tuple(kernels), tuple(widths)
        ),
        "VGG-16's convolutions, with pooling": models.VGG(),
        "SegNet: the same, and as many on the way up": models.SegNet(num_classes=21),
    }
    rows = []
    for name, model in kinds.items():
        cost = summarize(model, image)
        rows.append((name, f"{cost.parameters:,}", f"{cost.multiply_adds / _MILLION:,.0f} M"))
    head = ("network", "parameters", f"multiply-adds, {side}×{side}")
    note = "All three can answer for each pixel; the second at a stride of 32 alone."
    return Table("What the resolution costs", head, tuple(rows), note)


def receptive_fields() -> Table:
    """Computes what a pixel of each of VGG-16's and AlexNet's maps sees, and their strides."""
    rows = []
    for name, model in (("AlexNet", models.AlexNet2014()), ("VGG-16", models.VGG16())):
        for endpoint, field in receptive_field.theoretical(model.backbone, (224, 224, 3)).items():
            (seen, _), (stride, _) = field.size, field.stride
            if seen is not None:
                rows.append((f"{name} {endpoint}", f"{seen}×{seen}", str(stride)))
    return Table("Receptive fields", ("map", "sees", "stride"), tuple(rows))


def inception_savings() -> Table:
    """Compares GoogLeNet's modules with and without 1×1 reductions, in multiply-adds."""
    rows, channels, side, totals = [], 192, 28, np.zeros(2)
    for name, widths in TABLE.items():
        side = {"inception4a": 14, "inception5a": 7}.get(name, side)
        image = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)
        kinds = [Inception(widths, naive=naive, kernel=5) for naive in (True, False)]
        costs = [summarize(kind, image).multiply_adds for kind in kinds]
        outputs = [_channels(kind, image) for kind in kinds]
        totals += costs
        millions = [f"{cost / _MILLION:.0f} M" for cost in costs]
        saved = f"{1 - costs[1] / costs[0]:.0%}"
        rows.append((name, f"{side}×{side}×{channels}", *millions, saved, *map(str, outputs)))
        channels = outputs[1]
    whole = [f"{total / _MILLION:.0f} M" for total in totals]
    rows.append(("together", "", *whole, f"{1 - totals[1] / totals[0]:.0%}", "", ""))
    head = ("module", "input", "naive", "reduced", "saved", "naive channels", "channels")
    note = "The lectures say that 1×1 reductions save about 60 % of the computations."
    return Table("Inception: what 1×1 convolutions save", head, tuple(rows), note)


def costs(classifiers: Mapping[str, tuple[Callable[[], nn.Module], int]] = CLASSIFIERS) -> Table:
    """Counts parameters, multiply-adds and activations of classifiers of 1,000 classes."""
    rows = []
    for name, (make, side) in classifiers.items():
        image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
        cost = summarize(make(), image)
        cells = (cost.parameters / _MILLION, cost.multiply_adds / _MILLION)
        rows.append((name, f"{side}×{side}", f"{cells[0]:.1f} M", f"{cells[1]:,.0f} M"))
    note = "Parameters include heads that only training uses."
    head = ("network", "image", "parameters", "multiply-adds")
    return Table("Classifiers", head, tuple(rows), note)


def stacked_filters(layers: int = 3) -> np.ndarray:
    """Draws how many ways lead from each pixel to one response of stacked 3×3 convolutions."""
    pictures = []
    ways = np.ones((1, 1))
    for number in range(1, layers + 1):
        wider = np.zeros((ways.shape[0] + 2,) * 2)
        for row, column in np.ndindex(3, 3):
            wider[row : row + ways.shape[0], column : column + ways.shape[1]] += ways
        ways = wider
        side = ways.shape[0]
        plural = "layers" if number > 1 else "layer"
        pictures.append(grid(ways, np.zeros(ways.shape, int), f"{number} {plural}: {side}×{side}"))
    title = "ways from each pixel to one response of 3×3 convolutions"
    return beside(pictures, ["→"] * (layers - 1), title)


def _channels(model: nn.Module, image: jax.ShapeDtypeStruct) -> int:
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    return jax.eval_shape(model.apply, variables, image).shape[-1]


TABLES: dict[str, Callable[[], Table]] = {  # by the name of the file
    "vgg16_memory": vgg_memory,
    "small_filters": small_filters,
    "resolutions": resolutions,
    "receptive_fields": receptive_fields,
    "inception_savings": inception_savings,
    "classifiers": costs,
}
