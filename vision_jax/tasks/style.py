"""Style transfer: a network that repaints any picture, or one picture that is optimised."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from vision_jax.config import SettingError, one_of, within
from vision_jax.ops import style
from vision_jax.structs import Batch, Terms
from vision_jax.tasks.perceptual import Grams, MakesImages, Maps, Perceptual
from vision_jax.tasks.task import Variables

VARIATIONS = ("l1_mean", "l2_sum", "l2_common")
_TARGETS = "targets"  # the collection of what losses compare with


@runtime_checkable
class Picture(Protocol):
    """A picture of the user's, such as `data.Picture`."""

    def read(self) -> Float[np.ndarray, "h w 3"]:
        """Returns its pixels, RGB in 0..255."""


@runtime_checkable
class Completed(Protocol):
    """A task whose variables depend on weights that were loaded, and perhaps on the data."""

    def complete(self, variables: Variables, first: Callable[[], Batch]) -> Variables:
        """Computes what `init` could only reserve.

        Args:
          variables: on the host, as `init` makes them, with the weights that a run starts from.
          first: reads the run's first batch.
        """


@dataclasses.dataclass(frozen=True)
class Style(MakesImages):
    """A network that repaints pictures in a style, trained by perceptual losses (Johnson 2016).

    Terms of the loss, each the mean over images: 'content', the distance of the maps of what the
    network makes from those of what it was given; 'style', that of the Gram matrices from the style
    pictures'; 'variation', the total variation. The loss network stays as it is: an optimizer needs
    trainable=('network/.*',).

    Attributes:
      model: a `models.WithLossNetwork`.
      loss_in: how images are compared.
      styles: the style pictures. Of several, Gram matrices are averaged: what a sum of losses would
        lead to as well.
      shares: the part of each style, which are scaled to the sum of 1; () are equal ones.
      style_weight, content_weight: factors of the losses.
      variation: factor of the total variation of pixels in 0..255; 0 is off.
      variation_form: how it is measured; see `ops.style.total_variation`.
      colors: 'style', as the network makes them; or 'content', the given picture's chroma and the
        made one's luma, in the answers alone (Gatys et al. 2016, arXiv:1606.05897, section 4.2).
      mean, std, augment: see `MakesImages`.

    Raises:
      UserError: no style, shares that do not fit, another form or colours, a negative factor.
    """

    loss_in: Perceptual = Perceptual()
    styles: tuple[Picture, ...] = ()
    shares: tuple[float, ...] = ()
    style_weight: float = 1.0
    content_weight: float = 1.0
    variation: float = 0.0
    variation_form: str = "l2_sum"
    colors: str = "style"

    known_colors: ClassVar[tuple[str, ...]] = ("style", "content")

    def __post_init__(self):
        one_of(self, variation_form=VARIATIONS, colors=self.known_colors)
        within(self, "[0, inf)", "style_weight", "content_weight", "variation", "shares")
        if not self.styles:
            raise SettingError("styles", "=() names no style picture")
        if self.shares and (len(self.shares) != len(self.styles) or not sum(self.shares)):
            count = len(self.styles)
            raise SettingError("shares", f"={self.shares} must be {count} numbers, not all 0")
        if not self.loss_in.style:
            raise SettingError("loss_in.style", "=() names no layer; a style needs some")

    def init(self, key: Key[Array, ""], batch: Batch) -> Variables:
        """Initialises both networks, and reserves `targets`, which `complete` computes."""
        variables = super().init(key, batch)
        shapes = jax.eval_shape(lambda v: self._reserved(v, batch), variables)
        targets = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return {**variables, _TARGETS: targets}

    def complete(self, variables: Variables, first: Callable[[], Batch]) -> Variables:
        """Computes the Gram matrices of the style pictures; see `Completed`.

        Raises:
          UserError: a picture that cannot be read.
        """
        pictures = [picture.read() for picture in self.styles]
        return {**variables, _TARGETS: {"style": self.grams_of(variables, pictures)}}

    def grams_of(self, variables: Variables, pictures: list[Float[np.ndarray, "_ _ 3"]]) -> Grams:
        """Averages the Gram matrices (1, c, c) of pictures by `shares`, by layer."""
        grams = jax.jit(lambda v, x: self.loss_in.grams(self.loss_in.maps(self.model, v, x[None])))
        shares = np.asarray(self.shares or np.ones(len(pictures)), np.float32)
        each = [grams(variables, jnp.asarray(picture, jnp.float32)) for picture in pictures]
        parts = shares / shares.sum()
        return jax.tree.map(
            lambda *g: np.asarray(sum(p * x for p, x in zip(parts, g, strict=True))), *each
        )

    def loss(
        self, variables: Variables, batch: Batch, key: Key[Array, ""], train: bool = True
    ) -> tuple[Terms, dict[str, Any]]:
        """Computes the terms 'content', 'style' and 'variation', and new collections.

        See `Task.loss` for the arguments.
        """
        outputs, _, updates = self.forward(variables, batch, key, train)
        made = self.pixels(outputs["image"])
        given = self.augmented(batch, key) if train else jnp.asarray(batch.pixels, made.dtype)
        losses = self.losses(variables, made, self.content_of(variables, given))
        if self.variation:
            form = cast(Any, self.variation_form)
            losses["variation"] = style.total_variation(made, form)
        factors = {
            "content": self.content_weight,
            "style": self.style_weight,
            "variation": self.variation,
        }
        weight = batch.valid.astype(jnp.float32)
        # `where` and not a product alone: a padded row may hold inf or nan.
        terms: Terms = {
            name: (factors[name] * jnp.where(weight > 0, value, 0).sum(), weight.sum())
            for name, value in losses.items()
        }
        return terms, {"collections": updates, "metrics": {}}

    def content_of(self, variables: Variables, given: Float[Array, "b h w 3"]) -> Maps:
        """Computes the maps that content is compared with; no gradient goes through them."""
        return self.loss_in.maps(self.model, variables, given)

    def losses(
        self, variables: Variables, made: Float[Array, "b h w 3"], content: Maps
    ) -> dict[str, Float[Array, "b"]]:
        """Computes 'content' and 'style' of each image, before the factors of the whole."""
        maps = self.loss_in.maps(self.model, variables, made)
        losses = {"style": self.loss_in.style_loss(maps, variables[_TARGETS]["style"])}
        if self.loss_in.content:
            losses["content"] = self.loss_in.content_loss(maps, content)
        return losses

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """Returns `image` (b, h, w, 3), pixels in 0..255, and `style_loss`, `content_loss` (b,)."""
        given = jnp.asarray(batch.pixels, jnp.float32)
        network = {name: tree for name, tree in variables.items() if name != _TARGETS}
        made = self.pixels(self.apply(network, self.normalize(given))["image"])
        losses = self.losses(variables, made, self.content_of(variables, given))
        if self.colors == "content":
            made = style.with_chroma_of(made, given)
        measured = {f"{name}_loss": value for name, value in losses.items()}
        return {"image": jnp.clip(made, 0, 255), **measured}

    def _reserved(self, variables: Variables, batch: Batch) -> dict[str, Any]:
        """Computes targets of the shapes that `complete` fills."""
        maps = self.loss_in.maps(self.model, variables, jnp.zeros((1, *batch.pixels.shape[-3:])))
        return {"style": self.loss_in.grams(maps)}


@dataclasses.dataclass(frozen=True)
class StyledPicture(Style):
    """A picture that is optimised until its maps are those of two others (Gatys et al. 2016).

    The data are one content picture, the same in each step; its maps are computed once.

    Attributes:
      model: a `models.WithLossNetwork` of a `models.FreeImage`.
      start: 'content', 'noise', which the `FreeImage` has drawn, or 'picture'.
      picture: the picture to begin with, where `start` says so.
      colors: see `Style`; 'matched' gives the style pictures the mean and the covariance of the
        content's colours (arXiv:1606.05897, section 4.1).
      loss_in, styles, shares, style_weight, content_weight, variation, variation_form, mean, std:
        see `Style`.

    Raises:
      UserError: what `Style` refuses, another start, no picture for it, or an augmentation.
    """

    start: str = "content"
    picture: Picture | None = None

    known_colors: ClassVar[tuple[str, ...]] = (*Style.known_colors, "matched")

    def __post_init__(self):
        super().__post_init__()
        one_of(self, start=("content", "noise", "picture"))
        if self.picture is None and self.start == "picture":
            raise SettingError("start", "='picture' needs task.picture, which is None")
        if self.augment:
            raise SettingError("augment", " must be (): the content is the same in each step")

    def complete(self, variables: Variables, first: Callable[[], Batch]) -> Variables:
        """Computes all targets and the picture to begin with; see `Completed`.

        Raises:
          UserError: a picture that cannot be read or has another size than the content.
        """
        given = jnp.asarray(first().pixels[:1], jnp.float32)
        pictures = [picture.read() for picture in self.styles]
        if self.colors == "matched":
            as_batches = [jnp.asarray(picture)[None] for picture in pictures]
            pictures = [np.asarray(style.match_colors(x, given)[0]) for x in as_batches]
        maps = jax.jit(lambda v, x: self.loss_in.maps(self.model, v, x))(variables, given)
        content = {name: np.asarray(maps[name]) for name, _ in self.loss_in.content}
        targets = {"style": self.grams_of(variables, pictures), "content": content}
        start = self._start(given)
        if start is not None:
            network = {"image": np.asarray(self.normalize(start)[0])}
            params = {**variables["params"], "network": network}
            variables = {**variables, "params": params}
        return {**variables, _TARGETS: targets}

    def content_of(self, variables: Variables, given: Float[Array, "b h w 3"]) -> Maps:
        """Returns the content picture's maps, which `complete` has computed."""
        return variables[_TARGETS]["content"]

    def _start(self, given: Float[Array, "1 h w 3"]) -> Float[Array, "1 h w 3"] | None:
        """Returns the pixels to begin with; None where they are drawn."""
        if self.picture is None or self.start != "picture":
            return given if self.start == "content" else None
        start = jnp.asarray(self.picture.read(), jnp.float32)
        size = given.shape[1:3]
        return jax.image.resize(start, (*size, 3), "cubic")[None]

    def _reserved(self, variables: Variables, batch: Batch) -> dict[str, Any]:
        maps = self.loss_in.maps(self.model, variables, jnp.zeros((1, *batch.pixels.shape[-3:])))
        content = {name: maps[name] for name, _ in self.loss_in.content}
        return {"style": self.loss_in.grams(maps), "content": content}
